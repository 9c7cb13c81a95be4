"""Which of a configuration's scalars may differ between the members of a population. Nothing here imports jax."""

import dataclasses
import difflib
import functools
import math
from collections import namedtuple
from collections.abc import Callable, Mapping
from typing import Any

# A NamedTuple of `learning_rate` and the configuration's traced settings, float32 scalars; see `type_of`. Where options
# of the optimizer differ as well, with a last field `options`, see `with_options`.
Hyperparams = Any


def traced(default: Any) -> Any:
    """A field of a configuration that is an argument of the compiled program, not a part of it."""
    return dataclasses.field(default=default, metadata={"traced": True})


def type_of(name: str, config_type: type) -> Any:
    """The NamedTuple of learning_rate and the traced settings of a configuration, in the order of its fields."""
    traced_fields = [f.name for f in dataclasses.fields(config_type) if f.metadata.get("traced")]
    made: Any = namedtuple(name, ["learning_rate", *traced_fields])  # type: ignore[misc]  # named by the caller
    made.__doc__ = (
        f"Scalars of a {config_type.__name__} that may differ between the members of a population; float32, traced.\n\n"
        f"{', '.join(made._fields)}; infinite where the configuration has None."
    )
    return made


def with_options(hyperparams: Hyperparams, options: Mapping[str, Any]) -> Hyperparams:
    """Scalars with options of the optimizer beside them: `make_optimizer` hands it {name: float32 scalar, traced}.

    Without any they stay as they are, and with them programs and checkpoints.
    """
    if not options:
        return hyperparams
    kind: Any = type(hyperparams)
    return _extended(kind)(*hyperparams, options=dict(options))


@functools.cache
def _extended(kind: Any) -> Any:
    return namedtuple(f"{kind.__name__}WithOptions", [*kind._fields, "options"])


def maker(config: Any, kind: Any) -> Callable[..., Hyperparams]:
    """The `hyperparams` of an agent: hyperparams(learning_rate, **overrides).

    Args:
      config: the agent's; what is not overridden is its own value.
      kind: see `type_of`.
    """
    inert: dict[str, str] = config.inert()

    def hyperparams(learning_rate: Any, **overrides: Any) -> Hyperparams:
        """Scalars for `init`: the configuration's, except for those that are overridden.

        Args:
          learning_rate: float, or an array of one rate per member of a population.
          **overrides: other values of the configuration's traced settings; None means without limit.

        Raises:
          ValueError: for a setting that is not traced, or one that this configuration makes no use of.
        """
        known = kind._fields[1:]
        for name in overrides:
            if name not in known:
                closest = difflib.get_close_matches(name, known, n=len(known), cutoff=0.0)
                raise ValueError(
                    f"{name!r} cannot differ between the members of a population; {', '.join(closest)} can"
                )
            if name in inert:
                raise ValueError(f"{name} would have no effect: {inert[name]}")
        values = {name: overrides.get(name, getattr(config, name)) for name in known}
        return kind(learning_rate, **{name: math.inf if x is None else x for name, x in values.items()})

    return hyperparams
