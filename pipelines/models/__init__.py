"""MLflow: runs, registered models, and the checks that a version passes before it takes an alias."""
