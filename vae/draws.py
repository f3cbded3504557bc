"""Draws that belong to a row's place, so that any number of workers, and any cut into batches, draws the same.

Shapes: K seeds, B rows, n values of each row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from vae.seeds import Stream, derive

_INCREMENT, _FIRST, _SECOND = (
    value - (1 << 64) for value in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)
_WORD_SHIFTS = ((30, _FIRST), (27, _SECOND))


class RowDraws:
    """Draws for consecutive rows, each from (seed, stream, keys, call, place of the row) alone.

    Two sources that agree in all of these draw the same for a row, whatever other rows they draw for. Each call draws anew.

    Args:
        seed: Seed of the run; a sequence draws for each seed and puts a dimension [K] before all others.
        stream: Purpose of the draws.
        keys: Further numbers that the draws depend on, such as the step.
        first: Place of the first row, such as its place in the batch of all ranks.
        device: Device of the draws; integers are the same on each, floats but for their rounding.

    References:
        Steele, Lea & Flood, Fast Splittable Pseudorandom Number Generators (2014): SplitMix64, here at any position.
        Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3 (2011): draws by the place of what they are for.
    """

    def __init__(
        self,
        seed: int | Sequence[int],
        stream: Stream,
        *keys: int,
        first: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.seeds, self.stream, self.keys = [seed] if isinstance(seed, int) else seed, stream, keys
        self.has_one_seed = isinstance(seed, int)
        self.first, self.device = first, torch.device(device)
        self.calls = 0

    def normal(self, rows: int, *shape: int) -> Tensor:
        """Returns draws of the standard normal, float32 [B,*shape]."""
        return _normal(self.words(rows, _pairs(shape)), shape)

    def next(self) -> RowDraws:
        """Returns a source whose draws are of one call of this one, however often they are drawn from."""
        assert self.has_one_seed, "samples have no dimension of seeds"
        self.calls += 1
        seed = self.seeds[0]
        return RowDraws(seed, self.stream, *self.keys, self.calls - 1, first=self.first, device=self.device)

    def normal_samples(self, samples: range, rows: range, *shape: int) -> Tensor:
        """Returns draws of the standard normal for numbered samples of some rows, float32 [S,B,*shape].

        A sample of a row is the same in every call, whatever other samples and rows the call draws for.

        Args:
            samples: Consecutive numbers of samples, from 0 on.
            rows: Consecutive rows by their distance from the source's first one.
            shape: Shape of a row's draws.
        """
        key, count = self.key_of(self.seeds[0]), _pairs(shape)
        number_S = torch.arange(samples.start, samples.stop, device=self.device)
        key_S = _mixed(number_S.mul_(_INCREMENT).add_(key))
        first = self.first + rows.start
        word = torch.arange(first * count, (first + len(rows)) * count, device=self.device).mul_(_INCREMENT)
        return _normal(_mixed(word + key_S[:, None]).unflatten(-1, (len(rows), count)), shape)

    def uniform(self, rows: int, *shape: int) -> Tensor:
        """Returns uniform draws from [0, 1), float32 [B,*shape]."""
        count = math.prod(shape)
        bits = self.words(rows, -(-count // 2)).view(torch.int32)[..., :count]
        return ((bits >> 8) & 0xFFFFFF).float().mul_(2.0**-24).unflatten(-1, shape)

    def below(self, limit: int, rows: int, *shape: int) -> Tensor:
        """Returns uniform integers below a limit of at most 2¹⁶, int64 [B,*shape]."""
        return (self.uniform(rows, *shape) * limit).long()

    def binary(self, levels: Tensor) -> Tensor:
        """Returns 1 with probability level / 255 and else 0, float32, in the shape of uint8 levels [B,…]."""
        flat = levels.flatten(1)
        bits = self.words(len(flat), -(-flat.shape[1] // 4)).view(torch.int16)[..., : flat.shape[1]]
        # 65,535 of the 65,536 values are 255 times 257; the last counts as the one before it.
        limit = flat.to(torch.int16).mul_(257).sub_(torch.iinfo(torch.int16).min)
        return (bits.clamp(max=32766) < limit).float().unflatten(-1, levels.shape[1:])

    def key_of(self, seed: int) -> int:
        """Returns the number that a seed's words of the next call start from."""
        return derive(seed, self.stream, *self.keys, self.calls)

    def words(self, rows: int, count: int) -> Tensor:
        """Returns 64 random bits for each word of each row, int64 [B,count]."""
        keys = [self.key_of(seed) for seed in self.seeds]
        self.calls += 1
        word = torch.arange(self.first * count, (self.first + rows) * count, device=self.device).mul_(_INCREMENT)
        if self.has_one_seed:
            word += keys[0]
        else:
            word = word + torch.tensor(keys, device=self.device)[:, None]
        return _mixed(word).unflatten(-1, (rows, count))


def _mixed(word: Tensor) -> Tensor:
    """Returns SplitMix64's output for states; in place."""
    for shift, factor in _WORD_SHIFTS:
        word.bitwise_xor_(_shifted(word, shift)).mul_(factor)
    return word.bitwise_xor_(_shifted(word, 31))


def _pairs(shape: Sequence[int]) -> int:
    """Returns the number of words from which the normal draws of a row are made."""
    return -(-math.prod(shape) // 2)


def _normal(words: Tensor, shape: Sequence[int]) -> Tensor:
    """Returns draws of the standard normal, float32 [...,*shape], by the method of Box and Muller (1958)."""
    count, pairs = math.prod(shape), words.shape[-1]
    halves = words.view(torch.int32).float()
    radius, angle = halves[..., :pairs], halves[..., pairs:]
    radius = radius.mul(2.0**-32).add_(0.5).clamp_(min=2.0**-33).log_().mul_(-2).sqrt_()
    angle = angle.mul(2.0**-31 * math.pi)
    drawn = torch.cat([radius * angle.cos(), angle.sin_().mul_(radius)], -1)
    return drawn[..., :count].unflatten(-1, shape)


def _shifted(word: Tensor, by: int) -> Tensor:
    """Returns words shifted to the right without their sign."""
    return (word >> by).bitwise_and_((1 << 64 - by) - 1)
