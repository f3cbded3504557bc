"""Uses of a trained model, each against a yardstick: `python -m tests.benchmarks.uses --use USE`.

Betaline's own loop trains every model on a CPU within minutes. Settings are tuned on the validation split and figures are
reported of the test split. A page states its claims and whether each holds.
"""
