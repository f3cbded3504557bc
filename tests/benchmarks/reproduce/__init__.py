"""Published tables, reproduced: `python -m tests.benchmarks.reproduce --table TABLE --budget BUDGET`.

Every row is trained and scored by betaline's own code, seed by seed, and stands beside the published figure. A page says
what was done as in the paper and what was not, what was claimed and whether it held.

Budgets: `smoke` shows that everything runs and nothing else; `cpu` shows the order of the rows within a quarter of an
hour on two idle cores; `full` is the papers' protocol, for a GPU.
"""
