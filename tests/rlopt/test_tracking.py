"""Rows to Weights & Biases: files without a network, and a tracker that fails."""

import dataclasses
from pathlib import Path

import pytest

from rlopt import tracking


@dataclasses.dataclass(frozen=True)
class Settings:
    seed: int = 3


def test_offline_runs_leave_files_for_wandb_sync(tmp_path):
    pytest.importorskip("wandb")
    with tracking.wandb_report("offline", Settings(), tmp_path, "iteration") as report:
        for i in (1, 2):
            report({"iteration": i, "loss": 1 / i})
    assert [path for path in tmp_path.rglob("*.wandb") if path.stat().st_size > 100]


def test_off_reports_nothing_and_a_run_refused_before_its_first_row_leaves_nothing(tmp_path):
    with tracking.wandb_report("off", Settings(), tmp_path, "iteration") as report:
        assert report is None
    with tracking.wandb_report("offline", Settings(), tmp_path, "iteration"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_tracker_that_fails_is_given_up_with_a_warning(tmp_path):
    settings = Settings()
    missing = Path(tmp_path / "file")
    missing.write_text("where wandb wants a folder")
    with tracking.wandb_report("sometimes", settings, missing, "iteration") as report:
        with pytest.warns(UserWarning, match="going on without wandb"):
            report({"iteration": 1, "loss": 1.0})
        report({"iteration": 2, "loss": 1.0})  # silently: warnings are errors in these tests
