"""Learned optimizers as optax transformations, with their trained weights.

Example:
  >>> import celo2
  >>> tx = celo2.celo2(learning_rate=1e-3)

"""

from celo2.checkpoint import load_checkpoint, load_theta, packaged_weights, save_checkpoint
from celo2.labels import hidden_matrix_labels, labels_by_pattern, matrix_labels
from celo2.optimizers import celo2, celo2_base
from celo2.rule_celo2 import ScaleByCelo2State, scale_by_celo2

__all__ = [
    "ScaleByCelo2State",
    "celo2",
    "celo2_base",
    "hidden_matrix_labels",
    "labels_by_pattern",
    "load_checkpoint",
    "load_theta",
    "matrix_labels",
    "packaged_weights",
    "save_checkpoint",
    "scale_by_celo2",
]
