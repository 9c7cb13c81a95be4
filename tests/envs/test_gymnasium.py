"""gymnasium behind the one interface: what a probe environment of ours says arrives as it said it, in every mode."""

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import envs
from envs import gymnasium as ours


class Counting(gymnasium.Env):
    """Shows how many steps the episode has had, and what number it was begun with, so that both can be told apart.

    Episode k of a copy ends after 2 + k steps: terminated where k is even, truncated where it is odd. The reward is the
    action, plus 10 in the step that ends an episode.
    """

    observation_space = gymnasium.spaces.Box(-1, 100, (3,), np.float64)
    action_space = gymnasium.spaces.Discrete(3, start=1)

    def __init__(self):
        self.episode = -1

    def _obs(self):
        return np.array([self.time, self.episode, self.luck], np.float64)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode, self.time, self.luck = self.episode + 1, 0, self.np_random.uniform()
        return self._obs(), {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.time += 1
        over = self.time == 2 + self.episode
        odd = self.episode % 2 == 1
        return self._obs(), float(action + 10 * over), bool(over and not odd), bool(over and odd), {}


class Vectorized(gymnasium.vector.SyncVectorEnv):
    """A vector environment of the package's own, in a mode of its own."""

    def __init__(self, num_envs, mode, max_episode_steps=None):
        super().__init__([Counting] * num_envs, autoreset_mode=mode or AutoresetMode.NEXT_STEP)
        self.metadata = {"autoreset_mode": mode} if mode else {}


class Driven(gymnasium.Env):
    """Rewards with the sum of its two real numbers; shows a picture."""

    observation_space = gymnasium.spaces.Box(0, 255, (4, 4, 1), np.uint8)
    action_space = gymnasium.spaces.Box(np.array([-2, 0], np.float64), np.array([2, 1], np.float64), dtype=np.float64)

    def reset(self, *, seed=None, options=None):
        return np.full((4, 4, 1), 7, np.uint8), {}

    def step(self, action):
        return np.full((4, 4, 1), 9, np.uint8), float(np.sum(action)), False, False, {}


class Nested(Driven):
    """Shows two things at once."""

    observation_space = gymnasium.spaces.Dict(a=gymnasium.spaces.Discrete(3), b=gymnasium.spaces.Box(0, 1, (2,)))

    def reset(self, *, seed=None, options=None):
        return {"a": 1, "b": np.array([0.5, 0.25], np.float32)}, {}

    def step(self, action):
        return self.reset()[0], 0.0, False, False, {}


class Strange(Driven):
    """Its actions are several whole numbers."""

    action_space = gymnasium.spaces.MultiDiscrete([2, 3])


class Breaking(Counting):
    """Fails at the second step."""

    def step(self, action):
        if self.time == 1:
            raise RuntimeError("the cable is out")
        return super().step(action)


MODES = {"NextStep": AutoresetMode.NEXT_STEP, "SameStep": AutoresetMode.SAME_STEP, "Disabled": AutoresetMode.DISABLED}


@pytest.fixture(scope="module", autouse=True)
def registered():
    made = {"Counting": Counting, "Driven": Driven, "Nested": Nested, "Strange": Strange, "Breaking": Breaking}
    for name, kind in made.items():
        gymnasium.register(f"Rlopt{name}-v0", entry_point=kind, max_episode_steps=50)
    for name, mode in {**MODES, "None": None}.items():
        gymnasium.register(f"Rlopt{name}-v0", vector_entry_point=Vectorized, kwargs={"mode": mode})
    yield
    for name in [*made, *MODES, "None"]:
        del gymnasium.registry[f"Rlopt{name}-v0"]


def steps_of(env_id, length=14, num_envs=2, seed=0):
    """The first observations and all time steps, [T, N, ...]; the action of step t is t modulo 3."""
    env = envs.make(env_id, num_envs)

    @jax.jit
    def run(key):
        state, obs = env.reset(key)

        def step(state, action):
            return env.step(key, state, jnp.full(num_envs, action))

        return obs, jax.lax.scan(step, state, jnp.arange(length) % 3)[1]

    return env.spec, *jax.tree.map(np.asarray, run(jax.random.key(seed)))


@pytest.mark.parametrize("name", ["Counting", *MODES])
def test_rewards_ends_and_last_observations_arrive_as_the_environment_said_them(name):
    spec, first, steps = steps_of(f"gymnasium:Rlopt{name}-v0")
    assert spec.next_step_reset == (name == "NextStep")
    assert steps.obs.dtype == np.float32
    np.testing.assert_array_equal(first[:, :2], [[0, 0], [0, 0]])
    assert first[0, 2] != first[1, 2]
    episode, time, total = 0, 0, 0.0
    for t in range(14):
        at = jax.tree.map(lambda x, t=t: x[t, 0], steps)
        if time is None:  # the next episode has begun in a step of its own
            assert not at.valid
            assert at.reward == 0
            assert not at.terminated
            assert not at.truncated
            np.testing.assert_array_equal(at.obs[:2], [0, episode])
            time = 0
            continue
        time, total = time + 1, total + 1 + t % 3
        over = time == 2 + episode
        total += 10 * over
        assert at.valid
        assert at.reward == 1 + t % 3 + 10 * over  # whole actions begin at 1 there, at 0 here
        assert at.terminated == (over and episode % 2 == 0)
        assert at.truncated == (over and episode % 2 == 1)
        np.testing.assert_array_equal(at.final_obs[:2], [time, episode])
        assert at.episode_return == (total if over else 0)
        assert at.episode_length == (time if over else 0)
        if over:
            episode, time, total = episode + 1, 0, 0.0
            if spec.next_step_reset:
                np.testing.assert_array_equal(at.obs, at.final_obs)
                time = None
            else:
                np.testing.assert_array_equal(at.obs[:2], [0, episode])
        else:
            np.testing.assert_array_equal(at.obs, at.final_obs)
    assert episode >= 3


def test_a_time_limit_is_a_truncation():
    spec, _, steps = steps_of("gymnasium:RloptCounting-v0(max_episode_steps=3)", 8)
    assert spec.time_limit == 3
    # Episodes of 2 and 3 steps end by themselves, the next would have 4.
    np.testing.assert_array_equal(np.flatnonzero(steps.terminated[:, 0]), [1])
    np.testing.assert_array_equal(np.flatnonzero(steps.truncated[:, 0]), [4, 7])


def test_seeds_side_by_side_and_alone_see_the_same():
    env = envs.make("gymnasium:RloptCounting-v0", 2)

    def run(key):
        state, _ = env.reset(key)
        return jax.lax.scan(lambda s, k: env.step(k, s, jnp.zeros(2, jnp.int32)), state, jax.random.split(key, 6))[
            1
        ].obs

    keys = jax.random.split(jax.random.key(1), 2)
    together = jax.jit(jax.vmap(run))(keys)
    for one, key in zip(together, keys, strict=True):
        np.testing.assert_array_equal(one, jax.jit(run)(key))
    assert not np.array_equal(together[0], together[1])


def test_an_environment_is_stepped_as_gymnasium_steps_it():
    _, first, steps = steps_of("gymnasium:Acrobot-v1", 30)
    bits = int(jax.random.bits(jax.random.key(0), (), jnp.uint32)) % 2**30
    theirs = gymnasium.make_vec("Acrobot-v1", 2)
    np.testing.assert_array_equal(theirs.reset(seed=bits)[0], first)
    for t in range(30):
        obs, reward, *_ = theirs.step(np.full(2, t % 3))
        np.testing.assert_array_equal(obs, steps.obs[t])
        np.testing.assert_array_equal(reward, steps.reward[t])


def test_real_actions_and_pictures():
    env = envs.make("gymnasium:RloptDriven-v0", 2)
    np.testing.assert_array_equal(env.spec.action_space.low, [-2, 0])
    state, obs = env.reset(jax.random.key(0))
    assert obs.dtype == jnp.uint8
    _, timestep = env.step(jax.random.key(0), state, jnp.array([[0.25, 0.5], [-2.0, 1.0]]))
    np.testing.assert_array_equal(timestep.reward, [0.75, -1.0])
    np.testing.assert_array_equal(timestep.obs, np.full((2, 4, 4, 1), 9))


def test_several_observations_become_one_vector_with_whole_numbers_one_hot():
    env = envs.make("gymnasium:RloptNested-v0", 2)
    np.testing.assert_array_equal(env.reset(jax.random.key(0))[1], [[0, 1, 0, 0.5, 0.25]] * 2)


@pytest.mark.filterwarnings("ignore:.*is missing AutoresetMode metadata")
@pytest.mark.parametrize(
    ("env_id", "message"),
    [
        (
            "RloptCountin-v0",
            "unknown environment 'gymnasium:RloptCountin-v0'; the nearest are gymnasium:RloptCounting-v0",
        ),
        ("RloptStrange-v0", r"actions must be Discrete or a Box of real numbers, got MultiDiscrete"),
        ("RloptNone-v0", "must be one of gymnasium's AutoresetMode, got None"),
        ("RloptCounting-v0(size=3)", "gymnasium cannot make it: .*size"),
        ("RloptCounting-v0(3)", r"arguments must be written as name\(argument=1, other='text'\)"),
        ("nowhere:Own-v0", "cannot import 'nowhere' of 'gymnasium:nowhere:Own-v0'"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(env_id, message):
    with pytest.raises(ValueError, match=message):
        envs.make(f"gymnasium:{env_id}", 2)


def test_an_environment_that_fails_ends_the_program_with_its_message():
    with pytest.raises(jax.errors.JaxRuntimeError, match="the cable is out"):
        steps_of("gymnasium:RloptBreaking-v0")


def test_ids_are_those_of_gymnasium():
    assert {"gymnasium:CartPole-v1", "gymnasium:RloptCounting-v0"} <= set(ours.ids())
