"""Fixtures of the tests of security: their table, and a dataset."""

from tests.security.table import answered
from tests.vae.conftest import digits

__all__ = ["answered", "digits"]
