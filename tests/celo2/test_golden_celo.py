"""Celo, Celo-Adam and the loss buffer against numbers made with the published code and the published weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import celo2
from celo2 import loss_buffer, scheduler

jitted = pytest.mark.parametrize("jitted", [True, False], ids=["jit", "eager"])


def run(tx, params, grads, losses, jit, inputs=None):
    """Parameters before the first and after every update, and the schedule's states."""
    update = jax.jit(tx.update) if jit else tx.update
    params = {k: jnp.asarray(v[0]) for k, v in params.items()}
    state = tx.init(params)
    trajectory, states = [params], [state]
    for t, loss in enumerate(losses):
        updates, state = update({k: v[t] for k, v in grads.items()}, state, params, value=loss)
        params = jax.tree.map(jnp.add, params, updates)
        trajectory.append(params)
        states.append(state)
    return trajectory, states


def assert_parameters_follow(trajectory, expected):
    for t, params in enumerate(trajectory):
        for k, published in expected.items():
            tolerance = 1e-4 * max(np.abs(published[t]).max(), 1e-12)
            np.testing.assert_allclose(params[k], published[t], atol=tolerance, rtol=0, err_msg=f"{k} step {t}")


@jitted
@pytest.mark.parametrize("num_steps", [10, 200])
@pytest.mark.parametrize(("rule", "scheduled"), [("celo", True), ("celo_phase1", False), ("celo_adam", True)])
def test_parameters_follow_the_published_trajectory(golden, golden_folder, rule, scheduled, num_steps, jitted):
    data = golden(f"{rule}_official_theta_T{num_steps}")
    theta = celo2.load_checkpoint(golden_folder / f"{rule.removesuffix('_phase1')}.theta.state")
    if rule == "celo_adam":
        tx = celo2.celo_adam(num_steps, theta)
    else:
        tx = celo2.celo(num_steps, theta, use_scheduler=scheduled)
    trajectory, states = run(tx, data.group("params"), data.group("grads"), data["losses"], jitted)
    assert_parameters_follow(trajectory, data.group("params"))
    if scheduled:
        for t, state in enumerate(states[1:]):
            np.testing.assert_allclose(state.schedule.losses.means, data["loss_buffer_means"][t], rtol=1e-4, atol=1e-6)
            np.testing.assert_allclose(state.schedule.hidden, data["lstm_hidden"][t], atol=1e-3)
            np.testing.assert_allclose(state.schedule.cell, data["lstm_cell"][t], atol=1e-3)


@jitted
@pytest.mark.parametrize("num_steps", [10, 200])
@pytest.mark.parametrize("rule", ["celo", "celo_adam"])
def test_the_scheduler_reads_and_says_what_the_published_one_does(golden, golden_folder, rule, num_steps, jitted):
    data = golden(f"{rule}_official_theta_T{num_steps}")
    theta = celo2.load_checkpoint(golden_folder / f"{rule}.theta.state")

    def step(state, t, loss):
        eta, state = scheduler.update(theta, state, t, loss, num_steps)
        return eta, state, scheduler.inputs(state.losses, t, num_steps)

    step = jax.jit(step) if jitted else step
    state = scheduler.init(theta)
    for t, loss in enumerate(data["losses"]):
        eta, state, inputs = step(state, jnp.int32(t), jnp.float32(loss))
        np.testing.assert_allclose(inputs, data["lstm_inputs"][t], atol=2e-3, err_msg=f"step {t}")
        np.testing.assert_allclose(eta, data["scheduler_out"][t], rtol=1e-3, err_msg=f"step {t}")


@jitted
def test_the_loss_buffer_equals_the_published_one(golden, jitted):
    data = golden("loss_buffer")
    for name, losses in data.group("losses").items():
        num_steps = int(name)
        np.testing.assert_allclose(loss_buffer.decays(num_steps), data[f"decays|{name}"], rtol=1e-6)
        update = jax.jit(loss_buffer.update, static_argnums=2) if jitted else loss_buffer.update
        buffer = loss_buffer.init()
        for t, loss in enumerate(losses):
            buffer = update(buffer, jnp.float32(loss), num_steps)
            np.testing.assert_allclose(buffer.means, data[f"means|{name}"][t], rtol=1e-4, atol=1e-6)
            np.testing.assert_allclose(loss_buffer.features(buffer), data[f"features|{name}"][t], atol=2e-3)
