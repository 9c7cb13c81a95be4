"""A text to model, made up by a small grammar: sums with their results, and sentences that agree with themselves."""

import numpy as np

_SUBJECTS = (("the agent", "the agents"), ("a seed", "seeds"), ("the rule", "the rules"), ("one task", "all tasks"))
_VERBS = (("learns", "learn"), ("moves", "move"), ("waits", "wait"), ("wins", "win"))
_PLACES = ("in the maze", "on the hill", "under the sea", "at night", "without a word", "again and again")
SEED = 0


def characters(number: int) -> str:
    """The first characters of the text."""
    rng = np.random.default_rng(SEED)
    parts: list[str] = []
    length = 0
    while length < number:
        if rng.random() < 0.3:
            a, b = (int(x) for x in rng.integers(0, 100, 2))
            part = f"{a}+{b}={a + b}; "
        else:
            several = int(rng.integers(2))
            subject, verb = _SUBJECTS[rng.integers(len(_SUBJECTS))], _VERBS[rng.integers(len(_VERBS))]
            part = f"{subject[several]} {verb[several]} {_PLACES[rng.integers(len(_PLACES))]}. "
        parts.append(part)
        length += len(part)
    return "".join(parts)[:number]


def generate(num_characters: int = 60_000) -> tuple[np.ndarray, int]:
    """The text as token numbers, int32 [num_characters], and the number of different tokens."""
    codes = np.frombuffer(characters(num_characters).encode("ascii"), np.uint8)
    vocabulary, tokens = np.unique(codes, return_inverse=True)
    return tokens.astype(np.int32), len(vocabulary)
