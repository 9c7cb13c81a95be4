"""Numbers that are none, and environments that do not keep to their own shapes."""

import functools
import sys
import types

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from gymnax.environments.classic_control import cartpole

import envs
from agents import DQNConfig, PPOConfig
from metatrain import outer
from metatrain.config import MetaTrainConfig
from rlopt.optimizers import factory
from rlopt.runs import results
from rlopt.training import loop
from rlopt.training.config import TrainConfig

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

PPO = PPOConfig(total_steps=64 * 30, num_envs=4, rollout_length=16, epochs=1, minibatches=1, hidden=(8,))
DQN = DQNConfig(2000, 4, learning_starts=64, replay_capacity=512, batch_size=64, hidden=(8,))
HYPER = {"ppo": PPO, "dqn": DQN}


class Poisoned(cartpole.CartPole):
    """CartPole that is no longer made of numbers once the cart has come to a place that few seeds see."""

    bad = jnp.nan
    where = "reward"
    place = 0.7

    def step_env(self, key, state, action, params):
        obs, state, reward, done, info = super().step_env(key, state, action, params)
        out = jnp.abs(state.x) > self.place
        if self.where == "reward":
            reward = jnp.where(out, self.bad, reward)
        else:
            obs = jnp.where(out, self.bad, obs)
        return obs, state, reward, done, info


class InfiniteReward(Poisoned):
    bad = jnp.inf


class Blind(Poisoned):
    where = "obs"


@functools.cache
def train(env, agent):
    config = TrainConfig(agent=agent, env=env, optimizer="adam", learning_rate=1e-3, seeds=6, hyper=HYPER[agent])
    return loop.train(config, progress=False)


@pytest.mark.parametrize(
    ("name", "agent"),
    [
        ("Poisoned", "ppo"),
        pytest.param("Blind", "ppo", marks=pytest.mark.slow),
        pytest.param("InfiniteReward", "ppo", marks=pytest.mark.slow),
        pytest.param("Poisoned", "dqn", marks=pytest.mark.slow),
    ],
)
def test_a_seed_whose_environment_breaks_is_stopped_and_the_others_learn_as_if_alone(monkeypatch, name, agent):
    monkeypatch.setitem(sys.modules, "poisoned", sys.modules[__name__])
    healthy = train("CartPole-v1", agent)
    with pytest.warns(RuntimeWarning, match=r"the loss of seed \d is not finite"):
        history = train(f"poisoned:{name}", agent)
    broken = history.stopped >= 0
    assert 0 < broken.sum() < 6
    assert np.all(healthy.stopped == -1)
    np.testing.assert_allclose(history.returns[~broken], healthy.returns[~broken], rtol=1e-5)
    assert np.all(np.isfinite(history.final))


def bad_gradients(learning_rate, num_updates):
    """Adam that is given what `jax.grad` gives where a loss is not differentiable, in some seeds."""
    adam = optax.adam(learning_rate)

    def init(params):
        return adam.init(params), jnp.int32(0), params["params"]["actor"]["input"]["kernel"][0, 0] > 0

    def update(grads, state, params=None):
        inner, count, broken = state
        grads = jax.tree.map(lambda g: jnp.where(broken & (count >= 5), jnp.inf, g), grads)
        updates, inner = adam.update(grads, inner, params)
        return updates, (inner, count + 1, broken)

    return optax.GradientTransformation(init, update)


def test_infinite_gradients_stop_their_seed_and_are_counted(tmp_path, monkeypatch):
    config = TrainConfig(optimizer="adam", learning_rate=1e-3, seeds=6, seed=10, hyper=PPO)
    monkeypatch.setattr(factory, "make", lambda *arguments: bad_gradients)
    with pytest.warns(RuntimeWarning, match=r"seed 1\d is not finite"):
        history = loop.train(config, progress=False)
    stopped = np.flatnonzero(history.stopped >= 0)
    assert 0 < len(stopped) < 6
    results.write_summary(results.write_history(tmp_path, config, history))
    summary = results.read_run(tmp_path).summary
    assert summary["stopped_seeds"] == [10 + i for i in stopped]
    assert summary["final_return_iqm"] is not None


def test_bad_meta_gradients_are_set_to_zero_and_counted(monkeypatch):
    config = MetaTrainConfig(
        *("celo_adam", 2), families=("digits",), tasks_per_family=1, hidden=4, batch_size=4, truncation=5, min_unroll=5
    )
    make = outer.particles.make

    def poisoned(config):
        population = make(config)

        def estimate(*arguments):
            state, sums = population.estimate(*arguments)
            grad = jax.tree.map(lambda g: g.at[(0,) * g.ndim].set(jnp.nan), sums.grad)
            return state, sums._replace(grad=grad, loss=sums.loss + jnp.inf)

        kept = {name: getattr(population, name) for name in ("smallest_share", "inputs", "init", "rule")}
        return types.SimpleNamespace(**kept, estimate=estimate)

    monkeypatch.setattr(outer.particles, "make", poisoned)
    program = outer.make_program(config)
    state, measured = program.step(program.init())
    assert 0 < float(measured.bad_grads) < 1
    assert float(measured.loss) == outer.BAD_LOSS
    for leaf in jax.tree.leaves(state.theta):
        assert np.all(np.isfinite(leaf))


class Faulty(cartpole.CartPole):
    """CartPole with one thing of a step replaced."""

    def wrong(self, obs, state, reward, done):
        raise NameError("a mistake")

    def step_env(self, key, state, action, params):
        obs, state, reward, done, info = super().step_env(key, state, action, params)
        return *self.wrong(obs, state, reward, done), info


FAULTS = {
    "a step fails: NameError": None,
    r"float32 \(5,\) after float32 \(4,\)": lambda obs, *rest: (jnp.concatenate([obs, obs[:1]]), *rest),
    r"float32 \(1,\) after float32 \(4,\)": lambda obs, *rest: (obs[:1], *rest),
    r"int32 \(4,\) after float32 \(4,\)": lambda obs, *rest: (obs.astype(int), *rest),
    r"float32 \(2,\) after float32 \(\)": lambda o, s, *rest: (o, s.replace(x=jnp.zeros(2)), *rest),
    "reward must be one number, got .*4": lambda o, s, r, d: (o, s, jnp.ones(4), d),
    "reward must be one number, got .*complex64": lambda o, s, r, d: (o, s, 1j * r, d),
    "terminated must be one number, got .*4": lambda o, s, r, d: (o, s, r, jnp.ones(4, bool)),
}


@pytest.mark.parametrize("message", FAULTS)
def test_an_environment_that_does_not_keep_to_its_shapes_is_refused_by_name(monkeypatch, message):
    monkeypatch.setitem(sys.modules, "faulty", sys.modules[__name__])
    if FAULTS[message] is not None:
        monkeypatch.setattr(Faulty, "wrong", staticmethod(FAULTS[message]))
    with pytest.raises(ValueError, match=f"faulty:Faulty: .*{message}"):
        envs.make("faulty:Faulty", 4)


@pytest.mark.parametrize(
    ("part", "message"), [("reset_env", "a reset"), ("action_space", "action_space"), ("step_env", "a step")]
)
def test_an_environment_of_which_a_part_fails_is_refused_by_name(monkeypatch, part, message):
    def fails(self, *arguments):
        raise ValueError("a mistake")

    monkeypatch.setitem(sys.modules, "faulty", sys.modules[__name__])
    monkeypatch.setattr(Faulty, part, fails)
    with pytest.raises(ValueError, match=rf"faulty:Faulty: {message} fails: ValueError\('a mistake'\)"):
        envs.make("faulty:Faulty", 4)


def test_every_environment_of_gymnax_keeps_to_its_shapes():
    for name in envs.gymnax.ids():
        env, params = gymnax.make(name)
        envs.from_gymnax(env, params, 1, name)
