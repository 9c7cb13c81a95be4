"""Rows to Weights & Biases. A tracker that fails is given up with a warning; it never stops a run."""

import dataclasses
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Report = Callable[[dict[str, Any]], None]
INIT_SECONDS = 30


@contextmanager
def wandb_report(mode: str, config: Any, folder: Path, step: str) -> Iterator[Report | None]:
    """Something to call with every row; None for mode "off".

    Args:
      mode: "off", "online", or "offline" (files under folder/wandb, to be sent later with `wandb sync`).
      config: dataclass of the run's settings.
      folder: the run's.
      step: name of the entry of a row that counts its steps.
    """
    run: Any = None
    alive = mode != "off"

    def start() -> Any:
        import wandb

        return wandb.init(
            project="rlopt",
            name=folder.name,
            dir=folder,
            mode=mode,  # type: ignore[arg-type]
            config=dataclasses.asdict(config),
            settings=wandb.Settings(init_timeout=INIT_SECONDS, silent=True),
        )

    def report(row: dict[str, Any]) -> None:
        nonlocal alive, run
        if alive:
            try:
                run = run or start()  # not before the first row: a run that is refused leaves nothing behind
                run.log({key: value for key, value in row.items() if key != step}, step=row[step])
            except Exception as error:
                alive = False
                warnings.warn(f"going on without wandb: {error}", stacklevel=2)

    try:
        yield report if alive else None
    finally:
        if run is not None:
            try:
                run.finish()
            except Exception as error:
                warnings.warn(f"wandb did not finish: {error}", stacklevel=2)
