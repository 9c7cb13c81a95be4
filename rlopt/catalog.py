"""Names, descriptions and default learning rates of the optimizers. Imports no jax, so that a command line is quick."""

from typing import NamedTuple


class OptimizerInfo(NamedTuple):
    """summary: one line for listings. learning_rate: default; None: takes none. learned: has weights (a theta)."""

    summary: str
    learning_rate: float | None
    learned: bool = False


OPTIMIZERS: dict[str, OptimizerInfo] = {
    "adam": OptimizerInfo("Adam, eps 1e-5, on every tensor", 2.5e-3),
    "adamw": OptimizerInfo("AdamW, eps 1e-5, weight decay 0.01, on every tensor", 2.5e-3),
    "rmsprop": OptimizerInfo("RMSProp, decay 0.99, on every tensor", 1e-3),
    "adam_routed": OptimizerInfo("Adam; input layers, heads and 1-D tensors at 5 times the rate", 1e-3),
    "muon_routed": OptimizerInfo("unit-RMS Muon on hidden matrices, Adam at 5 times the rate elsewhere", 1e-3),
    "celo2": OptimizerInfo("Celo2 (learned) on hidden matrices, Adam at 5 times the rate elsewhere", 1e-3, True),
    "celo2_base": OptimizerInfo(
        "Celo2-base (learned) on hidden matrices, Adam at 5 times the rate elsewhere", 1e-3, True
    ),
    "celo": OptimizerInfo("Celo (learned rule and schedule) on every tensor", None, True),
    "celo_adam": OptimizerInfo("Adam with Celo's learned schedule on every tensor", None, True),
}
