"""What stands in place of wandb in the process that is started for it, and notes what it is told."""

import json
import types
from pathlib import Path

import pytest

_PACKAGE = """
import json, os, pathlib, time
HERE = pathlib.Path(__file__).parent

class Settings:
    def __init__(self, **settings):
        pass

class Run:
    def __init__(self, number, **arguments):
        self.file = HERE / f"{number:03}.jsonl"
        self.note(**arguments)
    def note(self, **entry):
        with open(self.file, "a") as file:
            file.write(json.dumps(entry) + "\\n")
    def log(self, values, step):
        do("log")
        self.note(step=step, values=values)
    def log_artifact(self, artifact):
        do("artifact")
        self.note(artifact=vars(artifact))
    def finish(self, exit_code):
        self.note(exit_code=exit_code)

class Artifact:
    def __init__(self, name, type):
        self.name, self.type, self.files = name, type, {}
    def add_file(self, path, name, policy, skip_cache):
        self.files[name] = pathlib.Path(path).read_bytes().hex()

def Video(path):
    return {"video": path, "bytes": os.path.getsize(path)}

def do(where):
    while (HERE / f"{where}-hangs").exists():
        time.sleep(0.01)
    if (HERE / f"{where}-raises").exists():
        raise OSError("no network")
    if (HERE / f"{where}-dies").exists():
        os._exit(3)

def init(settings, **arguments):
    do("init")
    return Run(len(list(HERE.glob("*.jsonl"))), **arguments)
"""


class FakeWandb:
    """The runs that are started with what stands in place of the package; `folder`: it does as files there say."""

    def __init__(self, folder: Path):
        self.folder = folder

    def runs(self) -> list[types.SimpleNamespace]:
        """What each run was told, in the order in which they were started."""
        found = []
        for path in sorted(self.folder.glob("*.jsonl")):
            first, *rest = (json.loads(line) for line in path.read_text().splitlines())
            logged = {entry["step"]: entry["values"] for entry in rest if "step" in entry}
            (exit_code,) = (entry["exit_code"] for entry in rest if "exit_code" in entry)
            models = [entry["artifact"] for entry in rest if "artifact" in entry]
            found.append(types.SimpleNamespace(**first, logged=logged, models=models, exit_code=exit_code))
        return found


@pytest.fixture
def fake_wandb(tmp_path_factory, monkeypatch):
    """In place of the package in wandb's process, whose modules are looked for there first."""
    folder = tmp_path_factory.mktemp("fake")
    (folder / "wandb.py").write_text(_PACKAGE)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return FakeWandb(folder)
