"""What the tests of security share with others: a dataset."""

from tests.vae.conftest import digits

__all__ = ["digits"]
