"""Settings per agent and environment, so that `rlopt train AGENT --env X` needs no other flag. Imports no jax."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from agents.configs import CONFIGS, Config
from envs import names, pool_ids
from envs.atari_config import AtariConfig, is_atari
from rlopt.optimizers import catalog

AGENTS = tuple(CONFIGS)
# What the optimizers' own rates, which are those of PPO on classic control, are multiplied by.
_RATES = {"ppo": 1.0, "dqn": 0.1, "pqn": 0.2, "rppo": 0.4, "sac": 0.12}
# What the steps of optimizers that find their size by themselves are multiplied by: their schedules were learned on
# images. Chosen on CartPole and SpaceInvaders, with other seeds than those that are reported.
_SHARES = {"ppo": 1 / 3, "dqn": 1.0, "pqn": 1 / 3, "rppo": 1 / 3, "sac": 1.0}
# DQN's rates are a tenth of PPO's for every optimizer; Celo's steps had to be shorter still. Celo-Adam's are too
# short where they are annealed besides; DQN's are not annealed.
_OWN_SHARES = MappingProxyType({("dqn", "celo"): 1 / 100, ("ppo", "celo_adam"): 3.0, ("pqn", "celo_adam"): 3.0})


class Preset(NamedTuple):
    """What differs from an agent's own defaults.

    changes: settings of its configuration. rate: every optimizer's learning rate is multiplied by this besides.
    atari: how Atari games are shown and played.
    """

    changes: Mapping[str, Any] = MappingProxyType({})
    rate: float = 1.0
    atari: AtariConfig = AtariConfig()


_CONTINUOUS = {"normalize_observations": True, "normalize_rewards": True}
# Dense networks: `--network minatar --hidden 128` is MinAtar's own, several times slower on a CPU.
_MINATAR = {
    "ppo": Preset(
        # purejaxrl's settings.
        {
            "total_steps": 10_000_000,
            "num_envs": 64,
            "rollout_length": 128,
            "epochs": 4,
            "minibatches": 8,
            "activation": "relu",
        },
        rate=2.0,
    ),
    "dqn": Preset(
        {
            "total_steps": 5_000_000,
            "replay_capacity": 100_000,
            "target_interval": 1000,
        }
    ),
    "pqn": Preset({"total_steps": 10_000_000, "num_envs": 128, "rollout_length": 32}),
}
# PPO: CleanRL's settings, with the same 2,048 steps per rollout from eight robots in place of one. SAC: its paper's.
MUJOCO = {
    "ppo": Preset(
        _CONTINUOUS
        | {
            "total_steps": 1_000_000,
            "num_envs": 8,
            "rollout_length": 256,
            "epochs": 10,
            "minibatches": 32,
            "entropy_coef": 0.0,
        },
        rate=0.12,
    ),
    "sac": Preset({"total_steps": 1_000_000, "replay_capacity": 1_000_000, "learning_starts": 10_000}),
}
# Many short episodes with one reward, at their end.
_ROOM = Preset({"total_steps": 500_000, "num_envs": 16, "activation": "relu"}, rate=0.4)
_GAMES = ("Asterix-MinAtar", "Breakout-MinAtar", "Freeway-MinAtar", "Seaquest-MinAtar", "SpaceInvaders-MinAtar")

# Tasks of envpool's that are simulated robots.
_ROBOTS = frozenset(env_id for suite in ("mujoco.gym", "mujoco.dmc") for env_id in pool_ids.SUITES[f"envpool.{suite}"])

# Agent and environment; docs/returns.md says which have been measured. Others run with the agent's own defaults.
PRESETS: dict[tuple[str, str], Preset] = {
    ("ppo", "CartPole-v1"): Preset(),
    ("ppo", "Acrobot-v1"): Preset(),
    ("ppo", "Catch-bsuite"): Preset({"total_steps": 200_000}),
    ("ppo", "DeepSea-bsuite"): Preset({"total_steps": 200_000}),
    ("ppo", "UmbrellaChain-bsuite"): Preset({"total_steps": 200_000}),
    ("ppo", "FourRooms-misc"): Preset({"total_steps": 200_000}),
    ("ppo", "Pong-misc"): Preset({"total_steps": 300_000}),
    ("ppo", "Pendulum-v1"): Preset(_CONTINUOUS | {"num_envs": 16, "gamma": 0.95, "entropy_coef": 0.0}, rate=0.4),
    ("ppo", "PointRobot-misc"): Preset({"entropy_coef": 0.0}, rate=0.4),
    ("ppo", "MountainCarContinuous-v0"): Preset(_CONTINUOUS | {"total_steps": 200_000}, rate=0.4),
    ("ppo", "Reacher-misc"): Preset(_CONTINUOUS, rate=0.4),
    ("ppo", "Swimmer-misc"): Preset(_CONTINUOUS, rate=0.4),
    ("dqn", "CartPole-v1"): Preset(),
    ("dqn", "Acrobot-v1"): Preset(),
    ("dqn", "Catch-bsuite"): Preset(),
    # Its reward says nothing until the goal is reached once. Values near 0 are too good for what has not been tried,
    # and that explores: with many updates, from early on, and few random actions, which only disturb it.
    ("dqn", "MountainCar-v0"): Preset(
        {
            "updates_per_iteration": 4,
            "learning_starts": 1000,
            "epsilon_start": 0.1,
            "exploration_fraction": 0.05,
            "replay_capacity": 50_000,
        }
    ),
    ("pqn", "CartPole-v1"): Preset(),
    ("pqn", "Acrobot-v1"): Preset(),
    ("pqn", "Catch-bsuite"): Preset(),
    # Steps of an episode are few, or count for one another over all of it: rollouts are learned from whole.
    ("rppo", "MemoryChain-bsuite"): Preset({"total_steps": 200_000}),
    ("rppo", "MetaMaze-misc"): Preset({"total_steps": 2_000_000, "num_envs": 32, "normalize_observations": True}),
    ("sac", "Pendulum-v1"): Preset({"total_steps": 20_000, "batch_size": 128, "hidden": (64, 64)}, rate=10 / 3),
    ("ppo", "HalfCheetah-v4"): MUJOCO["ppo"],
    ("ppo", "Hopper-v4"): MUJOCO["ppo"],
    ("sac", "HalfCheetah-v4"): MUJOCO["sac"],
    # Craftax's own baseline, with an eighth of its environments; it trains for 1,000 times as many steps.
    ("ppo", "craftax:Craftax-Classic-Symbolic-v1"): Preset(
        {
            "total_steps": 1_000_000,
            "num_envs": 128,
            "rollout_length": 64,
            "minibatches": 8,
            "gae_lambda": 0.8,
            "hidden": (512, 512),
        },
        rate=0.08,
    ),
    ("ppo", "navix:Navix-Empty-8x8-v0"): _ROOM,
    ("ppo", "navix:Navix-DoorKey-5x5-v0"): _ROOM,
    **{(agent, game): preset for agent, preset in _MINATAR.items() for game in _GAMES},
    ("ppo", "Asterix-MinAtar"): _MINATAR["ppo"]._replace(rate=1.2),
}


# Games of envpool, told by their ids. CleanRL's settings, for Nature's network on 84 x 84 pixels; DQN with 8 games at
# the same number of updates per step, double Q-learning, and a tenth of the replay (a million frames are 7 GB).
_ATARI = {
    "ppo": Preset(
        {
            "total_steps": 10_000_000,
            "num_envs": 8,
            "clip_epsilon": 0.1,
            "network": "nature",
            "hidden": (512,),
            "activation": "relu",
        },
        rate=0.1,
    ),
    "dqn": Preset(
        {
            "total_steps": 10_000_000,
            "num_envs": 8,
            "updates_per_iteration": 2,
            "batch_size": 32,
            "replay_capacity": 100_000,
            "learning_starts": 80_000,
            "target_interval": 1000,
            "epsilon_end": 0.01,
            "exploration_fraction": 0.1,
            "network": "nature",
            "hidden": (512,),
        },
        rate=0.4,
    ),
    "pqn": Preset(
        {
            "total_steps": 10_000_000,
            "num_envs": 8,
            "rollout_length": 128,
            "minibatches": 4,
            "q_lambda": 0.65,
            "epsilon_end": 0.01,
            "exploration_fraction": 0.1,
            "network": "nature",
            "hidden": (512,),
        },
        rate=0.5,
    ),
}
# A quarter of the pixels, a small network, many gradient steps per sample: Pong within minutes on a few cores.
_FAST_ATARI = {
    "ppo": Preset(
        {
            "total_steps": 1_300_000,
            "num_envs": 8,
            "epochs": 3,
            "minibatches": 16,
            "clip_epsilon": 0.1,
            "anneal": False,
            "network": "small",
            "hidden": (256,),
            "activation": "relu",
        },
        rate=0.32,
        atari=AtariConfig(image_size=42),
    ),
    "dqn": Preset(
        {
            "total_steps": 1_300_000,
            "num_envs": 8,
            "updates_per_iteration": 2,
            "batch_size": 32,
            "n_step": 3,
            "replay_capacity": 100_000,
            "learning_starts": 10_000,
            "target_interval": 2000,
            "epsilon_end": 0.01,
            "exploration_fraction": 0.1,
            "network": "small",
            "hidden": (256,),
        },
        atari=AtariConfig(image_size=42),
    ),
    "pqn": Preset(
        {
            "total_steps": 1_300_000,
            "num_envs": 8,
            "rollout_length": 128,
            "epochs": 2,
            "minibatches": 16,
            "q_lambda": 0.65,
            "epsilon_end": 0.01,
            "exploration_fraction": 0.1,
            "anneal": False,
            "network": "small",
            "hidden": (256,),
        },
        atari=AtariConfig(image_size=42),
    ),
}
# By name of the preset and agent; for every game.
ATARI = MappingProxyType({"default": _ATARI, "fast": _FAST_ATARI})
NAMES = tuple(ATARI)


def _family(agent: str, env_id: str) -> Preset:
    """The preset of an environment that has none of its own."""
    if is_atari(env_id):
        return _ATARI.get(agent, Preset())
    if env_id.startswith(names.GYMNASIUM):
        twin, _ = names.called(env_id.removeprefix(names.GYMNASIUM))
        return Preset() if is_atari(twin) else PRESETS.get((agent, twin)) or _family(agent, twin)
    if env_id in _ROBOTS or names.suite(env_id) in ("brax", "playground"):
        return MUJOCO.get(agent, Preset())
    return Preset()


def find(agent: str, env_id: str, name: str = "default") -> Preset:
    """The preset of an agent and an environment; what has none takes the agent's own defaults.

    `gymnasium:ID` takes that of the same id without gymnasium's name before it.

    Raises:
      ValueError: for a preset "fast" that there is not, or an unknown name.
    """
    if name == "default":
        return PRESETS.get((agent, env_id)) or _family(agent, env_id)
    if name not in NAMES:
        raise ValueError(f"unknown preset {name!r}; there are {', '.join(NAMES)}")
    if agent not in ATARI[name] or not is_atari(env_id):
        known = ", ".join(ATARI[name])
        raise ValueError(f"there is no {name} preset of {agent} for {env_id}, only of {known} for Atari games")
    return ATARI[name][agent]


def config(agent: str, env_id: str, name: str = "default") -> Config:
    """An agent's settings for an environment."""
    return CONFIGS[agent](**find(agent, env_id, name).changes)


def share(agent: str, optimizer: str) -> float:
    """What is handed, in place of a learning rate, to an optimizer that takes none; KeyError for an unknown agent."""
    info = catalog.find(optimizer)
    # The baselines' steps as they are: nothing has been tried in RL.
    is_baseline = info is not None and info.learned and info.weights is None
    return _OWN_SHARES.get((agent, optimizer), 1.0 if is_baseline else _SHARES[agent])


def learning_rate(agent: str, env_id: str, optimizer: str, name: str = "default") -> float | None:
    """The default rate of an optimizer for an agent and an environment; None for one that takes, or has, none.

    Raises:
      KeyError: for an unknown agent.
    """
    info = catalog.find(optimizer)
    own = None if info is None else info.learning_rate
    return None if own is None else own * _RATES[agent] * find(agent, env_id, name).rate
