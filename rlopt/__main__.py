"""The command `rlopt`, also as `python -m rlopt`."""

import sys


def entry() -> None:
    """The console script; says in one line which package is missing, where the dependencies were left out."""
    from rlopt.storage.streams import steady_standard_streams

    steady_standard_streams()
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
