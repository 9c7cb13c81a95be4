"""Learned optimizers as optax transformations, with their trained weights.

Examples:
  >>> import celo2
  >>> tx = celo2.celo2(learning_rate=1e-3)

"""

from celo2.baselines.ready import adafac_mlp, nnadam, open_rule, rnn_mlp, velo
from celo2.baselines.rule_adafac_mlp import ScaleByAdafacMLPState, scale_by_adafac_mlp
from celo2.baselines.rule_nnadam import ScaleByNNAdamState, scale_by_nnadam
from celo2.baselines.rule_open import ScaleByOpenState, scale_by_open
from celo2.baselines.rule_rnn_mlp import ScaleByRNNMLPState, scale_by_rnn_mlp
from celo2.baselines.rule_velo import ScaleByVeLOState, scale_by_velo
from celo2.checkpoint import (
    ThetaLike,
    Weights,
    load_checkpoint,
    load_theta,
    load_weights,
    packaged_weights,
    save_checkpoint,
)
from celo2.form import Form
from celo2.initial import init_theta
from celo2.labels import LabelFn, Routing, hidden_matrix_labels, labels_by_pattern, matrix_labels, routing_table
from celo2.layouts import fan_in_fan_out
from celo2.optimizers import RL, celo, celo2, celo2_base, celo_adam
from celo2.rule_celo import ScaleByCeloState, ScaleByGraftedCeloState, scale_by_celo
from celo2.rule_celo2 import ScaleByCelo2State, ScaleByGraftedCelo2State, ScaleByRollingCelo2State, scale_by_celo2
from celo2.rule_celo_adam import ScaleByCeloAdamState, scale_by_celo_adam
from celo2.size import GraftState, graft
from celo2.step_head import FEATURES as STEP_FEATURES
from celo2.step_head import StepHeadState, scale_by_step_head
from celo2.update_mlp import Theta

__all__ = [
    "RL",
    "STEP_FEATURES",
    "Form",
    "GraftState",
    "LabelFn",
    "Routing",
    "ScaleByAdafacMLPState",
    "ScaleByCelo2State",
    "ScaleByCeloAdamState",
    "ScaleByCeloState",
    "ScaleByGraftedCelo2State",
    "ScaleByGraftedCeloState",
    "ScaleByNNAdamState",
    "ScaleByOpenState",
    "ScaleByRNNMLPState",
    "ScaleByRollingCelo2State",
    "ScaleByVeLOState",
    "StepHeadState",
    "Theta",
    "ThetaLike",
    "Weights",
    "adafac_mlp",
    "celo",
    "celo2",
    "celo2_base",
    "celo_adam",
    "fan_in_fan_out",
    "graft",
    "hidden_matrix_labels",
    "init_theta",
    "labels_by_pattern",
    "load_checkpoint",
    "load_theta",
    "load_weights",
    "matrix_labels",
    "nnadam",
    "open_rule",
    "packaged_weights",
    "rnn_mlp",
    "routing_table",
    "save_checkpoint",
    "scale_by_adafac_mlp",
    "scale_by_celo",
    "scale_by_celo2",
    "scale_by_celo_adam",
    "scale_by_nnadam",
    "scale_by_open",
    "scale_by_rnn_mlp",
    "scale_by_step_head",
    "scale_by_velo",
    "velo",
]
