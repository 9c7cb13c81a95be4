"""The examples do what they show, in a few steps."""

import importlib.util
import json
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "examples"


def load(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# A recipe, which is run by default, trains each in as few lines (tests/rlopt/test_readme.py).
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the other libraries
@pytest.mark.parametrize("name", ["flax_nnx", "equinox_mlp"])
def test_a_network_learns_the_digits(name, capsys):
    assert load(name).main(steps=200) > 0.85
    assert "goes to" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_script_with_unnamed_layers_learns_as_early_as_with_adam(capsys):
    lengths = load("ppo_script").main(updates=20)
    assert lengths["adam"] > 40  # a random policy holds for 20 steps
    # On average 0.9 and more (the script prints it); four seeds differ by a tenth.
    assert lengths["celo2"] > 0.75 * lengths["adam"]
    assert "first matrix of its tower, no name tells" in capsys.readouterr().out


@pytest.mark.slow
def test_both_readings_of_a_convolution_learn_the_digits():
    assert min(load("flax_linen").main(steps=50).values()) > 0.8


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_sweep_finds_a_good_rate_and_a_bad_one():
    losses = load("haiku_mlp").main(steps=100)
    assert min(losses.values()) < 0.3
    assert max(losses.values()) > 1.5


@pytest.mark.slow
def test_the_language_model_learns_with_every_optimizer():
    losses = load("language_model").main("tiny", ("celo2", "celo2_published", "adamw", "muon"), steps=60)
    assert max(losses.values()) < 4.0  # an untrained model has 5.5


def test_the_readme_lists_every_example():
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert all(f"examples/{path.name}" in text for path in FOLDER.iterdir() if path.suffix in (".py", ".ipynb"))


def cells(name):
    return [
        cell for cell in json.loads((FOLDER / name).read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"
    ]


def test_the_notebook_has_no_stored_outputs():
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in cells("ten_minutes.ipynb"))


# An agent that the second optimizer trains takes as long to compile as all else here.
@pytest.mark.filterwarnings("ignore:jax has been imported already:RuntimeWarning")
@pytest.mark.parametrize("agents_of", [("adam",), pytest.param(("adam", "celo2"), marks=pytest.mark.slow)])
def test_the_notebook_runs_from_top_to_bottom_with_fast_settings(tmp_path, monkeypatch, capsys, agents_of):
    monkeypatch.setattr("matplotlib.pyplot.show", lambda: None)
    monkeypatch.setenv("MPLBACKEND", "agg")
    first, *rest = ["".join(cell["source"]) for cell in cells("ten_minutes.ipynb")]
    names = {}
    exec(first, names)
    names["settings"] |= {"image_steps": 50, "seeds": 2, "total_steps": 1024, "runs": str(tmp_path / "runs")}
    shown = 'for name in ("adam", "celo2")'
    assert [shown in source for source in rest] == ["rlopt.train(" in source for source in rest]
    for source in rest:
        exec(compile(source.replace(shown, f"for name in {agents_of}"), "ten_minutes.ipynb", "exec"), names)
    assert all(values[-10:].mean() < 0.5 * values[0] for values in names["losses"].values())
    assert "head/kernel" in capsys.readouterr().out
    assert (tmp_path / "runs" / "report" / "report.html").is_file()
