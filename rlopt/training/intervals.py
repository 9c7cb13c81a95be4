"""Logging intervals: a run's parts, each one call of the program that trains. Imports no jax."""

from typing import Any

# Of a run, roughly.
NUM_INTERVALS = 50


def lengths(iterations: int) -> list[int]:
    """Iterations per call of the program; equal lengths where some divisor is near, since each length is compiled."""
    target = max(1, round(iterations / NUM_INTERVALS))
    divisors = [n for n in range(1, iterations + 1) if iterations % n == 0 and target / 2 <= n <= target * 2]
    if divisors:
        length = min(divisors, key=lambda n: abs(n - target))
        return [length] * (iterations // length)
    return [target] * (iterations // target) + [iterations % target]


def ends(hyper: Any) -> list[int]:
    """Environment steps per seed at the end of each interval; hyper: settings of an agent."""
    found, step = [], 0
    for length in lengths(hyper.num_iterations):
        step += length * hyper.env_steps_per_iteration
        found.append(step)
    return found


def first(found: list[int], steps: int) -> int:
    """The first end at or after so many steps, which are at most those of the run."""
    return next(end for end in found if end >= steps)


def due(found: list[int], every: int) -> list[int]:
    """Those ends at which something is due: the first at or after each multiple of so many steps; 0: none is."""
    before = [0, *found[:-1]]
    return [end for start, end in zip(before, found, strict=True) if every and end // every > start // every]
