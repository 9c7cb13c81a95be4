"""Looking things up by name, with an error that helps."""

import difflib
from collections.abc import Iterable


def check_known(kind: str, name: str, known: Iterable[str]) -> None:
    """Refuses an unknown name; the message lists what there is, closest first.

    Raises:
      ValueError: e.g. "unknown optimizer 'adamm'; there are adam, adamw, ...".
    """
    known = list(known)
    if name not in known:
        close = difflib.get_close_matches(name, known, n=max(len(known), 1), cutoff=0.0)
        raise ValueError(f"unknown {kind} {name!r}; there are {', '.join(close) or 'none'}")
