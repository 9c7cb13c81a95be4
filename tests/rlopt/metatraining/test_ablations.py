"""The ablations of the papers as options of meta-training: what is trained, what the card says, what is refused."""

import dataclasses
import json
import re

import jax
import numpy as np
import pytest

import celo2
from celo2 import form, scheduler
from helpers import SMALL_META, small_meta_training
from metatrain import outer
from metatrain.config import MetaTrainConfig
from rlopt.metatraining import card, checkpoint
from rlopt.optimizers import factory

pytestmark = pytest.mark.usefixtures("shared_programs")


@pytest.fixture
def phase_1(tmp_path):
    """An update rule, with the card that meta-training writes."""
    config = small_meta_training(rule="celo_phase1")
    theta = celo2.init_theta("celo", jax.random.key(7))
    return card.write_theta(tmp_path, theta, config, 2, 1.0, [(2, 1.0)])


def started(**changes):
    """The state that meta-training of celo begins with."""
    return outer.make_program(small_meta_training(rule="celo", **changes)).init()


def test_one_phase_trains_all_of_celo_from_random_weights():
    state = started(one_phase=True)
    assert set(state.trained) == {"ff_mod_stack", "lstm_init_state", "rnn_params"}
    assert not state.frozen
    other = started(one_phase=True, seed=1)
    assert np.any(state.trained["rnn_params"]["step_size"]["w"] != other.trained["rnn_params"]["step_size"]["w"])


def test_a_schedule_with_tensor_features_starts_on_the_update_rule_of_phase_1(phase_1):
    plain, state = started(init_theta=phase_1), started(init_theta=phase_1, tensor_features=True)
    assert set(state.trained) == {"lstm_init_state", "rnn_params"}
    own = {name: state.trained["rnn_params"].pop(name) for name in scheduler.TENSOR_LAYERS}
    assert all(np.std(layer["w"]) > 0.1 for layer in own.values())
    jax.tree.map(np.testing.assert_array_equal, state.theta, plain.theta)


def test_a_trained_schedule_is_continued_as_it_was_trained(tmp_path, phase_1):
    linear = small_meta_training(rule="celo", init_theta=phase_1, schedule_form="linear", tensor_features=True)
    theta = celo2.init_theta("celo", jax.random.key(8), tensor_features=True)
    path = card.write_theta(tmp_path / "linear", theta, linear, 2, 1.0, [(2, 1.0)])
    assert started(init_theta=path, schedule_form="linear", tensor_features=True).trained
    for changes, message in (
        ({"tensor_features": True}, "was trained with --schedule-form linear, not with exp"),
        ({"schedule_form": "linear"}, "reads tensor features: --tensor-features goes on with it"),
    ):
        with pytest.raises(ValueError, match=message):
            started(init_theta=path, **changes)
    with pytest.raises(ValueError, match="reads tensor features: go on with it with --tensor-features"):
        started(init_theta=phase_1, init_schedule=path)
    with pytest.raises(ValueError, match="was trained with --schedule-form linear, not with exp"):
        started(init_theta=phase_1, init_schedule=path, tensor_features=True)


def test_what_a_variant_is_goes_with_its_weights_into_optimizers(tmp_path, phase_1):
    config = small_meta_training(rule="celo", init_theta=phase_1, schedule_form="clipped")
    theta = celo2.init_theta("celo", jax.random.key(8))
    path = card.write_theta(tmp_path / "clipped", theta, config, 2, 1.0, [(2, 1.0)])
    written = json.loads(path.with_suffix(".json").read_text())
    assert written["form"] == form.to_card(form.PUBLISHED._replace(odd=True, size="adam", schedule_form="clipped"))
    assert "--schedule-form clipped" in written["command"]
    assert celo2.load_weights(path).form == config.form
    factory.make("celo", path)(1.0, 10)
    with pytest.raises(ValueError, match=r"the schedule of .* is random: .* `scheduler false`"):
        factory.make("celo", phase_1)(1.0, 10)
    params = {"kernel": np.ones((3, 2), np.float32)}
    assert factory.make("celo", phase_1, {"scheduler": "false"})(1.0, 10).init(params).schedule is None


@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        ("celo2_base", {"normalization": "rolling"}),
        ("celo", {"one_phase": True, "tensor_features": True, "schedule_form": "linear"}),
    ],
)
def test_a_variant_is_meta_trained(rule, changes):
    """Traced, not compiled: what is new in it has tests of its own, and the rest is as of others."""
    program = outer.make_program(small_meta_training(rule=rule, **changes))
    before = jax.eval_shape(program.init)
    after, metrics = jax.eval_shape(program.step, before)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(lambda x: (x.shape, x.dtype), before)
    assert metrics.loss.shape == ()


@pytest.mark.slow
def test_all_of_it_by_command(tmp_path, command):
    settings = ("--iterations", 2, "--validate-every", 0, "--out", tmp_path / "meta")
    variant = ("--one-phase", "--tensor-features", "--schedule-form", "linear")
    done = command("metatrain", "celo", *SMALL_META, *settings, *variant)
    assert done.status == 0, done.err
    path = tmp_path / "meta" / "celo.theta"
    assert "schedule_form linear" in command("theta", "info", path).out
    assert command("theta", "plot", path, "--out", tmp_path / "plot.png").status == 0
    agent = ("--total-steps", 256, "--num-envs", 4, "--rollout-length", 32, "--seeds", 1, "--hidden", 8)
    done = command("train", "ppo", "--optimizer", "celo", "--theta", path, *agent, "--out", tmp_path / "run")
    assert done.status == 0, done.err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rule": "celo2", "one_phase": True}, "one_phase True is for celo, not for celo2"),
        ({"rule": "celo_adam", "tensor_features": True}, "tensor_features True is for celo, not for celo_adam"),
        ({"rule": "celo_phase1", "schedule_form": "linear"}, "schedule_form linear is for celo and celo_adam, not for"),
        ({"rule": "celo_adam", "normalization": "raw"}, "normalization raw is for celo2 and celo2_base, not for celo_"),
        ({"rule": "velo", "schedule_form": "linear"}, "schedule_form linear is for celo and celo_adam, not for velo"),
        ({"rule": "celo2", "normalization": "rms"}, "unknown normalization 'rms'; there are "),
    ],
)
def test_variants_of_what_a_rule_has_not_are_refused(changes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        MetaTrainConfig(**changes).check()


def test_runs_from_before_go_on():
    """Their checkpoints lack the new settings, which then stood where their defaults are."""
    for rule in ("celo2", "celo_phase1", "celo_adam"):
        config = MetaTrainConfig(rule)
        key = checkpoint.resume_key(config)
        assert [key[name] for name in ("normalization", "schedule_form")] == ["step", "exp"]
        assert [key[name] for name in ("one_phase", "tensor_features")] == [False, False]
    assert dataclasses.replace(config, schedule_form="linear").form.schedule_form == "linear"
