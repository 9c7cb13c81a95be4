"""Networks with a memory: layers, a gated recurrent unit, two heads; and as pure functions, ours or a user's own."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from agents import dormancy, models, networks
from agents.base import NetworkLike
from agents.initializers import orthogonal
from agents.products import product
from agents.rollout import forget

GATES = ("reset", "update", "candidate")


class Seen(NamedTuple):
    """What a network with a memory sees of B sequences of L steps.

    memory: [B, M], before the first step. obs: [B, L, *shape]. over: bool [B, L], the memory is emptied after the step,
    see `rollout.episode_over`.
    """

    memory: jax.Array
    obs: jax.Array
    over: jax.Array


class RecurrentModel(NamedTuple):
    """A network with a memory as pure functions of its parameters; an empty memory is zeros.

    init(key, obs) -> params. start(num_envs) -> memory [N, M].
    step(params, memory [B, M], obs [B, *shape]) -> (memory [B, M], actor outputs [B, A or 2 A], values [B]).
    apply(params, Seen) -> actor outputs [B, L, A or 2 A], values [B, L]: the same over whole sequences.
    dormancy(params, Seen) -> see `dormancy.score`.
    """

    init: Callable[[jax.Array, jax.Array], Any]
    start: Callable[[int], jax.Array]
    step: Callable[[Any, jax.Array, jax.Array], tuple[jax.Array, jax.Array, jax.Array]]
    apply: Callable[[Any, Seen], tuple[jax.Array, jax.Array]]
    dormancy: Callable[[Any, Seen], Any]


class GRU(nn.Module):
    """Gated recurrent unit, [r; z; c] for `GATES`:

      r = sigmoid(W_r x + U_r h + b_r), z = sigmoid(W_z x + U_z h + b_z)
      c = tanh(W_c x + b_c + r (U_c h + d)), h' = (1 - z) c + z h

    A matrix per gate, since optimizers that orthogonalise should see them apart; all are orthogonal at first.

    Reference: Cho et al., arXiv 1406.1078, with the reset after the product, as cuDNN has it.
    """

    size: int

    @nn.compact
    def __call__(self, x: jax.Array, h: jax.Array, over: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Inputs x [L, B, F], memory [B, M], over bool [L, B] -> all h' [L, B, M], the memory after the last."""

        def joined(name: str, rows: int) -> jax.Array:
            parts = [self.param(f"{gate}_{name}", orthogonal(1.0), (rows, self.size)) for gate in GATES]
            return jnp.concatenate(parts, axis=1)

        kernel, recurrent = joined("kernel", x.shape[-1]), joined("recurrent_kernel", self.size)
        zeros = nn.initializers.zeros_init()
        bias = jnp.concatenate([self.param(f"{gate}_bias", zeros, (self.size,)) for gate in GATES])
        inner_bias = self.param("candidate_recurrent_bias", zeros, (self.size,))
        # What comes of the inputs does not wait for the memory: one product for all steps.
        inputs = product(x.reshape(-1, x.shape[-1]), kernel).reshape(*x.shape[:2], -1) + bias

        def step(h: jax.Array, now: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            from_inputs, over = now
            (xr, xz, xc), (hr, hz, hc) = (jnp.split(y, 3, axis=-1) for y in (from_inputs, h @ recurrent))
            z = nn.sigmoid(xz + hz)
            h = (1 - z) * jnp.tanh(xc + nn.sigmoid(xr + hr) * (hc + inner_bias)) + z * h
            return forget(h, over), h

        if len(x) == 1:  # acting: no loop
            after, h = step(h, (inputs[0], over[0]))
            return h[None], after
        after, all_h = jax.lax.scan(step, h, (inputs, over))
        return all_h, after


class RecurrentActorCritic(networks.SharedActorCritic):
    """Convolutions, dense layers, a gated recurrent unit of `memory_size`, two heads."""

    memory_size: int = 64

    def setup(self) -> None:
        """Makes the layers."""
        super().setup()
        self.memory = GRU(self.memory_size)

    def __call__(self, seen: Seen) -> tuple[jax.Array, jax.Array]:  # type: ignore[override]
        """`Seen` -> actor outputs [B, L, A or 2 A], values [B, L]."""
        x = self.features(seen.obs.reshape(-1, *seen.obs.shape[2:])).reshape(*seen.over.shape, -1)
        h, _ = self.memory(x.swapaxes(0, 1), seen.memory, seen.over.T)
        outputs, values = self.heads(h.swapaxes(0, 1).reshape(-1, self.memory_size))
        return outputs.reshape(*seen.over.shape, -1), values.reshape(seen.over.shape)

    def step(self, memory: jax.Array, obs: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Memory [B, M], obs [B, *shape] -> memory after the step, actor outputs [B, A or 2 A], values [B]."""
        _, after = self.memory(self.features(obs)[None], memory, jnp.zeros((1, len(obs)), bool))
        return (after, *self.heads(after))


def actor_critic(
    config: Any, shape: Sequence[int], num_outputs: int, log_std: bool, own: NetworkLike | None
) -> RecurrentModel:
    """The network of an agent with a policy, a critic and a memory.

    Args:
      config: has `network` (a name, or `module:name` of a user's own), `hidden`, `activation`, `memory_size`.
      shape, num_outputs, log_std: as of `models.actor_critic`.
      own: takes the place of what the configuration names. A flax linen module, called as (memory [B, M],
        obs [B, *shape]) -> (memory [B, M], actor outputs [B, A or 2 A], values [B]), or functions (init, apply) of it.

    Raises:
      ValueError: for an unknown name, or a network that does not fit the observation or the actions.
    """
    size = config.memory_size

    def start(num_envs: int) -> jax.Array:
        return jnp.zeros((num_envs, size), jnp.float32)

    if own is not None or ":" in config.network:
        init, step = _own(own or config.network, shape, num_outputs * (1 + log_std), size)
        return RecurrentModel(
            lambda key, obs: init(key, start(len(obs)), obs), start, step, _unrolled(step), dormancy.of_unknown
        )
    common = networks.shared_parts(config.network, shape, num_outputs, config.hidden, config.activation, log_std)
    network: Any = RecurrentActorCritic
    made = network(*common, size)
    return RecurrentModel(
        lambda key, obs: made.init(key, start(len(obs)), obs, method="step"),
        start,
        lambda params, memory, obs: made.apply(params, memory, obs, method="step"),
        made.apply,
        lambda params, seen: dormancy.score(made, params, seen),
    )


def _unrolled(step: Callable[..., Any]) -> Callable[[Any, Seen], tuple[jax.Array, jax.Array]]:
    """`RecurrentModel.apply` of a network that is known by its steps alone."""

    def apply(params: Any, seen: Seen) -> tuple[jax.Array, jax.Array]:
        def one(memory: jax.Array, now: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
            obs, over = now
            memory, outputs, values = step(params, memory, obs)
            return forget(memory, over), (outputs, values)

        _, found = jax.lax.scan(one, seen.memory, (seen.obs.swapaxes(0, 1), seen.over.T))
        return jax.tree.map(lambda x: x.swapaxes(0, 1), found)

    return apply


def _own(own: Any, shape: Sequence[int], num_outputs: int, size: int) -> tuple[Any, Any]:
    """Init and step of a user's network, tried on one observation without computing anything."""
    what, init, step = models.functions(own, num_outputs)
    takes = f"(memory [B, {size}], observations [B, {', '.join(map(str, shape))}])"
    memory, obs = (jax.ShapeDtypeStruct((3, *x), "float32") for x in ((size,), shape))
    try:
        params = jax.eval_shape(init, jax.random.key(0), memory, obs)
        found = jax.tree.map(lambda x: x.shape, jax.eval_shape(step, params, memory, obs))
    except Exception as error:  # a user's own code may raise anything
        raise ValueError(f"{what} does not take {takes}: {error}") from error
    if found != ((3, size), (3, num_outputs), (3,)):
        raise ValueError(
            f"{what} must return (memory [B, {size}], actor outputs [B, {num_outputs}], values [B]); for B = 3 the "
            f"shapes were {found}"
        )
    return init, step
