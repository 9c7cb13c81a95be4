"""What an agent is: a bundle of pure functions that take any optax optimizer."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import optax

# (learning_rate, num_updates) -> optimizer. learning_rate is a traced scalar or a schedule of the update count;
# num_updates is the number of updates over the whole training, for rules with a schedule of their own.
OptimizerFactory = Callable[[Any, int], optax.GradientTransformation]


class Agent(NamedTuple):
    """An agent on one vectorised environment.

    init(key, hyperparams) -> state. hyperparams: a NamedTuple of scalars, traced, so that `jax.vmap` over
      keys and hyperparams makes a population.
    step(state) -> (state, metrics): one iteration of rollout and learning.
    act(policy, obs, key, greedy=True) -> action: obs [N, *shape] -> [N, ...], in the environment's units.
    policy(state) -> what `act` needs: the network's parameters and whatever else acting depends on.
    """

    init: Callable[[jax.Array, Any], Any]
    step: Callable[[Any], tuple[Any, Any]]
    act: Callable[..., jax.Array]
    policy: Callable[[Any], Any]
