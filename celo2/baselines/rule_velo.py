"""VeLO: an LSTM per tensor mixes the tensor's MLP of a bank and sets its step size (Metz et al., arXiv 2211.09760)."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from celo2 import accumulators, checks, loss_buffer, lstm, rule_celo, scheduler, tensor_features, trees, update_mlp
from celo2.baselines import parts
from celo2.checkpoint import ThetaLike, load_weights
from celo2.form import PUBLISHED
from celo2.update_mlp import Theta


class ScaleByVeLOState(NamedTuple):
    """State for n tensors.

    Attributes:
      count: int32 scalar, updates so far.
      m: tree, see `accumulators.Accumulators`, as those down to diag.
      v: second moment.
      row: of the factored second moment.
      col: likewise.
      diag: of tensors below rank 2.
      losses: see `loss_buffer.LossBuffer`.
      rows: the LSTM's.
    """

    count: jax.Array  # type: ignore[assignment]  # optax's name for it; shadows tuple.count
    m: Any
    v: Any
    row: Any
    col: Any
    diag: Any
    losses: loss_buffer.LossBuffer
    rows: parts.Rows


def scale_by_velo(
    num_steps: int | jax.Array, theta: ThetaLike, *, mlp_mult: float = 1.0
) -> optax.GradientTransformationExtraArgs:
    r"""VeLO's update with the sign of the gradient; `velo` subtracts it. There is no learning rate.

    Celo's update, from which it descends: update = eta 0.001 d exp(0.001 q) sqrt(mean(p^2) + 1e-9), where each tensor
    has an LSTM row of its own that gives eta and the weights of the MLP, `mlp_mult` times the mean over a bank of MLPs,
    each times a number of the LSTM's.

    Args:
      num_steps: number of updates of the whole training, at least 1.
      theta: weights of any size: the path of a file, `Weights`, or a tree as `init_theta("velo", key)` gives it (of the
        size of VeLO-S: LSTM 64, bank 32), which may be traced.
      mlp_mult: 1 for VeLO and VeLO-S; of the variant that the papers call VeLO-4000, 100.

    Returns:
      An `optax.GradientTransformationExtraArgs`; `update` needs `params` and the training loss of this step as
      `value=` or `loss=`. NaN entries of a gradient count as 0, all are clipped to +-1000; a NaN or infinite loss is
      left out of the statistics.

    Raises:
      ValueError: for a theta of another rule, num_steps below 1, parameters that are not real floating point or hold
        no element (at `init`), a missing `params` or loss (at `update`).

    Reference: arXiv 2211.09760 and its public code; VeLO-S: arXiv 2501.12670.
    """
    theta = load_weights(theta).theta
    checks.check_theta(theta, "velo")
    checks.check_num_steps(num_steps)

    def init_fn(params: Any) -> ScaleByVeLOState:
        checks.check_params(params)
        decays = len(PUBLISHED.momentum_decays), len(rule_celo.FACTORED_DECAYS)
        statistics = trees.init_statistics(params, *decays)
        rows = parts.start_rows(theta, len(jax.tree.leaves(params)))
        return ScaleByVeLOState(jnp.zeros([], jnp.int32), *statistics[:5], loss_buffer.init(), rows)

    def update_fn(
        updates: Any, state: ScaleByVeLOState, params: Any = None, **extra_args: Any
    ) -> tuple[Any, ScaleByVeLOState]:
        parts.check_shapes(updates, params, "velo")
        loss = checks.loss_argument("scale_by_velo", **extra_args)
        count = optax.safe_increment(state.count)
        if not jax.tree.leaves(updates):
            return updates, state._replace(count=count)
        losses = loss_buffer.update(state.losses, loss, num_steps)
        course = scheduler.inputs(losses, state.count, num_steps)
        tensors = tensor_features.of_tree(params, state.m, state.v)
        rows, eta, controls = _controls(theta["rnn_params"], course, tensors, state.rows)
        mixed = _mixed(theta, controls, mlp_mult)
        each = iter(range(len(eta)))

        def step(g: jax.Array, p: jax.Array, acc: accumulators.Accumulators) -> Any:
            tensor = next(each)  # tensors come in the order of the leaves
            weights = update_mlp.layers({"ff_mod_stack": {"~": {name: x[tensor] for name, x in mixed.items()}}})
            return rule_celo.tensor_step(weights, g, p, acc, eta[tensor], PUBLISHED, count)

        steps, statistics = trees.map_tensors(step, updates, params, state[1:6])
        return steps, ScaleByVeLOState(count, *statistics[:5], losses, rows)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _controls(
    weights: Theta, course: jax.Array, own: jax.Array, rows: parts.Rows
) -> tuple[parts.Rows, jax.Array, jax.Array]:
    """One step of the LSTM: its rows, step-size multipliers [n], and the bank's numbers [n, K].

    course: progress and losses, [18]. own: of every tensor, before this update, see `tensor_features`.
    """
    # "fraction_left", "loss_features", then the tensor's own: the published, alphabetic order.
    x = jnp.concatenate([jnp.broadcast_to(course, (len(own), len(course))), own], axis=-1)
    shared = jnp.max(jax.nn.relu(lstm.dense(weights["linear_1"], x)), axis=0)
    # "linear" is evaluated and dropped in the published code: it exists in the files only.
    rows = parts.Rows(*lstm.step(weights["rnn/linear"], lstm.dense(weights["linear_2"], x) + shared, *rows))
    eta = lstm.dense(weights["step_size"], rows.hidden)[:, 0]
    return rows, eta, lstm.dense(weights["rnn_to_controls"], rows.hidden)


def _mixed(theta: Theta, controls: jax.Array, mlp_mult: float) -> dict[str, jax.Array]:
    """The weights of each tensor's MLP, {name: [n, ...]}."""
    bank = {name: lstm.array(x) for name, x in theta["ff_mod_stack"]["~"].items()}
    return {name: mlp_mult / controls.shape[1] * jnp.tensordot(controls, x, axes=1) for name, x in bank.items()}
