"""Learning curves as a table in a file."""

import csv

import numpy as np
import pytest

import rlopt


def test_export_writes_the_rows_of_to_dataframe(tmp_path, made_up, command):
    made_up(tmp_path / "runs" / "a", [1.0, 2.0], seed=3)
    made_up(tmp_path / "runs" / "b", [np.nan], optimizer="celo", rate=None, stopped=[400])
    done = command("export", tmp_path / "runs", "--csv", tmp_path / "out" / "curves.csv")
    assert done.status == 0, done.err
    assert done.out == f"{tmp_path}/out/curves.csv: 15 rows\n"
    with (tmp_path / "out" / "curves.csv").open() as file:
        rows = list(csv.DictReader(file))
    pandas = pytest.importorskip("pandas")
    frame = rlopt.to_dataframe(rlopt.find_runs(tmp_path / "runs"))
    assert list(rows[0]) == list(frame.columns)
    read = pandas.read_csv(tmp_path / "out" / "curves.csv")
    pandas.testing.assert_frame_equal(read, frame, check_dtype=False)
    assert [row["stopped"] for row in rows[-5:]] == ["false", "false", "true", "true", "true"]
    assert (rows[-1]["learning_rate"], rows[-1]["return"]) == ("", "")


def test_parquet_has_the_same_columns(tmp_path, made_up, command):
    made_up(tmp_path / "a", [1.0, 2.0])
    parquet = pytest.importorskip("pyarrow.parquet")
    assert command("export", tmp_path / "a", "--parquet", tmp_path / "a.parquet").status == 0
    found = parquet.read_table(tmp_path / "a.parquet").to_pydict()
    assert found["return"] == rlopt.load_run(tmp_path / "a").returns.reshape(-1).tolist()
    assert found["stopped"] == [False] * 10


def test_export_without_a_file_or_a_run_is_refused(tmp_path, command):
    assert "name a file to write" in command("export", tmp_path).err
    assert "holds no run" in command("export", tmp_path, "--csv", tmp_path / "x.csv").err
