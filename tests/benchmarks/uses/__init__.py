"""What a trained model is good for, each use against a yardstick: `python -m tests.benchmarks.uses --use USE`.

Every model is trained by betaline's own loop on a CPU, within minutes. What is tuned is tuned on the validation split, what
is reported is of the test split, and a page says what was claimed and whether it held.
"""
