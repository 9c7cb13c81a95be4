"""Random draws of an optimizer's settings, for rivals that are tuned in more than their rate. Imports no jax."""

import zlib
from collections.abc import Collection, Mapping
from typing import NamedTuple

from rlopt.optimizers import catalog

RATE = "learning_rate"
MOST = 10_000
Trial = Mapping[str, float]


class _Log(NamedTuple):
    """Log-uniform between two bounds; of_one: so is what is lacking to 1."""

    low: float
    high: float
    of_one: bool = False

    def at(self, share: float) -> float:
        value = self.low * (self.high / self.low) ** share
        return float(f"{1 - value if self.of_one else value:.6g}")


# Our own: wide around what is used. The search of the papers (arXiv 2002.11887) draws a schedule too; here it is fixed.
SPACE = {
    RATE: _Log(1e-5, 1e-1),
    "b1": _Log(1e-2, 0.5, of_one=True),
    "b2": _Log(1e-4, 0.1, of_one=True),
    "eps": _Log(1e-10, 1e-3),
    "weight_decay": _Log(1e-5, 1e-1),
}


def draws(optimizer: str, fixed: Collection[str], number: int) -> tuple[Trial, ...]:
    """Settings to try: the rate, and those of `SPACE` that the optimizer has and nobody fixed.

    The first draws of a longer search are those of a shorter one, and no setting's depend on which others there are.

    Args:
      optimizer: of the catalog. fixed: options that were given for it. number: of draws, at least 1.

    Raises:
      ValueError: for an optimizer that takes no rate of the catalog's, or too few or too many draws.
    """
    import numpy as np

    info = catalog.OPTIMIZERS.get(optimizer)
    if info is None or info.learned or info.learning_rate is None:
        raise ValueError(f"trials are for hand-designed optimizers of the catalog, not for {optimizer}")
    if not 1 <= number <= MOST:
        raise ValueError(f"trials must be from 1 to {MOST:,}, got {number} for {optimizer}")
    names = [name for name in SPACE if name == RATE or (name in info.options and name not in fixed)]
    shares = {name: np.random.default_rng(zlib.crc32(name.encode())).random(number).tolist() for name in names}
    return tuple({name: SPACE[name].at(shares[name][i]) for name in names} for i in range(number))
