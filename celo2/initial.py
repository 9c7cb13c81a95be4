"""Random weights to start meta-training from."""

from typing import Any

import jax
import jax.numpy as jnp

from celo2 import checks, scheduler, update_mlp
from celo2.baselines import thetas
from celo2.names import check_known

# Width of Celo's MLP; Celo2's has the default of `update_mlp.init`.
CELO_HIDDEN = 4


def init_theta(rule: str, key: jax.Array, *, tensor_features: bool = False, **sizes: int) -> dict[str, Any]:
    """Random weights of a rule, in the published tree.

    Args:
      rule: "celo2", "celo", "celo_adam", or a baseline: "nnadam", "adafac_mlp", "rnn_mlp", "velo",
        "open".
      key: a JAX random key.
      tensor_features: of celo: with arrays for a schedule that has a step-size multiplier for every tensor, and reads
        what VeLO's does of each. No published theta has them.
      sizes: of baselines, in place of the published ones: `lstm` (nnadam, rnn_mlp, velo), `hidden` (adafac_mlp,
        rnn_mlp, velo, open; of the MLP), `bank` (velo: number of MLPs; default: VeLO-S; VeLO has lstm 512 and bank
        256), `gru` (open).

    Returns:
      theta: a nested dict of float32 arrays: weights truncated normal over the root of the number of inputs, biases and
      the start of the LSTM zero.

    Raises:
      ValueError: for an unknown rule, or a size that it has not or below 1; for tensor features of another rule.
    """
    check_known("rule", rule, checks.RULES)
    if tensor_features and rule != "celo":
        raise ValueError(f"tensor_features is for celo, not for {rule}")
    known = thetas.BASELINES[rule].sizes if rule in thetas.BASELINES else {}
    for name, size in sizes.items():
        check_known(f"size of {rule}", name, known)
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, got {size!r}")
    if rule in thetas.BASELINES:
        return thetas.init_theta(rule, key, **sizes)
    if rule == "celo2":
        return update_mlp.init(key)
    if rule == "celo_adam":
        return scheduler.init_theta(key)
    mlp_key, scheduler_key, control_key = jax.random.split(key, 3)
    theta = scheduler.init_theta(scheduler_key)
    # The files hold a bank of one MLP, and weights that choose among the bank: a softmax over one number.
    theta |= jax.tree.map(lambda x: x[None], update_mlp.init(mlp_key, CELO_HIDDEN))
    theta["rnn_params"]["rnn_to_controls"] = {
        "w": update_mlp.truncated_normal(control_key, (scheduler.SIZE, 1), scheduler.SIZE),
        "b": jnp.zeros(1, jnp.float32),
    }
    if tensor_features:
        theta["rnn_params"] |= scheduler.init_tensor_layers(jax.random.fold_in(key, 3))
    return theta
