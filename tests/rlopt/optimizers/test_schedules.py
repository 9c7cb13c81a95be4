"""Schedules: their shapes, and that every kind of optimizer of the catalog follows them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rlopt.optimizers import factory, schedules
from rlopt.training.config import TrainConfig


def test_shapes():
    count = jnp.arange(101)
    for name, middle in (("constant", 1.0), ("linear", 0.5), ("cosine", 0.5)):
        share = np.asarray(schedules.share_of_rate(count, 100, name, 0.0))
        assert (share[0], share[50]) == (1, pytest.approx(middle))
        assert share[100] == pytest.approx(1.0 if name == "constant" else 0.0, abs=1e-6)
        warm = np.asarray(schedules.share_of_rate(count, 100, name, 0.1))
        np.testing.assert_allclose(warm[:10], np.arange(1, 11) / 10, rtol=1e-6)
        assert warm[55] == pytest.approx(middle, abs=1e-6)
    np.testing.assert_allclose(
        schedules.share_of_rate(jnp.asarray(25), 100, "cosine", 0.0), (1 + 0.5**0.5) / 2, rtol=1e-6
    )


@pytest.mark.parametrize("name", ["sgd", "muon_routed", "celo_adam"])
def test_steps_are_those_of_the_rate_of_the_moment(name):
    """With a rate, a routed one, and one that is handed a share."""
    params = {"hidden_1": {"kernel": jnp.eye(3), "bias": jnp.ones(3)}}

    def steps(options):
        make = factory.make(name, options=options)

        def step(state, _):
            update, state = optax.with_extra_args_support(make(0.1, 8)).update(params, state, params, value=1.0)
            return state, update

        return jax.jit(lambda: jax.lax.scan(step, make(0.1, 8).init(params), None, length=8)[1])()

    falling, constant = steps({"schedule": "cosine", "warmup": 0.25}), steps({})
    share = schedules.share_of_rate(jnp.arange(8), 8, "cosine", 0.25)
    for a, b in zip(*map(jax.tree.leaves, (falling, constant)), strict=True):
        np.testing.assert_allclose(a, b * share.reshape(-1, *[1] * (b.ndim - 1)), rtol=1e-4, atol=1e-8)


def test_what_is_no_schedule_is_refused():
    with pytest.raises(ValueError, match="adam: option schedule must be one of constant, linear, cosine, got 'step'"):
        factory.make("adam", options={"schedule": "step"})
    with pytest.raises(ValueError, match=r"warmup is a share of the training in \[0, 1\), got 1"):
        factory.make("adam", options={"warmup": 1.0})
    with pytest.raises(
        ValueError, match="ppo anneals the rate already: give --no-anneal with the option schedule cosine"
    ):
        TrainConfig(optimizer="adam", options={"schedule": "cosine"}).check()
    TrainConfig(agent="dqn", optimizer="adam", options={"schedule": "cosine"}).check()
    TrainConfig(optimizer="adam", options={"warmup": 0.1}).check()
