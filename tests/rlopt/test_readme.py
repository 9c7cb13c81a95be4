"""What the README and the pages show works; `import celo2` stays light."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from agents import PPOConfig
from helpers import by_default
from rlopt.runs import experiment
from rlopt.training.config import TrainConfig

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
SHOWN = ("celo2", "celo", "python", "networks", "recipes/adams-rate", "recipes/meta-train", "recipes/training-loop")
PAGES = (ROOT / "README.md", *(DOCS / f"{name}.md" for name in SHOWN))


def blocks_of(page):
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


BLOCKS = [pytest.param(block, id=f"{page.stem}-{i}") for page in PAGES for i, block in enumerate(blocks_of(page))]
(TRAINING,) = (block for block in blocks_of(DOCS / "python.md") if "rlopt.train(" in block)


def test_there_are_examples():
    assert len(blocks_of(ROOT / "README.md")) >= 2
    assert all(blocks_of(page) for page in PAGES)


def test_the_readme_fits_a_screen_or_two():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 80


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the other libraries
@pytest.mark.parametrize("block", [b for b in BLOCKS if "rlopt.train(" not in b.values[0]])
def test_examples_run(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "a page", "exec"), {})


def test_the_training_example_of_the_readme_is_that_of_the_page():
    (block,) = (block for block in blocks_of(ROOT / "README.md") if "rlopt.train(" in block)
    assert TRAINING.startswith(block)


@pytest.mark.parametrize("block", [TRAINING])
def test_the_training_example_runs_when_made_short(block, tmp_path):
    short = block.replace("seeds=8", "seeds=1, total_steps=512, hidden=(8,)")
    assert short != block
    done = subprocess.run([sys.executable, "-c", short], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_importing_celo2_is_light():
    code = "import sys, celo2; print([m for m in ('distrax', 'gymnax', 'envs', 'agents', 'wandb') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


@pytest.mark.parametrize("name", by_default(["noisy", "lion"], "noisy"))
def test_the_optimizers_of_the_documents_train(tmp_path, monkeypatch, name):
    text = (DOCS / "optimizers.md").read_text(encoding="utf-8")
    (tmp_path / "my_rules_of_the_docs.py").write_text("\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL)))
    monkeypatch.syspath_prepend(tmp_path)
    hyper = PPOConfig(total_steps=64, num_envs=4, rollout_length=8, epochs=1, minibatches=2, hidden=(8,))
    config = TrainConfig(optimizer=f"my_rules_of_the_docs:{name}", learning_rate=1e-3, seeds=1, hyper=hyper)
    assert len(experiment.run(config, tmp_path / name, progress=False).final) == 1
