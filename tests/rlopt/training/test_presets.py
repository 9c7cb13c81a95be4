"""Presets: every one of them fits its environment, and rates follow the agent."""

from pathlib import Path

import jax
import pytest

from envs import AtariConfig
from helpers import by_default, need_suite
from rlopt.optimizers.catalog import OPTIMIZERS
from rlopt.training import loop, presets
from rlopt.training.config import TrainConfig

TRACED = {f"{agent} {env_id}": (agent, env_id) for agent, env_id in presets.PRESETS}
# Every agent, and each kind of observations, actions and settings once.
BY_DEFAULT = [
    *(f"ppo {env_id}" for env_id in ("CartPole-v1", "DeepSea-bsuite", "Pong-misc", "Pendulum-v1", "Breakout-MinAtar")),
    *(
        "dqn CartPole-v1",
        "dqn Seaquest-MinAtar",
        "pqn CartPole-v1",
    ),
    *("pqn Asterix-MinAtar", "rppo MemoryChain-bsuite", "sac Pendulum-v1"),
    *("ppo HalfCheetah-v4", "sac HalfCheetah-v4", "ppo navix:Navix-Empty-8x8-v0"),
]


@pytest.mark.parametrize("preset", by_default(TRACED, *BY_DEFAULT))
def test_an_iteration_of_every_preset_can_be_traced(preset):
    agent, env_id = preset
    need_suite(env_id)
    config = TrainConfig(agent=agent, env=env_id, optimizer="adam", hyper=presets.config(agent, env_id))
    built = loop.make_agent(config)
    state = jax.eval_shape(lambda: built.init(jax.random.key(0), built.hyperparams(1e-3)))
    after, metrics = jax.eval_shape(built.step, state)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(lambda x: (x.shape, x.dtype), state)
    assert metrics.loss.shape == ()
    # Arrays of no rows, split over devices, make the compiler of jax 0.11 crash.
    assert all(leaf.size for leaf in jax.tree.leaves(state))
    assert config.hyper.total_steps // config.hyper.env_steps_per_iteration >= 50


@pytest.mark.parametrize(
    ("agent", "name", "size", "rate"),
    [
        ("ppo", "default", 84, 2.5e-4),
        ("ppo", "fast", 42, 8e-4),
        ("pqn", "default", 84, 2.5e-4),
        ("dqn", "default", 84, 1e-4),
        ("dqn", "fast", 42, 2.5e-4),
        ("pqn", "fast", 42, 5e-4),
    ],
)
def test_an_iteration_on_a_game_can_be_traced(agent, name, size, rate):
    config = TrainConfig(
        agent=agent,
        env="Pong-v5",
        optimizer="adam",
        preset=name,
        atari=presets.find(agent, "Pong-v5", name).atari,
        hyper=presets.config(agent, "Pong-v5", name),
    )
    assert config.resolved_learning_rate == pytest.approx(rate)
    built = loop.make_agent(config)
    state = jax.eval_shape(lambda: built.init(jax.random.key(0), built.hyperparams(1e-3)))
    assert state.obs.shape == (8, size, size, 4)
    after, _ = jax.eval_shape(built.step, state)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(lambda x: (x.shape, x.dtype), state)


def test_an_id_of_gymnasium_has_the_settings_of_its_twin_and_every_robot_those_of_mujoco():
    for agent in ("ppo", "sac", "dqn"):
        for env_id in ("CartPole-v1", "Pendulum-v1", "Hopper-v5"):
            assert presets.find(agent, f"gymnasium:{env_id}") == presets.find(agent, env_id)
    assert presets.find("ppo", "gymnasium:CartPole-v1(max_episode_steps=9)") == presets.find("ppo", "CartPole-v1")
    for env_id in ("Ant-v5", "CheetahRun-v1", "brax:ant", "playground:CheetahRun(episode_length=9)"):
        assert presets.find("ppo", env_id) == presets.MUJOCO["ppo"]
        assert presets.learning_rate("ppo", env_id, "adam") == pytest.approx(3e-4)
        assert presets.learning_rate("sac", env_id, "adam") == pytest.approx(3e-4)
    for env_id in ("LunarLander-v3", "gymnasium:ALE/Pong-v5", "navix:Navix-FourRooms-v0", "gymnasium:Own-v0"):
        assert presets.find("ppo", env_id) == presets.Preset()


def test_presets_that_there_are_not():
    with pytest.raises(ValueError, match="unknown preset 'quick'; there are default, fast"):
        presets.find("ppo", "Pong-v5", "quick")
    with pytest.raises(ValueError, match="no fast preset of sac for Pong-v5, only of ppo, dqn, pqn for Atari games"):
        presets.find("sac", "Pong-v5", "fast")
    with pytest.raises(ValueError, match="CartPole-v1 is not an Atari game; the settings of atari are for those"):
        TrainConfig(atari=AtariConfig(stack=2)).check()


def test_rates_are_those_of_the_agent_and_the_environment():
    assert presets.learning_rate("ppo", "CartPole-v1", "adam") == OPTIMIZERS["adam"].learning_rate
    assert presets.learning_rate("dqn", "CartPole-v1", "adam") == pytest.approx(2.5e-4)
    assert presets.learning_rate("dqn", "MountainCar-v0", "adam") == pytest.approx(2.5e-4)
    assert presets.learning_rate("ppo", "Asterix-MinAtar", "adam") == pytest.approx(3e-3)
    assert presets.learning_rate("ppo", "Breakout-MinAtar", "celo2") == pytest.approx(5e-3)
    assert presets.learning_rate("pqn", "CartPole-v1", "celo") is None
    config = TrainConfig(agent="pqn", optimizer="adam", hyper=presets.config("pqn", "CartPole-v1"))
    assert config.resolved_learning_rate == pytest.approx(5e-4)


@pytest.mark.parametrize(
    ("share", "message"), [(0.0, "share must be positive, got 0"), ("x", "must be a number, got 'x'")]
)
def test_an_impossible_share_is_refused(share, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(optimizer="celo", options={"share": share}).check()


@pytest.mark.parametrize("agent", presets.AGENTS)
def test_optimizers_without_a_rate_are_handed_a_share(agent):
    for name, info in OPTIMIZERS.items():
        config = TrainConfig(agent=agent, optimizer=name)
        if info.scheduled:
            assert config.resolved_learning_rate is None
            assert config.handed_rate == config.options["share"] == presets.share(agent, name) > 0
            assert TrainConfig(agent=agent, optimizer=name, options={"share": 0.2}).handed_rate == 0.2
        elif info.learning_rate is not None:
            assert config.handed_rate == config.resolved_learning_rate
    assert TrainConfig(agent="dqn", optimizer="celo").handed_rate == 0.01
    assert TrainConfig(agent="pqn", optimizer="celo_adam").handed_rate == 3


@pytest.mark.parametrize("module", ["benchmark/plan.py", "commands/population.py", "training/config.py"])
def test_help_names_every_agent(module):
    text = (Path(presets.__file__).parents[1] / module).read_text()
    assert f'"""Agent to train: {", ".join(presets.AGENTS)}."""' in text
