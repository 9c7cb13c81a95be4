"""Which meta-validation a card's loss is of."""

import json
import math

import pytest

from metatrain import validation
from metatrain.config import MetaTrainConfig
from rlopt.metatraining import card

CONFIG = MetaTrainConfig("celo2")


@pytest.mark.parametrize(
    ("written", "loss"),
    [
        ({"version": validation.VERSION}, 0.25),
        ({"version": 1}, math.inf),
        ({"version": validation.VERSION + 1}, math.inf),
        ({}, math.inf),  # from before there were versions: the first
    ],
)
def test_losses_of_other_versions_of_meta_validation_are_not_compared(tmp_path, written, loss):
    path = card.theta_path(tmp_path, CONFIG, best=True).with_suffix(".json")
    path.write_text(json.dumps({"validation": {"loss": 0.25, **written}}))
    assert card.best_validation(tmp_path, CONFIG) == loss


def test_before_the_first_meta_validation_any_loss_is_better(tmp_path):
    assert card.best_validation(tmp_path, CONFIG) == math.inf
