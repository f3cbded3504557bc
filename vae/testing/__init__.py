"""Checks of parts of a user's own: `from vae.testing import check_part`, in a test of the package that has the part.

A part is held to the laws that the tests of this project hold their own parts to: they call the same functions.
"""

from vae.testing.checking import check_part

__all__ = ["check_part"]
