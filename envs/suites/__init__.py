"""Suites of environments that are packages of their own, as extras of this distribution: `PREFIX:NAME`.

A module here, named like the prefix, has `knows(name)` and `make(name, **arguments)`, which gives an environment with
gymnax's interface.
"""

from importlib import import_module
from types import ModuleType

from envs import gymnax, names
from envs.base import VectorEnv
from envs.suite_ids import SUITES


def check_id(env_id: str) -> None:
    """Refuses an environment of a suite that is not installed, or that the suite does not have."""
    prefix, name, _ = _split(env_id)
    if not _module(prefix).knows(name):
        raise ValueError(names.unknown(env_id, names.of_suite(prefix)))


def make(env_id: str, num_envs: int) -> VectorEnv:
    """num_envs copies of what `PREFIX:NAME` or `PREFIX:NAME(argument=1)` names.

    Raises:
      ValueError: if it cannot be made, such as for arguments that it does not take, or needs files that it would
        download.
    """
    prefix, name, arguments = _split(env_id)
    try:
        adapter = _module(prefix).make(name, **arguments)
    except ValueError:
        raise
    except Exception as error:  # a package of somebody else's may raise anything
        raise ValueError(f"{env_id}: {prefix} cannot make it: {error!r:.500}") from error
    return gymnax.from_gymnax(adapter, None, num_envs, env_id)


def _split(env_id: str) -> tuple[str, str, dict]:
    prefix, _, call = env_id.partition(":")
    return prefix, *names.called(call)


def _module(prefix: str) -> ModuleType:
    """The module of a suite; ValueError if its package is not installed, or cannot be imported here."""
    suite = SUITES[prefix]
    try:
        return import_module(f"envs.suites.{prefix}")
    except Exception as error:
        raise ValueError(
            f"{prefix} cannot be imported ({error}); it is an extra: pip install 'rlopt[{suite.extra}]'"
        ) from error
