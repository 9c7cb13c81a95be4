"""What meta-training starts from, what of it is trained, the outer step, and settings that are refused."""

import dataclasses
import hashlib
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import celo2
from helpers import small_meta_training
from metatrain import outer, rules
from rlopt.metatraining import trainer

SMALL = small_meta_training(
    families=("digits", "mnist"),
    tasks_per_family=4,
    outer_learning_rate=1e-2,
    outer_schedule="constant",
    outer_clip=None,
)

pytestmark = pytest.mark.usefixtures("shared_programs")


def run(config, folder, **settings):
    return trainer.train(config, folder, checkpoint_every=2, log_every=2, progress=False, **settings)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks_per_family": 0}, "tasks_per_family must be at least 1, got 0"),
        ({"min_unroll": 3}, r"min_unroll \(3\) must not be shorter than truncation \(5\)"),
        ({"max_unroll": 4}, r"max_unroll \(4\) must be at least min_unroll \(5\)"),
        ({"std": 0.0}, "std must be positive"),
        ({"families": ()}, "families must name at least one"),
        ({"families": ("svhm",)}, "unknown data set 'svhm'; there are"),
        ({"families": ("svhn",)}, r"no image set 'svhn': put train_32x32.mat of SVHN"),
        ({"families": ("digits/shallow",)}, "unknown network 'shallow'; there are"),
        ({"families": ("digits/deep:many",)}, "family 'digits/deep:many': 'many' is no number of hidden units"),
        ({"families": ("digits/deep:0",)}, "hidden must be at least 1, got 0"),
        ({"batch_size": 1500}, "digits has 1438 images to train on, fewer than batch_size 1500"),
        ({"outer_clip": 0.0}, "outer_clip must be positive"),
        ({"average_decay": 1.0}, r"average_decay must lie in \[0, 1\)"),
        ({"rule": "celo"}, "give the update rule with --init-theta"),
        ({"init_theta": Path("nowhere.theta")}, "there is no file nowhere.theta"),
        ({"init_schedule": Path("nowhere.theta")}, "init_schedule is for celo, not for celo_adam"),
        ({"data_dir": Path("nowhere")}, "there is no folder nowhere"),
        ({"rule": "celo3"}, "unknown rule 'celo3'; there are celo"),
        ({"scale_range": (0.0, 1.0)}, "scale_range must satisfy"),
    ],
)
def test_impossible_settings_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        outer.make_program(dataclasses.replace(SMALL, **changes))


# What is trained at all, and where the rest comes from, is tried without compiling a step below.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("rule", "kept"),
    [
        ("celo", ("ff_mod_stack",)),
        ("celo_phase1", ("lstm_init_state", "rnn_params")),
    ],
)
def test_frozen_parts_of_theta_stay_and_come_from_the_file(tmp_path, rule, kept):
    start = rules.get("celo").init_theta(jax.random.key(7))
    celo2.save_checkpoint(tmp_path / "start.theta", start)
    published = {"odd": False, "size": "unit"}  # the form of weights without a card
    config = dataclasses.replace(SMALL, rule=rule, iterations=2, init_theta=tmp_path / "start.theta", **published)
    result = run(config, tmp_path / rule, validate_every=0)
    theta = result.theta
    origin = json.loads(result.theta_path.with_suffix(".json").read_text())["init_theta"]
    assert str(tmp_path) not in result.theta_path.with_suffix(".json").read_text()
    assert origin == {"sha256": hashlib.sha256((tmp_path / "start.theta").read_bytes()).hexdigest()}
    for name in theta:
        changed = [np.any(a != b) for a, b in zip(*map(jax.tree.leaves, (theta[name], start[name])), strict=True)]
        assert not any(changed) if name in kept else any(changed), name


def test_of_celo_one_part_is_trained_and_the_other_is_that_of_the_file(tmp_path):
    start = rules.get("celo").init_theta(jax.random.key(7))
    celo2.save_checkpoint(tmp_path / "start.theta", start)
    config = dataclasses.replace(SMALL, rule="celo", init_theta=tmp_path / "start.theta", odd=False, size="unit")
    state = outer.make_program(config).init()
    assert set(state.trained) == {"lstm_init_state", "rnn_params"}
    jax.tree.map(np.testing.assert_array_equal, state.theta["ff_mod_stack"], start["ff_mod_stack"])


def test_a_schedule_is_trained_for_the_form_of_its_update_rule(tmp_path):
    celo2.save_checkpoint(tmp_path / "start.theta", rules.get("celo").init_theta(jax.random.key(7)))
    config = dataclasses.replace(SMALL, rule="celo", init_theta=tmp_path / "start.theta")
    with pytest.raises(
        ValueError, match=r"was trained with odd False, size unit, .*: --no-odd --size unit --momentum-d"
    ):
        outer.make_program(config).init()


def test_celo_can_start_with_the_schedule_of_celo_adam(tmp_path):
    for rule in ("celo", "celo_adam", "celo2"):
        celo2.save_checkpoint(tmp_path / f"{rule}.theta", rules.get(rule).init_theta(jax.random.key(7)))
    config = dataclasses.replace(SMALL, rule="celo", odd=False, size="unit", init_theta=tmp_path / "celo.theta")
    plain = outer.make_program(config).init().trained
    found = outer.make_program(dataclasses.replace(config, init_schedule=tmp_path / "celo_adam.theta")).init().trained
    schedule = celo2.load_theta(tmp_path / "celo_adam.theta")
    for part, arrays in found.items():
        for name, array in arrays.items():
            source = schedule if name in schedule[part] else plain  # "rnn_to_controls" is Celo's alone
            jax.tree.map(np.testing.assert_array_equal, array, source[part][name])
    with pytest.raises(ValueError, match="celo2 weights, which have no schedule"):
        outer.make_program(dataclasses.replace(config, init_schedule=tmp_path / "celo2.theta")).init()


def test_weights_of_another_rule_are_refused_as_a_start(tmp_path):
    celo2.save_checkpoint(tmp_path / "start.theta", rules.get("celo2").init_theta(jax.random.key(7)))
    config = dataclasses.replace(SMALL, rule="celo", init_theta=tmp_path / "start.theta")
    with pytest.raises(ValueError, match="holds celo2 weights, which do not fit celo"):
        outer.make_program(config).init()


def test_clipping_limits_the_norm_of_what_adamw_sees():
    gradient, theta = {"w": jnp.asarray([30.0, 40.0])}, {"w": jnp.zeros(2)}
    moments = []
    for clip in (None, 5.0, 100.0):
        optimizer = outer.optimizer(dataclasses.replace(SMALL, outer_clip=clip), SMALL.outer_learning_rate)
        _, state = optimizer.update(gradient, optimizer.init(theta), theta)
        moments.append(jax.tree.leaves(state)[1] / 0.1)  # Adam's first moment after one step is a tenth of what it saw
    for seen, expected in zip(moments, ([30, 40], [3, 4], [30, 40]), strict=True):
        np.testing.assert_allclose(seen, expected, rtol=1e-5)


@pytest.mark.parametrize(("schedule", "after"), [("constant", 1.0), ("inverse_sqrt", 0.5), ("cosine", 0.5)])
def test_schedules_of_the_outer_learning_rate(schedule, after):
    config = dataclasses.replace(SMALL, outer_schedule=schedule, outer_hold=25, iterations=200, outer_weight_decay=0.0)
    optimizer = outer.optimizer(config, config.outer_learning_rate)
    theta = {"w": jnp.zeros(1)}
    state = optimizer.init(theta)
    for _ in range(101):
        updates, state = optimizer.update({"w": jnp.ones(1)}, state, theta)
    np.testing.assert_allclose(updates["w"], -after * SMALL.outer_learning_rate, rtol=1e-4)
