"""Checks at the boundary: what a caller hands in is refused at once, with the value and what is allowed."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from celo2 import scheduler, update_mlp
from celo2.baselines import thetas

RULES = ("celo2", "celo", "celo_adam", *thetas.BASELINES)


Path = tuple[str, ...]


def theta_shapes(rule: str, hidden: int, tensor_features: bool = False) -> dict[Path, tuple[int, ...]]:
    """Paths and shapes of a rule's theta ("celo2", "celo" or "celo_adam").

    hidden: width of its MLP. tensor_features: whether the schedule, of celo, reads some.
    """
    mlp: dict[Path, tuple[int, ...]] = {
        ("ff_mod_stack", "~", name): shape for name, shape in update_mlp.shapes(hidden).items()
    }
    if rule == "celo2":
        return mlp
    paths = scheduler.shapes(tensor_features and rule == "celo")
    if rule == "celo":
        paths |= {path: (1, *shape) for path, shape in mlp.items()}
        controls = ("rnn_params", "rnn_to_controls")
        paths |= {(*controls, "w"): (scheduler.SIZE, 1), (*controls, "b"): (1,)}
    return paths


def flatten_paths(tree: Any, prefix: Path = ()) -> dict[Path, Any]:
    """A nested dict as {path: leaf}."""
    if not isinstance(tree, Mapping):
        return {prefix: tree}
    flat: dict[Path, Any] = {}
    for name, value in tree.items():
        flat |= flatten_paths(value, (*prefix, str(name)))
    return flat


def rule_of(theta: Any) -> str:
    """Which rule a theta belongs to, from its names.

    Raises:
      ValueError: if it is no theta of a rule that this package knows.
    """
    if not isinstance(theta, Mapping):
        raise ValueError(f"theta must be a nested dict of arrays, got {type(theta).__name__}")
    baseline = thetas.rule_of(theta)
    if baseline is not None:
        return baseline
    has_mlp, has_scheduler = "ff_mod_stack" in theta, "rnn_params" in theta
    if not (has_mlp or has_scheduler):
        raise ValueError(
            f"not a theta of {', '.join(RULES)}: expected 'ff_mod_stack', 'rnn_params' or the like at the top, "
            f"found {_few(sorted(map(str, theta)))}"
        )
    return ("celo" if has_scheduler else "celo2") if has_mlp else "celo_adam"


def check_theta(theta: Any, rule: str | None = None) -> None:
    """Refuses a theta of another rule, with missing, extra or misshapen arrays, or with non-finite numbers.

    Traced arrays are checked for shape only.
    """
    found = rule_of(theta)
    if rule is not None and found != rule:
        raise ValueError(f"this is a theta of {found!r}, but {rule!r} is needed")
    flat = flatten_paths(theta)
    if found in thetas.BASELINES:
        expected = thetas.expected_shapes(found, flat)
    else:
        bias = flat.get(("ff_mod_stack", "~", "b0"))
        hidden = int(np.shape(bias)[-1]) if bias is not None and np.ndim(bias) else 8
        expected = theta_shapes(found, hidden, ("rnn_params", scheduler.TENSOR_LAYERS[0], "w") in flat)
    missing, extra = (
        sorted("/".join(path) for path in paths)
        for paths in (expected.keys() - flat.keys(), flat.keys() - expected.keys())
    )
    if missing or extra:
        raise ValueError(f"theta of {found!r}: missing arrays {_few(missing)}, unexpected arrays {_few(extra)}")
    for path, shape in expected.items():
        value, name = flat[path], "/".join(path)
        if not hasattr(value, "shape") or tuple(value.shape) != shape:
            raise ValueError(
                f"theta array {name!r} must have shape {shape}, got {getattr(value, 'shape', value)!r:.200}"
            )
        if not jnp.issubdtype(value.dtype, jnp.floating):
            raise ValueError(f"theta array {name!r} must be floating point, got {value.dtype}")
        if not isinstance(value, jax.core.Tracer) and not np.all(np.isfinite(np.asarray(value))):
            raise ValueError(f"theta array {name!r} holds NaN or infinite numbers")


def _few(names: list[str], most: int = 20) -> str:
    """Names for a message; a foreign file may hold millions, or long ones."""
    shown = [name if len(name) <= 60 else f"{name[:60]}..." for name in names[:most]]
    return f"{shown}" + (f" and {len(names) - most:,} more" if len(names) > most else "")


def check_params(params: Any) -> None:
    """Refuses an empty tree, and parameters without elements or that are not real floating-point, naming the first.

    What stands for parameters passes: `optax.MaskedNode` (every tensor may be masked out, as by `optax.partition`),
    and the placeholder that `optax.tree.map_params` gives.
    """
    containers = (dict, list, tuple, type(None))
    stand_ins = jax.tree.leaves(params, is_leaf=lambda x: isinstance(x, optax.MaskedNode) or type(x) not in containers)
    if not stand_ins:
        raise ValueError(f"there are no parameters to optimise: got {params!r}")
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        dtype = jnp.result_type(leaf)
        if not jnp.issubdtype(dtype, jnp.floating):
            raise ValueError(
                f"parameter {jax.tree_util.keystr(path)} has dtype {dtype}; learned rules need real floating-point "
                "parameters (mask others out with optax.masked)"
            )
        if not jnp.size(leaf):
            raise ValueError(f"parameter {jax.tree_util.keystr(path)} of shape {jnp.shape(leaf)} has no elements")


def check_not_negative(**values: Any) -> None:
    """Refuses what is not a number >= 0; schedules and traced values pass."""
    for name, value in values.items():
        if callable(value) or isinstance(value, jax.core.Tracer):
            continue
        if not isinstance(value, int | float | np.ndarray | np.generic | jax.Array) or np.ndim(value):
            raise ValueError(f"{name} must be a number, a traced scalar or a schedule, got {value!r}")
        if not (math.isfinite(value) and float(value) >= 0):
            raise ValueError(f"{name} must be a finite number >= 0, got {value!r}")


def check_num_steps(num_steps: Any) -> None:
    """Refuses a training length that is not a whole number >= 1; traced values pass."""
    if isinstance(num_steps, jax.core.Tracer):
        return
    whole = isinstance(num_steps, int | np.integer) and not isinstance(num_steps, bool)
    if isinstance(num_steps, np.ndarray | jax.Array):
        whole = num_steps.ndim == 0 and jnp.issubdtype(num_steps.dtype, jnp.integer)
    if not whole or int(num_steps) < 1:
        raise ValueError(f"num_steps must be a whole number of updates >= 1, got {num_steps!r}")


def loss_argument(rule: str, value: Any = None, loss: Any = None, **others: Any) -> Any:
    """The training loss among the extra arguments of `update`: `value=` (optax's word) or `loss=`.

    Raises:
      ValueError: if there is none, if both are given and differ, or if it is not a scalar.
    """
    del others
    if value is None and loss is None:
        raise ValueError(f"{rule} reads the training loss: call update(grads, state, params, value=loss)")
    if value is not None and loss is not None and value is not loss:
        traced = isinstance(value, jax.core.Tracer) or isinstance(loss, jax.core.Tracer)
        if traced or not np.array_equal(value, loss, equal_nan=True):
            raise ValueError(f"{rule}: value= and loss= are two names of one argument, got value={value}, loss={loss}")
    chosen = loss if value is None else value
    if jnp.ndim(chosen) != 0:
        raise ValueError(f"{rule}: the loss must be a scalar, got shape {jnp.shape(chosen)}")
    return chosen
