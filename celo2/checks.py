"""Checks at the boundary: what a caller hands in is refused at once, with the value and what is allowed."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from celo2 import update_mlp

LSTM_SIZE = 64
NUM_SCHEDULER_INPUTS = 18
RULES = ("celo2", "celo", "celo_adam")


def theta_shapes(rule: str, hidden: int) -> dict[str, tuple[int, ...]]:
    """Slash-joined names and shapes of a rule's theta ("celo2", "celo" or "celo_adam"); hidden: width of its MLP."""
    if rule == "celo2":
        return {f"ff_mod_stack/~/{name}": shape for name, shape in update_mlp.shapes(hidden).items()}
    lstm, inputs = LSTM_SIZE, NUM_SCHEDULER_INPUTS
    names: dict[str, tuple[int, ...]] = {
        f"rnn_params/{name}/w": (inputs, lstm) for name in ("linear", "linear_1", "linear_2")
    }
    names |= {f"rnn_params/{name}/b": (lstm,) for name in ("linear", "linear_1", "linear_2")}
    names |= {
        "lstm_init_state/hidden": (1, lstm),
        "lstm_init_state/cell": (1, lstm),
        "rnn_params/rnn/linear/w": (2 * lstm, 4 * lstm),
        "rnn_params/rnn/linear/b": (4 * lstm,),
        "rnn_params/step_size/w": (lstm, 1),
        "rnn_params/step_size/b": (1,),
    }
    if rule == "celo":
        names |= {f"ff_mod_stack/~/{name}": (1, *shape) for name, shape in update_mlp.shapes(hidden).items()}
        names |= {"rnn_params/rnn_to_controls/w": (lstm, 1), "rnn_params/rnn_to_controls/b": (1,)}
    return names


def flatten_names(tree: Any, prefix: str = "") -> dict[str, Any]:
    """A nested dict as {slash-joined path: leaf}."""
    if not isinstance(tree, Mapping):
        return {prefix: tree}
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat |= flatten_names(value, f"{prefix}/{name}" if prefix else str(name))
    return flat


def rule_of(theta: Any) -> str:
    """Which rule a theta belongs to, from its names.

    Raises:
      ValueError: if it is no theta of a rule that this package knows.
    """
    if not isinstance(theta, Mapping):
        raise ValueError(f"theta must be a nested dict of arrays, got {type(theta).__name__}")
    has_mlp, has_scheduler = "ff_mod_stack" in theta, "rnn_params" in theta
    if not (has_mlp or has_scheduler):
        raise ValueError(
            f"not a theta of {', '.join(RULES)}: expected 'ff_mod_stack' or 'rnn_params' at the top, "
            f"found {sorted(map(str, theta))}"
        )
    return ("celo" if has_scheduler else "celo2") if has_mlp else "celo_adam"


def check_theta(theta: Any, rule: str | None = None) -> None:
    """Refuses a theta of another rule, with missing, extra or misshapen arrays, or with non-finite numbers.

    Traced arrays are checked for shape only.
    """
    found = rule_of(theta)
    if rule is not None and found != rule:
        raise ValueError(f"this is a theta of {found!r}, but {rule!r} is needed")
    flat = flatten_names(theta)
    bias = flat.get("ff_mod_stack/~/b0")
    hidden = int(np.shape(bias)[-1]) if bias is not None and np.ndim(bias) else 8
    expected = theta_shapes(found, hidden)
    missing, extra = sorted(expected.keys() - flat.keys()), sorted(flat.keys() - expected.keys())
    if missing or extra:
        raise ValueError(f"theta of {found!r}: missing arrays {missing}, unexpected arrays {extra}")
    for name, shape in expected.items():
        value = flat[name]
        if not hasattr(value, "shape") or tuple(value.shape) != shape:
            raise ValueError(f"theta array {name!r} must have shape {shape}, got {getattr(value, 'shape', value)!r}")
        if not jnp.issubdtype(value.dtype, jnp.floating):
            raise ValueError(f"theta array {name!r} must be floating point, got {value.dtype}")
        if not isinstance(value, jax.core.Tracer) and not np.all(np.isfinite(np.asarray(value))):
            raise ValueError(f"theta array {name!r} holds NaN or infinite numbers")


def check_params(params: Any) -> None:
    """Refuses parameters that are not real floating-point arrays, naming the first one."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        dtype = jnp.result_type(leaf)
        if not jnp.issubdtype(dtype, jnp.floating):
            raise ValueError(
                f"parameter {jax.tree_util.keystr(path)} has dtype {dtype}; learned rules need real floating-point "
                "parameters (mask others out with optax.masked)"
            )


def check_not_negative(**values: Any) -> None:
    """Refuses what is not a number >= 0; schedules and traced values pass."""
    for name, value in values.items():
        if callable(value) or isinstance(value, jax.core.Tracer):
            continue
        if not isinstance(value, int | float | np.ndarray | np.generic | jax.Array) or np.ndim(value):
            raise ValueError(f"{name} must be a number, a traced scalar or a schedule, got {value!r}")
        if not (math.isfinite(value) and float(value) >= 0):
            raise ValueError(f"{name} must be a finite number >= 0, got {value!r}")
