"""Action distributions; the only place that knows distrax."""

import distrax
import jax


def categorical(logits: jax.Array) -> distrax.Categorical:
    """A distribution over the last axis of unnormalised logits [..., A]."""
    return distrax.Categorical(logits=logits)
