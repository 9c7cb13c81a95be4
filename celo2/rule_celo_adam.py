"""Celo-Adam: Celo's learned step-size schedule over Adam (Moudgil et al., arXiv 2501.12670)."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from celo2 import checks, scheduler, trees
from celo2.checkpoint import ThetaLike, load_weights

B1 = 0.9
B2 = 0.999
EPS = 1e-8
EPS_ROOT = 1e-10
STEP_MULT = 0.001


class ScaleByCeloAdamState(NamedTuple):
    """State of `scale_by_celo_adam`.

    Attributes:
      count: int32 scalar, updates so far.
      mu: Adam's first moment, float32 tree.
      nu: its second moment, likewise.
      schedule: `scheduler.SchedulerState`.
    """

    count: jax.Array  # type: ignore[assignment]  # optax's name for it; shadows tuple.count
    mu: Any
    nu: Any
    schedule: scheduler.SchedulerState


def scale_by_celo_adam(
    num_steps: int | jax.Array, theta: ThetaLike | None = None, *, schedule_form: str | None = None
) -> optax.GradientTransformationExtraArgs:
    """Celo-Adam's update with the sign of the gradient; `celo_adam` subtracts it. There is no learning rate.

    update = eta 0.001 m^ / (1e-8 + sqrt(v^ + 1e-10)), with Adam's bias-corrected moments (b1 0.9, b2 0.999) of the
    gradient clipped to +-1000, and eta the scheduler's output.

    Args:
      num_steps: number of updates of the whole training, at least 1.
      theta: weights of Celo-Adam: the name of packaged ones, the path of a file, or a tree as `load_theta` returns it,
        which may be traced. Default: the packaged "celo_adam".
      schedule_form: see `scale_by_celo`. Default: what the weights' card records.

    Returns:
      An `optax.GradientTransformationExtraArgs`. `update` needs the training loss of this step as `value=` or `loss=`.
      NaN entries of a gradient count as 0 and infinite ones as +-1000; a NaN or infinite loss is left out of the
      statistics.

    Raises:
      ValueError: for a theta of another rule, num_steps below 1, parameters that are not real floating point or hold
        no element (at `init`), a missing loss (at `update`).

    Reference: arXiv 2501.12670, section on Celo-Adam, and its released weights.
    """
    given = load_weights("celo_adam" if theta is None else theta)
    theta = given.theta
    form = given.form.changed(schedule_form=schedule_form).schedule_form
    checks.check_theta(theta, "celo_adam")
    checks.check_num_steps(num_steps)

    def init_fn(params: Any) -> ScaleByCeloAdamState:
        checks.check_params(params)
        mu, nu = (optax.tree.zeros_like(params, dtype=jnp.float32) for _ in range(2))
        return ScaleByCeloAdamState(jnp.zeros([], jnp.int32), mu, nu, scheduler.init(theta))

    def update_fn(
        updates: Any, state: ScaleByCeloAdamState, params: Any = None, **extra_args: Any
    ) -> tuple[Any, ScaleByCeloAdamState]:
        loss = checks.loss_argument("scale_by_celo_adam", **extra_args)
        eta, schedule = scheduler.update(theta, state.schedule, state.count, loss, num_steps, form)
        count = optax.safe_increment(state.count)
        grads = jax.tree.map(trees.clipped, updates)
        mu = jax.tree.map(lambda m, g: B1 * m + (1 - B1) * g, state.mu, grads)
        nu = jax.tree.map(lambda v, g: B2 * v + (1 - B2) * jnp.square(g), state.nu, grads)
        t = count.astype(jnp.float32)
        rate = STEP_MULT * eta / (1 - jnp.float32(B1) ** t)
        correction = 1 - jnp.float32(B2) ** t
        like = updates if params is None else params
        steps = jax.tree.map(
            lambda m, v, p: (rate * m / (EPS + jnp.sqrt(v / correction + EPS_ROOT))).astype(jnp.result_type(p)),
            mu,
            nu,
            like,
        )
        return steps, ScaleByCeloAdamState(count, mu, nu, schedule)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)
