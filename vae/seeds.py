"""Seeds that derive from their purpose, so that a draw repeats wherever and whenever it is made again."""

from __future__ import annotations

from enum import IntEnum

MASK = 2**64 - 1


class Stream(IntEnum):
    """Purpose of a seed. Two streams of one run never share a seed."""

    WEIGHTS = 1
    PERMUTATION = 2
    STEP = 3
    VALIDATION = 4
    STATIC_BINARIZATION = 5
    EVALUATION = 6
    GENERATION = 7
    MISSING = 8
    STARTING_EXAMPLES = 9
    DISCRIMINATOR = 10
    AGGREGATE = 11
    APPLICATION = 12
    PRESENTATION = 13


def derive(seed: int, stream: Stream, *keys: int) -> int:
    """Returns a 63-bit seed for one draw of a stream, such as `derive(seed, Stream.STEP, rank, step)`.

    References:
        Steele, Lea & Flood, Fast Splittable Pseudorandom Number Generators (2014): the SplitMix64 mixing function.
    """
    state = seed
    for key in (stream, *keys):
        state = (state + 0x9E3779B97F4A7C15 * (key + 1)) & MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
        state ^= state >> 31
    return state >> 1
