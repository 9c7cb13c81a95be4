"""`python -m rlopt` is the same as `rlopt`."""

from rlopt.cli import entry

entry()
