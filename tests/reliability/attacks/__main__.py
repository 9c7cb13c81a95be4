"""Prints the table: `python tests/reliability/attacks [WORD]`, with a word only the attacks that have it in their titles."""

import sys
from pathlib import Path

# The folder above, so that this one is a package; tests/helpers.py; and the repository, whose code is attacked.
sys.path[:1] = [str(Path(__file__).resolve().parents[i]) for i in (1, 2, 3)]

import attacks  # noqa: E402

word = " ".join(sys.argv[1:])
for line in attacks.rows([one for one in attacks.load() if word in f"{one.kind} {one.title}"]):
    print(line, flush=True)
