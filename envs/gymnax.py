"""Environments of gymnax (R. T. Lange, 2022; version 1.0 or later) behind `VectorEnv`.

Ends of episodes are handled here, by gymnax's own rules: the environment is reset within the step, the true last
observation is handed out, time limits are truncations. gymnax itself draws a new first state at every step, to use it
at the few that end an episode; on a CPU those many small random draws take longer than everything else an environment
does. `prepare` draws them ahead for a whole rollout, in one go.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import gymnax
import jax
import jax.numpy as jnp
import numpy as np

from envs import names, own_code
from envs.base import Box, Discrete, EnvSpec, TimeStep, VectorEnv

# Their observations are zeros and ones in float32; a replay of bytes takes a quarter of the memory.
BINARY = "-MinAtar"
# Memory for first states drawn ahead, and how many each environment has at least.
MAX_FRESH_BYTES = 8 << 20
MIN_FRESH = 8


class Fresh(NamedTuple):
    """First states drawn ahead, K for each environment: leaves [K, N, ...]. used: int32 [N], how many are gone."""

    env: Any
    obs: jax.Array
    used: jax.Array


class GymnaxState(NamedTuple):
    """env: gymnax's state, leaves [N, ...]. episode_return: float32 [N]. episode_length: int32 [N]; both so far.

    fresh: first states drawn ahead; None where each step draws its own.
    """

    env: Any
    episode_return: jax.Array
    episode_length: jax.Array
    fresh: Fresh | None = None


def ids() -> tuple[str, ...]:
    """Every gymnax environment that can be made without a network."""
    return tuple(name for name in gymnax.registered_envs if name not in names.NEEDS_NETWORK)


def make(env_id: str, num_envs: int) -> VectorEnv:
    """num_envs copies of a registered gymnax environment, with its default parameters."""
    env, params = gymnax.make(env_id)
    return _vectorized(env, params, env_id, num_envs, binary=env_id.endswith(BINARY))


def from_path(path: str, num_envs: int) -> VectorEnv:
    """num_envs copies of the environment that `module:name` or `module:name(size=8, ...)` makes.

    Args:
      path: of a class or a function, with arguments by name, as Python literals. It gives an environment with gymnax's
        interface, or that and its params; default: `default_params`.
      num_envs: how many.

    Raises:
      ValueError: if it cannot be imported or called, or lacks gymnax's interface.
    """
    module, name, arguments = _parsed(path)
    try:
        with own_code.current_folder():
            made = own_code.imported(module, name)(**arguments)
    except Exception as error:  # a user's own class may raise anything
        raise ValueError(f"cannot make an environment from {path!r}: {error}") from error
    env, params = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    return from_gymnax(env, params, num_envs, path)


def _parsed(path: str) -> tuple[str, str, dict[str, Any]]:
    """Module, name and arguments of `module:name(argument=literal, ...)`."""
    module, _, call = path.partition(":")
    try:
        name, arguments = names.called(call)
        if not name.isidentifier():
            raise ValueError("not a name")
        return module, name, arguments
    except ValueError as error:
        raise ValueError(
            f"an environment of your own is module:name or module:name(argument=1, other='text'), got {path!r}"
        ) from error


def from_gymnax(env: Any, params: Any = None, num_envs: int = 1, env_id: str | None = None) -> VectorEnv:
    """num_envs copies of an environment that follows gymnax's interface (1.0), with parameters of your choice.

    Args:
      env: has `reset_env`, `step_env`, `is_truncated` and `action_space`. Action spaces are told by what they have: `n`
        (or `num_values`), or `low`, `high` (`minimum`, `maximum`) and `shape`.
      params: handed to each of these; None: `env.default_params`.
      num_envs: at least 1.
      env_id: what messages call it; default: the class.

    Raises:
      ValueError: if parts of the interface are missing, empty, or do not go together.

    Examples:
      >>> import envs, gymnax, jax
      >>> env, params = gymnax.make("CartPole-v1")
      >>> env = envs.from_gymnax(env, params.replace(max_steps_in_episode=50), num_envs=4)
      >>> env.spec.time_limit
      50
    """
    name = type(env).__name__ if env_id is None else env_id
    if num_envs < 1:
        raise ValueError(f"num_envs must be at least 1, got {num_envs}")
    needed = ("reset_env", "step_env", "is_truncated", "action_space", *(("default_params",) if params is None else ()))
    try:
        missing = [attribute for attribute in needed if not hasattr(env, attribute)]
        if missing:
            raise ValueError(f"{name!r} does not follow gymnax's interface (1.0): it lacks {', '.join(missing)}")
        return _vectorized(env, env.default_params if params is None else params, name, num_envs)
    except NotImplementedError as error:  # gymnax's own base class has everything, but empty
        raise ValueError(f"{name!r} leaves parts of gymnax's interface (1.0) empty: {error!r}") from error


class _Single(NamedTuple):
    """One copy of an environment.

    reset(key) -> (obs, state). step(key, state, action) -> (obs, state, reward, terminated, truncated).
    """

    reset: Callable[[jax.Array], tuple[jax.Array, Any]]
    step: Callable[[jax.Array, Any, jax.Array], tuple[jax.Array, Any, Any, Any, Any]]


def _vectorized(env: Any, params: Any, env_id: str, num_envs: int, binary: bool = False) -> VectorEnv:
    """num_envs copies of an environment.

    An observation that is a single whole number becomes one-hot. binary: observations are zeros and ones, to be handed
    out as bool.

    Raises:
      ValueError: for observations that are not one array, an unknown kind of action space, or a step that fails or does
        not return what it should.
    """
    single = _single(env, params, env_id, binary)
    first_obs, _ = one = jax.eval_shape(single.reset, jax.random.key(0))
    limit = getattr(params, "max_steps_in_episode", None)
    spec = EnvSpec(
        id=env_id,
        num_envs=num_envs,
        observation_shape=tuple(first_obs.shape),
        observation_dtype=first_obs.dtype,
        action_space=_action_space(_asked(env_id, "action_space", lambda: env.action_space(params)), env_id),
        time_limit=_time_limit(limit, env_id),
    )
    if 0 in spec.observation_shape:
        raise ValueError(f"{env_id}: an observation must hold something, got the shape {spec.observation_shape}")
    _check_step(env_id, one, single.step, spec.action_space)
    bytes_each = num_envs * sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(one))

    def reset(key: jax.Array) -> tuple[GymnaxState, jax.Array]:
        obs, state = jax.vmap(single.reset)(jax.random.split(key, num_envs))
        zeros = jnp.zeros(num_envs, jnp.float32)
        return GymnaxState(state, zeros, zeros.astype(jnp.int32)), obs

    def prepare(key: jax.Array, state: GymnaxState, num_steps: int) -> GymnaxState:
        count = min(num_steps, max(MIN_FRESH, MAX_FRESH_BYTES // bytes_each))
        obs, env_state = jax.vmap(jax.vmap(single.reset))(jax.random.split(key, (count, num_envs)))
        return state._replace(fresh=Fresh(env_state, obs, jnp.zeros(num_envs, jnp.int32)))

    def release(state: GymnaxState) -> GymnaxState:
        return state._replace(fresh=None)

    def step(key: jax.Array, state: GymnaxState, action: jax.Array) -> tuple[GymnaxState, TimeStep]:
        return _step(single, key, state, action)

    return VectorEnv(spec, reset, step, prepare, release)


def _single(env: Any, params: Any, env_id: str, binary: bool) -> _Single:
    """The environment with its parameters, and observations as agents see them."""
    key = jax.random.key(0)
    raw = _asked(env_id, "a reset", lambda: jax.eval_shape(lambda key: env.reset_env(key, params)[0], key))
    if not isinstance(raw, jax.ShapeDtypeStruct):
        raise ValueError(f"{env_id}: an observation must be one array, got {jax.tree.structure(raw)}; flatten it")
    classes = None
    if raw.shape == () and jnp.issubdtype(raw.dtype, jnp.integer):
        space = _asked(env_id, "observation_space", lambda: env.observation_space(params))
        if not _is_count(getattr(space, "n", None)):
            raise ValueError(
                f"{env_id}: an observation that is a single whole number needs an observation space with n, the number "
                f"of its values, got {type(space).__name__}"
            )
        classes = int(space.n)

    def shown(obs: jax.Array) -> jax.Array:
        if classes is not None:
            return jax.nn.one_hot(obs, classes)
        return obs != 0 if binary else obs

    def reset(key: jax.Array) -> tuple[jax.Array, Any]:
        obs, state = env.reset_env(key, params)
        return shown(obs), state

    def step(key: jax.Array, state: Any, action: jax.Array) -> tuple[jax.Array, Any, Any, Any, Any]:
        obs, state, reward, terminated, _ = env.step_env(key, state, action, params)
        return shown(obs), state, reward, terminated, env.is_truncated(state, params)

    return _Single(reset, step)


def _step(single: _Single, key: jax.Array, state: GymnaxState, action: jax.Array) -> tuple[GymnaxState, TimeStep]:
    """A step of all copies; those that end an episode start the next one within it."""
    num_envs = len(state.episode_return)
    step_key, reset_key = jax.random.split(key)
    final_obs, played, reward, terminated, truncated = jax.vmap(single.step)(
        jax.random.split(step_key, num_envs), state.env, action
    )
    reward = jnp.asarray(reward, jnp.float32)  # some environments reward in int32
    terminated, truncated = jnp.asarray(terminated, bool), jnp.asarray(truncated, bool)
    done = terminated | truncated
    fresh = state.fresh
    if fresh is None:
        first_obs, first = jax.vmap(single.reset)(jax.random.split(reset_key, num_envs))
    else:
        # One that ends more episodes than were drawn ahead starts from the last of them again.
        row = jnp.minimum(fresh.used, fresh.obs.shape[0] - 1)
        first_obs, first = jax.tree.map(lambda x: x[row, jnp.arange(num_envs)], (fresh.obs, fresh.env))
        fresh = fresh._replace(used=fresh.used + done)

    def choose(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(done.reshape((-1,) + (1,) * (old.ndim - 1)), new, old).astype(old.dtype)

    episode_return, episode_length = state.episode_return + reward, state.episode_length + 1
    timestep = TimeStep(
        obs=choose(first_obs, final_obs),
        reward=reward,
        terminated=terminated,
        truncated=truncated,
        final_obs=final_obs,
        valid=jnp.ones(num_envs, bool),
        episode_return=jnp.where(done, episode_return, 0.0),
        episode_length=jnp.where(done, episode_length, 0),
    )
    after = GymnaxState(
        env=jax.tree.map(choose, first, played),
        episode_return=jnp.where(done, 0.0, episode_return),
        episode_length=jnp.where(done, 0, episode_length),
        fresh=fresh,
    )
    return after, timestep


def _asked(env_id: str, what: str, ask: Callable[[], Any]) -> Any:
    """What an environment answers; ValueError where it fails: a user's own class may raise anything."""
    try:
        return ask()
    except NotImplementedError:  # see `from_gymnax`
        raise
    except Exception as error:
        raise ValueError(f"{env_id}: {what} fails: {error!r:.500}") from error


def _check_step(env_id: str, first: tuple[Any, Any], step_one: Any, space: Discrete | Box) -> None:
    """Refuses an environment whose step does not go with its reset; what broadcasts would go unnoticed."""
    shape, kind = ((), jnp.int32) if isinstance(space, Discrete) else (space.shape, jnp.float32)
    action = jax.ShapeDtypeStruct(shape, kind)
    key = jax.random.key(0)
    obs, state, *rest = _asked(env_id, "a step", lambda: jax.eval_shape(step_one, key, first[1], action))
    wanted, found = ([(x.shape, x.dtype) for x in jax.tree.leaves(tree)] for tree in (first, (obs, state)))
    kinds: list[Any] = [jax.tree.structure(tree) for tree in (first[1], state)]
    if wanted != found or kinds[0] != kinds[1]:
        different = [f"{b[1]} {b[0]} after {a[1]} {a[0]}" for a, b in zip(wanted, found, strict=False) if a != b]
        raise ValueError(
            f"{env_id}: observation and state must be after a step as they were after a reset, "
            f"got {'; '.join(different) or 'another kind of state'}"
        )
    for name, value in zip(("reward", "terminated", "truncated"), rest, strict=True):
        if not isinstance(value, jax.ShapeDtypeStruct):
            raise ValueError(f"{env_id}: {name} must be one number, got {jax.tree.structure(value)}")
        if jnp.shape(value) != () or jnp.issubdtype(jnp.result_type(value), jnp.complexfloating):
            raise ValueError(f"{env_id}: {name} must be one number, got {value}")


def _is_count(value: Any) -> bool:
    """Whether it is a whole number of at least 1."""
    try:
        return int(value) == value and value >= 1
    except (TypeError, ValueError, OverflowError):
        return False


def _time_limit(limit: Any, env_id: str) -> int | None:
    """Steps of an episode, None: without end, which some write as infinity."""
    if limit is None or (np.ndim(limit) == 0 and limit == np.inf):
        return None
    if not _is_count(limit):
        raise ValueError(f"{env_id}: max_steps_in_episode must be a whole number of at least 1, or inf, got {limit!r}")
    return int(limit)


def _action_space(space: Any, env_id: str) -> Discrete | Box:
    """Told by what a space has, not by its class: every suite has classes of its own."""
    for name in ("n", "num_values"):
        if hasattr(space, name) and np.ndim(getattr(space, name)) == 0:
            if not _is_count(count := getattr(space, name)):
                raise ValueError(f"{env_id}: there must be at least one action, got {count!r}")
            return Discrete(int(count))
    for bounds in (("low", "high"), ("minimum", "maximum")):
        if all(hasattr(space, name) for name in (*bounds, "shape")):
            shape = tuple(space.shape)
            if 0 in shape:
                raise ValueError(f"{env_id}: an action must hold something, got the shape {shape}")
            low, high = (np.broadcast_to(np.asarray(getattr(space, name), np.float32), shape) for name in bounds)
            return Box(low, high, shape)
    raise ValueError(
        f"{env_id}: action space {type(space).__name__} is not supported; one is that has n, or low, high and shape"
    )
