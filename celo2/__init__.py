"""Learned optimizers as optax transformations, with their trained weights.

Example:
  >>> import celo2
  >>> tx = celo2.celo2(learning_rate=1e-3)

"""

from celo2.checkpoint import load_checkpoint, load_theta, packaged_weights, save_checkpoint
from celo2.labels import Routing, hidden_matrix_labels, labels_by_pattern, matrix_labels, routing_table
from celo2.optimizers import celo, celo2, celo2_base, celo_adam
from celo2.rule_celo import ScaleByCeloState, scale_by_celo
from celo2.rule_celo2 import ScaleByCelo2State, scale_by_celo2
from celo2.rule_celo_adam import ScaleByCeloAdamState, scale_by_celo_adam

__all__ = [
    "Routing",
    "ScaleByCelo2State",
    "ScaleByCeloAdamState",
    "ScaleByCeloState",
    "celo",
    "celo2",
    "celo2_base",
    "celo_adam",
    "hidden_matrix_labels",
    "labels_by_pattern",
    "load_checkpoint",
    "load_theta",
    "matrix_labels",
    "packaged_weights",
    "routing_table",
    "save_checkpoint",
    "scale_by_celo",
    "scale_by_celo2",
    "scale_by_celo_adam",
]
