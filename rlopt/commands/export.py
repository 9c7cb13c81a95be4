"""The command that takes data home."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import tyro


@dataclass(frozen=True)
class Export:
    """Write the learning curves of finished runs as one table: a row per run, seed and logging interval."""

    folders: tyro.conf.Positional[tuple[Path, ...]]
    """Run folders, or folders that hold some."""
    csv: Path | None = None
    """CSV file to write. Columns: run, agent, env, optimizer, learning_rate, seed, step, return, eval_return,
    stopped, given_up."""
    parquet: Path | None = None
    """Parquet file to write, with the same columns; needs pyarrow."""

    def check(self) -> None:
        """Refuses to write nothing, or what needs a package that is missing; ValueError."""
        if self.csv is None and self.parquet is None:
            raise ValueError("name a file to write: --csv FILE, --parquet FILE, or both")
        if self.parquet is not None and importlib.util.find_spec("pyarrow") is None:
            raise ValueError("--parquet needs pyarrow: `pip install 'rlopt[parquet]'`; --csv needs nothing")

    def run(self) -> None:
        """Writes what was asked for."""
        self.check()
        from rlopt.runs import results, tidy

        table = tidy.columns(results.find_runs(self.folders))
        for path, write in ((self.parquet, tidy.write_parquet), (self.csv, tidy.write_csv)):
            if path is not None:
                write(table, path)
                print(f"{path}: {len(table['step']):,} rows")
