"""What the tests of faults share with those of flows: a dataset, and a model that trains in seconds."""

from tests.pipelines.conftest import digits, tiny

__all__ = ["digits", "tiny"]
