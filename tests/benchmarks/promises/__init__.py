"""One promise of every preset, measured on the registered model: `python -m tests.benchmarks.promises`.

Each preset is trained as `betaline train --preset` would, logged to MLflow, loaded back with
`mlflow.pyfunc.load_model`, and measured on the test split. The page is `tests/benchmarks/results/promises.md`. Settings of
presets are chosen by derivation or on the validation split, never by this page.
"""
