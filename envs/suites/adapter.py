"""From the interfaces of other suites to gymnax's, which `envs.from_gymnax` takes."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.base import Box, Discrete


class Params(NamedTuple):
    """max_steps_in_episode: steps after which an episode is truncated; None: the suite itself says when."""

    max_steps_in_episode: int | None


class State(NamedTuple):
    """inner: the suite's state. time: int32, steps of the episode. truncated: bool, whether the suite cut it off."""

    inner: Any
    time: jax.Array
    truncated: jax.Array


class Adapter:
    """One environment with gymnax's interface, made of functions.

    Keys are handed on in their raw form (uint32 [2]), which every suite takes and every state can hold.
    """

    def __init__(
        self,
        reset: Callable[[jax.Array], tuple[Any, Any]],
        step: Callable[[jax.Array, Any, jax.Array], tuple[Any, Any, Any, Any, Any]],
        actions: Discrete | Box,
        time_limit: int | None = None,
    ) -> None:
        """What an environment does.

        Args:
          reset: key -> (observation, state). An observation is an array or a tree of arrays, see `flat`.
          step: (key, state, action) -> (observation, state, reward, terminated, truncated).
          actions: what to choose from.
          time_limit: steps after which an episode is cut off besides; None: the suite counts.
        """
        self._reset, self._step, self._actions = reset, step, actions
        self.default_params = Params(time_limit)

    def reset_env(self, key: jax.Array, params: Params) -> tuple[jax.Array, State]:
        """See gymnax."""
        del params
        obs, inner = self._reset(jax.random.key_data(key))
        return flat(obs), State(inner, jnp.int32(0), jnp.zeros((), bool))

    def step_env(self, key: jax.Array, state: State, action: jax.Array, params: Params) -> tuple[Any, ...]:
        """See gymnax."""
        obs, inner, reward, terminated, truncated = self._step(jax.random.key_data(key), state.inner, action)
        time, limit = state.time + 1, params.max_steps_in_episode
        cut = jnp.asarray(truncated, bool) if limit is None else jnp.asarray(truncated, bool) | (time >= limit)
        # States come back in the kinds of numbers that they went in with: some suites' differ after a step.
        inner = jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype), inner, state.inner)
        return flat(obs), State(inner, time, cut), reward, jnp.asarray(terminated, bool), {}

    def is_truncated(self, state: State, params: Params) -> jax.Array:
        """See gymnax."""
        del params
        return state.truncated

    def action_space(self, params: Params) -> Discrete | Box:
        """See gymnax."""
        del params
        return self._actions


def flat(obs: Any) -> jax.Array:
    """One array of what is shown: as it is, or where there are several, all of them as one vector in float32."""
    parts = jax.tree.leaves(obs)
    if len(parts) == 1:
        return jnp.asarray(parts[0])
    return jnp.concatenate([jnp.ravel(part).astype(jnp.float32) for part in parts])


def unit_box(size: int) -> Box:
    """Actions from -1 to 1, [size]."""
    return Box(-np.ones(size, np.float32), np.ones(size, np.float32), (size,))
