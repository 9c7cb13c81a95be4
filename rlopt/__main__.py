"""The command `rlopt`, also as `python -m rlopt`."""

import os
import sys


def entry() -> None:
    """The console script; says in one line which package is missing, where the dependencies were left out."""
    sys.path.insert(0, os.getcwd())  # as `python -m rlopt` has it: `--env module:Class` is looked for there
    try:
        from rlopt import cli

        status = cli.main()
    except ModuleNotFoundError as error:
        sys.exit(
            f"rlopt: the Python package {error.name!r} is not installed, which this command needs; "
            "`pip install rlopt` brings all that commands need (without it, `import celo2` works)"
        )
    sys.exit(status)


if __name__ == "__main__":
    entry()
