"""The form of a learned rule: what stands around its MLP, and belongs to its weights.

Weights are trained for one form and are of little use in another. It is recorded on the card beside them (`"form"`),
and goes with them wherever they are named or given by path; a bare tree, or weights without a card, mean the published
form.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from celo2.names import check_known

SIZES = ("unit", "adam", "snr", "learned")
NORMALIZATIONS = ("step", "rolling", "clipped", "raw")
SCHEDULE_FORMS = ("exp", "linear", "clipped")
MOMENTUM_DECAYS = (0.9, 0.99, 0.999)
NEWTON_SCHULZ_STEPS = 5
# Every one is compiled: a card of anybody's must not keep the compiler busy for ever.
MOST_STEPS = 50


class Form(NamedTuple):
    """How the output of a rule's MLP becomes a step; the defaults are the published form.

    Attributes:
      odd: the step for (-gradient, -parameters) is the negative of that for (gradient, parameters).
      size: what the step, of Celo2 after normalisation, is multiplied with, see `scale_by_celo2`.
      momentum_decays: the three momenta that the MLP reads.
      newton_schulz_steps: iterations of the orthogonalisation, where there is any.
      newton_schulz_ratio: matrices with a longer side of more than this many times the shorter one are not
        orthogonalised; infinite: all are. On a card, null is infinite.
      normalization: of Celo2's output before it gets its size, see `scale_by_celo2`.
      schedule_form: how the output of Celo's scheduler becomes a step-size multiplier, see `scale_by_celo`.
    """

    odd: bool = False
    size: str = "unit"
    momentum_decays: tuple[float, ...] = MOMENTUM_DECAYS
    newton_schulz_steps: int = NEWTON_SCHULZ_STEPS
    newton_schulz_ratio: float = math.inf
    normalization: str = "step"
    schedule_form: str = "exp"

    def changed(self, **explicit: Any) -> "Form":
        """The form with what was given explicitly; None: as it is. Checked.

        Raises:
          ValueError: naming the value and what is allowed.
        """
        given = {name: value for name, value in explicit.items() if value is not None}
        return check(self._replace(**given))

    @property
    def needs_nu(self) -> bool:
        """Whether the size of steps is computed from Adam's second moment."""
        return self.size in ("adam", "learned")

    @property
    def needs_output(self) -> bool:
        """Whether the rule keeps a running mean square of its own output."""
        return self.normalization == "rolling"


PUBLISHED = Form()
# Ablations. Cards name them where they are not as published only, so that older versions read all others.
_RARE = ("normalization", "schedule_form")


def check(form: Form) -> Form:
    """The same form, with its decays as floats.

    Raises:
      ValueError: naming the value and what is allowed.
    """
    if not isinstance(form.odd, bool):
        raise ValueError(f"odd must be True or False, got {form.odd!r:.80}")
    for name, known in (("size", SIZES), ("normalization", NORMALIZATIONS), ("schedule_form", SCHEDULE_FORMS)):
        value = getattr(form, name)
        check_known(name, value if isinstance(value, str) else repr(value), known)
    decays = form.momentum_decays
    fine = isinstance(decays, Sequence) and not isinstance(decays, str) and len(decays) == len(MOMENTUM_DECAYS)
    if not fine or not all(isinstance(x, float | int) and 0 <= x < 1 for x in decays):
        raise ValueError(f"momentum_decays must be {len(MOMENTUM_DECAYS)} numbers in [0, 1), got {decays!r:.80}")
    steps = form.newton_schulz_steps
    if not isinstance(steps, int) or isinstance(steps, bool) or not 1 <= steps <= MOST_STEPS:
        raise ValueError(f"newton_schulz_steps must be a whole number from 1 to {MOST_STEPS}, got {steps!r:.80}")
    ratio = form.newton_schulz_ratio
    if not isinstance(ratio, float | int) or isinstance(ratio, bool) or not ratio >= 1:
        raise ValueError(f"newton_schulz_ratio must be a number of at least 1, got {ratio!r:.80}")
    return form._replace(momentum_decays=tuple(map(float, decays)), newton_schulz_ratio=float(ratio))


def from_card(card: Mapping[str, Any]) -> Form:
    """The form that a card records; the published one for a card that records none.

    Raises:
      ValueError: for a form that this version does not know.
    """
    found = card.get("form", {})
    if not isinstance(found, Mapping):
        raise ValueError(f"the form on a card must be a JSON object, got {found!r:.100}")
    for name in found:
        check_known("part of a form", str(name), Form._fields)
    ratio = found.get("newton_schulz_ratio")
    return check(Form(**{**found, "newton_schulz_ratio": math.inf if ratio is None else ratio}))


def to_card(form: Form) -> dict[str, Any]:
    """The form as a card records it."""
    ratio = None if math.isinf(form.newton_schulz_ratio) else form.newton_schulz_ratio
    card = form._asdict() | {"momentum_decays": list(form.momentum_decays), "newton_schulz_ratio": ratio}
    return {name: x for name, x in card.items() if name not in _RARE or x != getattr(PUBLISHED, name)}
