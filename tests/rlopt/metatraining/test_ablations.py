"""The ablations of the papers as options of meta-training: what is trained, what the card says, what is refused."""

import dataclasses
import importlib.util
import json
import re
from pathlib import Path

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


SPEC = importlib.util.spec_from_file_location("ablations", Path(__file__).parents[3] / "benchmarks" / "ablations.py")
ablations = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(ablations)
USUAL = MetaTrainConfig(iterations=2000)


def judged(run, loss, iterations):
    """Leaves what the trainer leaves of a run whose best weights had that loss."""
    run.folder.mkdir(parents=True, exist_ok=True)
    run.best.write_bytes(b"weights")
    run.best.with_suffix(".json").write_text(json.dumps({"validation": {"loss": loss}}))
    (run.folder / f"{run.config.rule}.json").write_text(json.dumps({"iterations": iterations}))


def test_the_table_has_what_is_finished_and_its_distance_from_the_default(tmp_path):
    every = ablations.chosen("celo2_base", ["unroll", "normalization"])
    assert [x.name for x in every] == ["default", "raw", "rolling", "clipped", "unroll-1000", "unroll-5000"]
    losses = {"default": (0.2, 0.3), "raw": (0.25, 0.35), "rolling": (0.1, None), "unroll-1000": (0.2, 0.2)}
    for ablation in every:
        for seed, loss in enumerate(losses.get(ablation.name, ())):
            (run,) = ablations.runs("celo2_base", ablation, seed, tmp_path, USUAL)
            assert (run.config.seed, run.loss) == (seed, None)
            if loss is None:  # a run that was stopped
                judged(run, 0.1, 1000)
                continue
            judged(run, loss, 2000)
            assert run.loss == loss
            if run.long:
                (run.folder / ablations.LONG).write_text(json.dumps({"loss": loss / 2}))
    assert ablations.table("celo2_base", every, (0, 1), tmp_path, USUAL).splitlines() == [
        "| ablation | group | mean | seed 0 | seed 1 | against default | 10,000 steps |",
        "|---|---|---|---|---|---|---|",
        "| default | default | 0.2500 | 0.2000 | 0.3000 |  | 0.1250 |",
        "| raw | normalization | 0.3000 | 0.2500 | 0.3500 | +20.0 % |  |",
        "| unroll-1000 | unroll | 0.2000 | 0.2000 | 0.2000 | -20.0 % | 0.1000 |",
        "",
        "not finished: rolling, clipped, unroll-5000",
    ]


def test_celo_is_trained_in_two_phases_that_others_share(tmp_path):
    of = {x.name: ablations.runs("celo", x, 1, tmp_path, USUAL) for x in ablations.ABLATIONS["celo"]}
    first = tmp_path / "celo_phase1"
    assert [run.folder for run in of["default"]] == [
        first / "default" / "seed-1",
        tmp_path / "celo" / "default" / "seed-1",
    ]
    assert of["default"][1].config.init_theta == first / "default" / "seed-1" / "celo_phase1.best.theta"
    assert [run.folder for run in of["scheduler-off"]] == [first / "default" / "seed-1"]
    assert of["global-none"][0] == of["linear"][0] == of["default"][0]
    assert of["tensor-global"][0].folder == first / "augmentation-tensor" / "seed-1"
    (one,) = of["one-phase"]
    assert (one.config.init_theta, one.config.iterations, one.config.one_phase) == (None, 4000, True)


def test_every_ablation_of_the_benchmark_is_one_that_can_be_trained(tmp_path):
    for rule, several in ablations.ABLATIONS.items():
        assert len({x.name for x in several}) == len(several)
        for ablation in several:
            for run in ablations.runs(rule, ablation, 0, tmp_path, USUAL):
                judged(run, 0.1, 2000)
                run.config.check()


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
