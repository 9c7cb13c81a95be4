"""Files of one line of JSON and a payload, whose length and SHA-256 the line gives: damage is seen on reading.

The line has a SHA-256 of its own, unless it is of an early version.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from celo2.files import JSON_LIMIT, parse_json, size_of, write_atomic


def write(path: Path, header: dict[str, Any], payload: bytes | list[Any]) -> None:
    """Writes a file atomically, into a folder that there is.

    Args:
      path: where to. header: must have "format", and gets "bytes", "sha256" and "header_sha256".
      payload: whole, or in pieces, bytes or memoryviews of them, as `pieces.serialized` makes them.
    """
    pieces = [payload] if isinstance(payload, bytes) else payload
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    sealed = header | {"bytes": sum(len(piece) for piece in pieces), "sha256": digest.hexdigest()}
    sealed["header_sha256"] = _digest(sealed)
    write_atomic(path, [json.dumps(sealed).encode() + b"\n", *pieces], make_folder=False)


def read(path: Path, expected_format: str) -> tuple[dict[str, Any], bytes]:
    """Header and payload.

    Raises:
      ValueError: for a file of another format, or a damaged one.
    """
    size = size_of(path)
    with path.open("rb") as file:
        line = file.readline(JSON_LIMIT)
        try:
            header = parse_json(line)
            found = (header["format"], header["bytes"], header["sha256"])
            intact = header.get("header_sha256") in (None, _digest(header))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError("no readable header") from error
        if not intact:
            raise ValueError("the header does not match its SHA-256")
        if found[0] != expected_format:
            raise ValueError(f"format is {found[0]!r:.80}, not {expected_format!r}")
        if (length := size - len(line)) != found[1]:  # before it is read: what is not ours may be of any size
            raise ValueError(f"{length} bytes of state where {found[1]!r:.80} were written")
        payload = file.read()
    if hashlib.sha256(payload).hexdigest() != found[2]:
        raise ValueError("the state does not match its SHA-256")
    return header, payload


def _digest(header: dict[str, Any]) -> str:
    kept = {name: value for name, value in header.items() if name != "header_sha256"}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def check_settings(what: str, theirs: dict[str, Any], ours: dict[str, Any], why: str = "") -> None:
    """Refuses to resume something made with other settings; why: it cannot, if that is to be said.

    Raises:
      ValueError: naming what, and every setting that differs.
    """
    if changed := "; ".join(differences(theirs, ours)):
        raise ValueError(
            f"{what} belongs to other settings ({changed}); {why}"
            "use the same settings to continue it, or another folder to start anew"
        )


def differences(theirs: dict[str, Any], ours: dict[str, Any]) -> list[str]:
    """One line per setting that differs, for messages; of settings within settings, those alone: `hyper.gamma`."""
    lines = []
    for name in sorted(theirs.keys() | ours.keys()):
        there, here = theirs.get(name), ours.get(name)
        if there == here:
            continue
        if isinstance(there, dict) and isinstance(here, dict):
            lines += [f"{name}.{line}" for line in differences(there, here)]
        else:
            lines.append(f"{name}: {there!r:.100} there, {here!r:.100} here")
    return lines
