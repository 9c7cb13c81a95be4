"""Populations in which some seeds break."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh

from agents import PPOConfig
from envs import AtariConfig
from rlopt import statistics
from rlopt.runs import console, experiment, plots, results
from rlopt.training import loop, placement, runtime
from rlopt.training.config import TrainConfig

# What `pytest.warns` sees besides comes from gymnax and distrax.
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning")]

HYPER = PPOConfig(total_steps=64 * 50, num_envs=4, rollout_length=16, epochs=1, minibatches=1, hidden=(8,))
CONFIG = TrainConfig(optimizer="adam", learning_rate=1e-3, seeds=6, seed=10, hyper=HYPER)


def breaking(learning_rate, above=0.0):
    """Adam that hands out NaN from the 21st update on, in seeds whose first weight is larger."""
    adam = optax.adam(learning_rate)

    def init(params):
        return adam.init(params), jnp.int32(0), params["params"]["actor"]["input"]["kernel"][0, 0] > above

    def update(grads, state, params=None):
        inner, count, broken = state
        updates, inner = adam.update(grads, inner, params)
        bad = broken & (count >= 20)
        return jax.tree.map(lambda u: jnp.where(bad, jnp.nan, u), updates), (inner, count + 1, broken)

    return optax.GradientTransformation(init, update)


def broken_above(weight):
    return dataclasses.replace(CONFIG, optimizer=breaking, options={"above": weight})


def test_a_broken_seed_is_stopped_named_and_counted_as_the_worst_and_the_others_go_on(tmp_path):
    with pytest.warns(
        RuntimeWarning, match=r"breaking on CartPole-v1: the loss of seed 1\d is not finite \(at step 1,"
    ):
        run = experiment.run(broken_above(0.0), tmp_path / "run", progress=False)
    stopped = run.stopped >= 0
    assert 0 < stopped.sum() < 6
    # NaN weights come out of update 21, so that the loss of iteration 22 is the first to show it.
    np.testing.assert_array_equal(run.stopped[stopped], 22 * 64)
    assert run.summary["stopped_seeds"] == [10 + i for i in np.flatnonzero(stopped)]
    np.testing.assert_array_equal(run.final[stopped], np.nanmin(run.returns))
    assert np.all(np.isnan(run.returns[stopped][:, run.steps > 22 * 64]))
    assert run.summary["final_return_iqm"] == pytest.approx(statistics.iqm(run.final))

    rows = [json.loads(line) for line in (tmp_path / "run" / results.METRICS).read_text().splitlines()]
    assert len(rows) == 50
    first = int(np.flatnonzero(stopped)[0])
    assert all(row["loss"][first] is not None for row in rows[:21])
    assert all(row["loss"][first] is None for row in rows[21:])

    whole = loop.train(broken_above(1e9), progress=False)
    assert np.all(whole.stopped == -1)
    np.testing.assert_allclose(whole.returns[~stopped], run.returns[~stopped], rtol=1e-5)
    np.testing.assert_allclose(whole.returns[:, :20], run.returns[:, :20], rtol=1e-5)
    named = f"{run.summary['optimizer']} ({stopped.sum()} not finite)"
    assert named in map(str, console.table([run]).columns[0].cells)
    plots.learning_curves([run], tmp_path / "curve.png")
    assert (tmp_path / "curve.png").stat().st_size > 10_000


def test_devices_divide_the_seeds():
    assert [runtime.devices_for(seeds, 4) for seeds in (1, 2, 3, 6, 7, 16)] == [1, 2, 3, 3, 1, 4]


def test_no_core_is_idle_where_up_to_twice_as_many_devices_prevent_it():
    assert [runtime.devices_for(seeds, cores=2) for seeds in (1, 2, 3, 4, 5, 8, 9)] == [1, 2, 3, 2, 1, 2, 3]


@pytest.mark.mesh
def test_seeds_trained_in_turn_learn_what_they_learn_side_by_side():
    # Both programs must be right, whichever of them is chosen for an agent on this machine.
    agent, mesh = loop.make_agent(CONFIG), Mesh(np.asarray(jax.devices()[:2]), (placement.AXIS,))
    state = placement.initial_state(agent, CONFIG, mesh)
    side_by_side, in_turn = (
        placement.compile_chunk(mesh, agent, 20, state, turns)(jax.tree.map(lambda x: x.copy(), state))[1]
        for turns in (False, True)
    )
    assert side_by_side.loss.shape == (6, 20)
    np.testing.assert_allclose(in_turn.return_sum, side_by_side.return_sum, rtol=1e-5)
    for name, values in side_by_side._asdict().items():
        np.testing.assert_allclose(getattr(in_turn, name), values, rtol=1e-3, atol=1e-4, err_msg=name)


PONG = TrainConfig(
    env="Pong-v5",
    optimizer="adam",
    learning_rate=1e-3,
    atari=AtariConfig(image_size=42, num_threads=1),
    hyper=PPOConfig(
        *(32 * 4, 4, 8),
        epochs=1,
        minibatches=2,
        network="small",
        hidden=(8,),
    ),
)


# Seeds and rates in company and alone are compared in tests/rlopt/runs/test_sweep.py.
@pytest.mark.mesh
@pytest.mark.slow
@pytest.mark.parametrize("config", [pytest.param(CONFIG, id="CartPole"), pytest.param(PONG, id="Pong")])
def test_a_seed_with_a_device_of_its_own_learns_in_company_what_it_learns_alone(config):
    both = loop.train(dataclasses.replace(config, seeds=2, seed=10), progress=False)
    alone = [loop.train(dataclasses.replace(config, seeds=1, seed=seed), progress=False) for seed in (10, 11)]
    for name, values in {**both.metrics, "return": both.returns}.items():
        each = [one.returns if name == "return" else one.metrics[name] for one in alone]
        np.testing.assert_array_equal(values, np.concatenate(each), err_msg=name)
    jax.tree.map(
        lambda x, *one: np.testing.assert_array_equal(x, np.concatenate(one)), both.params, *(a.params for a in alone)
    )
    assert np.all(both.metrics["loss"][0] != both.metrics["loss"][1])


def test_training_ends_when_no_seed_is_left(tmp_path):
    with pytest.warns(RuntimeWarning):
        run = experiment.run(broken_above(-1e9), tmp_path / "run", progress=False)
    assert run.steps[-1] == 22 * 64
    assert run.summary["stopped_seeds"] == list(range(10, 16))
