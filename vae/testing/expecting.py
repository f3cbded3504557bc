"""Expectations of laws: each failure says what was expected and what was found."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Broken(AssertionError):  # noqa: N818  named for what happened
    """A law does not hold; the message is the end of a sentence that begins with the part and the law."""


def expect(holds: Any, expected: str, found: object) -> None:
    """Raises Broken unless something holds."""
    if not holds:
        raise Broken(f"expected {expected}, got {found}")


def expect_equal(what: str, found: Tensor, expected: Tensor) -> None:
    """Raises Broken unless two tensors have the same bits."""
    expect_close(what, found, expected, rtol=0, atol=0)


def expect_close(what: str, found: Tensor, expected: Tensor, *, rtol: float = 1e-4, atol: float = 1e-4) -> None:
    """Raises Broken unless two tensors are close."""
    expect(found.shape == expected.shape, f"{what} of shape {[*expected.shape]}", [*found.shape])
    if not torch.allclose(found.to(expected.dtype), expected, rtol=rtol, atol=atol):
        apart = (found.double() - expected.double()).abs().max().item()
        raise Broken(f"expected {what}, got values that are {apart:.3g} apart")


def expect_finite(what: str, found: Tensor) -> None:
    """Raises Broken unless all values are finite."""
    amiss = int((~found.isfinite()).sum())
    expect(amiss == 0, f"{what} to be finite", f"{amiss} of {found.numel()} values that are not")


def expect_shape(what: str, found: Tensor, *shapes: tuple[int, ...]) -> None:
    """Raises Broken unless a tensor has one of some shapes, and is float32."""
    wanted = " or ".join(str([*shape]) for shape in shapes)
    expect(tuple(found.shape) in shapes, f"{what} of shape {wanted}", [*found.shape])
    expect(found.dtype == torch.float32, f"{what} in float32", found.dtype)
