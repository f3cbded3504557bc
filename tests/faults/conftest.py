"""What the tests of faults share with those of flows: a dataset, a model that trains in seconds, and deployments."""

from tests.pipelines.conftest import digits, prefect, tiny

__all__ = ["digits", "prefect", "tiny"]
