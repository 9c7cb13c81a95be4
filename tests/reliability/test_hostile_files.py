"""Files made to do harm: to fill the memory, to run code, to write elsewhere, to keep a reader waiting."""

import gzip
import io
import json
import os
import pickle
import shutil
import struct
import sys
import tracemalloc
import zipfile
from pathlib import Path

import flax.serialization
import jax
import msgpack
import numpy as np
import pytest

import celo2
from agents import PPOConfig
from celo2 import files
from helpers import set_up_already
from metatrain import image_files, npz
from metatrain.config import MetaTrainConfig
from rlopt import cli, typed
from rlopt.metareturns import search
from rlopt.metatraining import metrics, trainer
from rlopt.optimizers import theta
from rlopt.play import evaluation, film
from rlopt.runs import experiment, launcher, results
from rlopt.storage import run_lock, sealed
from rlopt.training import checkpoint, presets
from rlopt.training.config import TrainConfig

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

HYPER = PPOConfig(total_steps=64 * 3, num_envs=4, rollout_length=16, epochs=1, minibatches=1, hidden=(8,))
CONFIG = TrainConfig(optimizer="adam", learning_rate=1e-3, seeds=2, hyper=HYPER)
MEGABYTES = 1 << 20


def array(shape, kind, buffer):
    return msgpack.ExtType(1, msgpack.packb((shape, kind, buffer)))


def nested_lists(count):
    return (b"\xdd" + struct.pack(">I", 1_000_000 - 10)) * count + b"\0" * (1_000_000 - 5 * count)


def nested_maps(depth):
    return b"\x81\xa1a" * depth + b"\xc0"


def theta_of(**arrays):
    return msgpack.packb({"ff_mod_stack": {"~": arrays}})


HOSTILE_MSGPACK = {
    "huge shape": theta_of(b0=array((10**12,), "float32", b"")),
    "huge shape of nothing": theta_of(b0=array((0, 10**12), "float32", b"")),
    "negative shape": theta_of(b0=array((-2,), "float32", b"\0" * 28)),
    "objects": theta_of(b0=array((4,), "O", b"\0" * 32)),
    "objects in records": theta_of(b0=array((4,), "i4,O", b"\0" * 48)),
    "huge items": theta_of(b0=array((0,), "V2000000000", b"")),
    "pickle": theta_of(b0=msgpack.ExtType(1, pickle.dumps(os.getcwd))),
    "unknown extension": theta_of(b0=msgpack.ExtType(77, b"x" * 100)),
    "bad time": b"\xc7\x0c\xff" + b"\xff" * 12,
    "complex": theta_of(b0=msgpack.ExtType(2, msgpack.packb((1.0, 2.0)))),
    "chunks": theta_of(b0={"__msgpack_chunked_array__": True, "shape": {"0": 10**12}, "chunks": {}}),
    "nested lists": nested_lists(500),
    "nested maps": nested_maps(400),
    "maps nested too deeply": nested_maps(100_000),
    "a long list": b"\xdd" + struct.pack(">I", 2**32 - 1),
    "a long text": b"\xdb" + struct.pack(">I", 2**32 - 1),
    "a long map": b"\xdf" + struct.pack(">I", 2**32 - 1),
    "a list as a name": b"\x81\x91\x01\x01",
    "many names": msgpack.packb({"ff_mod_stack": {str(i): 0 for i in range(100_000)}}),
}


@pytest.fixture
def frugal():
    """Fails if more memory was taken than a file of a megabyte may lead to."""
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 * MEGABYTES


@pytest.mark.parametrize("name", HOSTILE_MSGPACK)
def test_hostile_weights_are_refused(tmp_path, frugal, name):
    path = tmp_path / "a.theta"
    path.write_bytes(HOSTILE_MSGPACK[name])
    with pytest.raises(ValueError, match=r"a\.theta: ") as caught:
        celo2.load_checkpoint(path)
    assert len(str(caught.value)) < 5_000


@pytest.mark.parametrize("name", HOSTILE_MSGPACK)
def test_hostile_networks_and_checkpoints_are_refused(tmp_path, frugal, name):
    data = HOSTILE_MSGPACK[name]
    (tmp_path / results.PARAMS).write_bytes(data)
    template = {"ff_mod_stack": {"~": {"b0": jax.ShapeDtypeStruct((8,), np.float32)}}}
    with pytest.raises(ValueError, match=r"params\.msgpack "):
        results.read_params(tmp_path, template)
    path = tmp_path / checkpoint.NAMES[0]
    sealed.write(path, {"format": checkpoint.FORMAT, "settings": checkpoint.settings(CONFIG)}, data)
    with pytest.raises(ValueError, match=r"checkpoint\.msgpack is not of a run that this version understands"):
        checkpoint.load(tmp_path, CONFIG, jax.numpy.zeros(2))


def test_weights_that_float32_cannot_hold_are_refused(tmp_path):
    wide = jax.tree.map(lambda x: x.astype(np.float64), celo2.load_theta("celo2"))
    wide["ff_mod_stack"]["~"]["b0"][0] = 1e300
    (tmp_path / "a.theta").write_bytes(flax.serialization.to_bytes(wide))
    with pytest.raises(ValueError, match="b0' holds NaN or infinite numbers"):
        celo2.load_checkpoint(tmp_path / "a.theta")


def npy(shape, kind="<f4", data=b"", version=(1, 0)):
    header = f"{{'descr': {kind!r}, 'fortran_order': False, 'shape': {shape!r}}}\n".encode()
    size = struct.pack("<H" if version == (1, 0) else "<I", len(header))
    return b"\x93NUMPY" + bytes(version) + size + header + data


def zipped(members, kind=zipfile.ZIP_DEFLATED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", kind, compresslevel=1) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return file.getvalue()


def lying_zip():
    """A zip whose entry says that it unpacks to a few bytes."""
    data = bytearray(zipped({"steps": npy((2**24,), data=b"\0" * 2**26)}))
    size = struct.pack("<I", len(npy((2**24,))) + 2**26)
    while size in data:
        at = data.index(size)
        data[at : at + 4] = struct.pack("<I", 200)
    return bytes(data)


HOSTILE_NPZ = {
    "huge shape": zipped({"steps": npy((10**12,))}),
    "shape that overflows": zipped({"steps": npy((2**62, 2**62))}),
    "negative shape": zipped({"steps": npy((-1,), data=b"\0" * 4)}),
    "no shape": zipped({"steps": npy("x")}),
    "objects": zipped({"steps": npy((1,), "|O", pickle.dumps([os.getcwd]))}),
    "records with objects": zipped({"steps": npy((1,), [("a", "|O")], b"\0" * 8)}),
    "bomb": zipped({"steps": npy((2**26,), data=b"\0" * 2**28)}),
    "lying bomb": lying_zip(),
    "nested header": zipped({"steps": npy(((((1,),),),))}),
    "deep header": zipped({"steps": b"\x93NUMPY\x01\x00" + struct.pack("<H", 9000) + b"(" * 9000}),
    "long header": zipped({"steps": b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**32 - 1) + b"{" * 1000}),
    "version": zipped({"steps": npy((1,), data=b"\0" * 4, version=(9, 0))}),
    "no member": zipped({"other": npy((0,))}),
    "a pickle": pickle.dumps([1, 2, 3]),
    "npy": npy((1,), data=b"\0" * 4),
}


@pytest.mark.parametrize("name", HOSTILE_NPZ)
def test_hostile_arrays_are_refused(tmp_path, frugal, name):
    (tmp_path / results.RETURNS).write_bytes(HOSTILE_NPZ[name])
    with pytest.raises(ValueError, match=r"returns\.npz should be an npz file with steps"):
        npz.read(tmp_path / results.RETURNS, ("steps",), limit=64 * MEGABYTES)


def test_no_reader_looks_a_pickled_name_up(tmp_path):
    """Whatever reads a pickle has to look up the names in it, which Python tells of."""
    looked_up = []

    def hook(event, arguments):
        if event == "pickle.find_class" and listening:
            looked_up.append(arguments)

    listening = [True]
    sys.addaudithook(hook)  # for good: there is no way to take it out again
    data = pickle.dumps(os.getcwd)
    pickle.loads(data)
    assert looked_up.pop() == ("posix", "getcwd")
    for name in (*HOSTILE_NPZ, "a pickle alone"):
        path = tmp_path / results.RETURNS
        path.write_bytes(HOSTILE_NPZ.get(name, data))
        for read in (
            celo2.load_checkpoint,
            files.read_json,
            lambda path: npz.read(path, ("steps",), limit=64 * MEGABYTES),
        ):
            with pytest.raises(ValueError, match=r"."):
                read(path)
        with pytest.raises(ValueError, match=r"."):
            sealed.read(path, "x")
    listening.clear()
    assert not looked_up


@pytest.mark.parametrize("text", [b"[" * 100_000, b'{"a":' * 100_000, b"1" * 100_000, b'"\xff"', b"[1]", b"nul", b""])
def test_hostile_json_is_refused(tmp_path, text):
    for name in (results.CONFIG, "celo2.json", trainer.CHECKPOINTS):
        (tmp_path / name).write_bytes(text)
    with pytest.raises(ValueError, match=r"config\.json is not of a run that this version understands"):
        results.read_config(tmp_path)
    celo2.save_checkpoint(tmp_path / "celo2.theta", celo2.load_theta("celo2"))
    with pytest.raises(ValueError, match=r"celo2\.json"):
        theta.load(str(tmp_path / "celo2.theta"))
    with pytest.raises(ValueError, match="no readable header"):
        sealed.read(tmp_path / trainer.CHECKPOINTS, "x")
    (tmp_path / metrics.METRICS).write_bytes(text.replace(b"\n", b"") + b"\n")
    if text == b"[1]":
        with pytest.raises(ValueError, match="not of a meta-training run"):
            metrics.read(tmp_path)
    else:
        assert metrics.read(tmp_path) == []


def test_a_seal_that_promises_another_size_is_refused_unread(tmp_path, frugal):
    path = tmp_path / "x"
    with path.open("wb") as file:
        file.write(json.dumps({"format": "x", "bytes": 10, "sha256": ""}).encode() + b"\n")
        file.truncate(1 << 40)  # takes no room on the disk
    with pytest.raises(ValueError, match="bytes of state where 10 were written"):
        sealed.read(path, "x")
    for read in (celo2.load_checkpoint, files.read_json):
        with pytest.raises(ValueError, match="bytes; at most"):
            read(path)


def test_a_gzip_bomb_is_not_unpacked(tmp_path, frugal):
    (tmp_path / "own").mkdir()
    with gzip.open(tmp_path / "own" / "train-images-idx3-ubyte.gz", "wb", 1) as file:
        file.write(bytes((0, 0, 8, 3)) + struct.pack(">3I", 10, 8, 8))
        for _ in range(256):
            file.write(bytes(MEGABYTES))
    with pytest.raises(ValueError, match=r"should have 656 bytes .* but has more"):
        image_files.load(tmp_path, "own")


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        for read in (celo2.load_checkpoint, files.read_json, lambda path: npz.read(path, ("a",)), search.rows):
            with pytest.raises(ValueError, match="not a regular file"):
                read(path)
        assert launcher._log_end(path) == f"  it left no log at {path}"
    (tmp_path / "log").write_text("".join(f"line {i} {'x' * 100}\n" for i in range(10_000)))
    assert "line 9999" in launcher._log_end(tmp_path / "log")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    experiment.run(CONFIG, folder, progress=False)
    return folder


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": "2"}, "seeds must be int, got '2'"),
        ({"seeds": 1e300}, r"seeds must be int, got 1e\+300"),
        ({"seed": True}, "seed must be int, got True"),
        ({"rates": ["../../x"]}, "rates must be tuple"),
        ({"learning_rate": "rm"}, "learning_rate must be float | None, got 'rm'"),
        ({"env": ["CartPole-v1"]}, "env must be str"),
        ({"preset": "x"}, "preset must be Literal"),
        ({"options": {"args": ["rm"]}}, "options must be dict"),
        ({"theta": 5}, "TypeError"),
        ({"atari": {"image_size": 1e9}}, "atari.image_size must be int"),
        ({"hyper": {"gamma": None}}, "hyper.gamma must be float"),
        ({"hyper": {"hidden": [8, "8"]}}, "hyper.hidden must be tuple"),
        ({"hyper": {"hidden": 10**30}}, "hyper.hidden must be tuple"),
        ({"hyper": {"total_steps": 10**30}}, "hyper.total_steps must be int"),
        ({"hyper": []}, "AttributeError"),
    ],
)
def test_settings_of_other_types_are_refused(tmp_path, finished, changes, message):
    found = json.loads((finished / results.CONFIG).read_text())
    (tmp_path / results.CONFIG).write_text(json.dumps(found | changes))
    with pytest.raises(ValueError, match=message.replace("|", r"\|")):
        results.read_config(tmp_path)


def test_the_settings_of_every_kind_have_the_types_that_they_declare():
    for agent in ("ppo", "dqn", "pqn", "rppo", "sac"):
        typed.check(TrainConfig(agent=agent, hyper=presets.config(agent, "CartPole-v1")))
    typed.check(MetaTrainConfig())


@pytest.mark.parametrize(
    "changes", [{"env": "stranger:Env"}, {"optimizer": "stranger:make"}, {"hyper": {"network": "stranger:Net"}}]
)
def test_code_that_a_run_folder_names_is_not_imported_unless_asked_to(tmp_path, finished, changes, monkeypatch, capsys):
    (tmp_path / "stranger.py").write_text(
        "from pathlib import Path\nPath('ran').touch()\nraise RuntimeError('it ran')\n"
    )
    monkeypatch.chdir(tmp_path)
    found = json.loads((finished / results.CONFIG).read_text())
    folder = tmp_path / "theirs"
    folder.mkdir()
    changes = {name: found[name] | value if name == "hyper" else value for name, value in changes.items()}
    (folder / results.CONFIG).write_text(json.dumps(found | changes))
    for use in (experiment.resume, evaluation.evaluate, film.watch):
        with pytest.raises(ValueError, match=r"names 'stranger:.*', which is code to be imported; say --trust"):
            use(folder)
    for command in ("resume", "evaluate", "watch"):
        assert cli.main([command, str(folder)], configure=set_up_already) == 2
        assert "say --trust" in capsys.readouterr().err
    shutil.copytree(finished, tmp_path / "finished")
    (tmp_path / "finished" / results.CONFIG).write_text(json.dumps(found | changes))
    assert cli.main(["plot", str(tmp_path / "finished"), "--out", "a.png"], configure=set_up_already) == 0
    assert "stranger" not in sys.modules
    assert str(tmp_path) not in sys.path
    assert not (tmp_path / "ran").exists()
    assert cli.main(["resume", str(folder), "--trust"], configure=set_up_already) == 2
    assert "it ran" in capsys.readouterr().err
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", [results.METRICS, results.PLOTS, f"{results.PLOTS}/learning_curve.png", "thetas"])
def test_links_in_a_run_folder_are_refused(tmp_path, finished, name):
    folder, elsewhere = tmp_path / "theirs", tmp_path / "elsewhere"
    (folder / name).parent.mkdir(parents=True)
    (folder / results.CONFIG).write_bytes((finished / results.CONFIG).read_bytes())
    (folder / name).symlink_to(elsewhere)
    with pytest.raises(ValueError, match="is a symbolic link, which would lead out of the run folder"):
        experiment.resume(folder, progress=False)
    with pytest.raises(ValueError, match="is a symbolic link"), run_lock.held(folder):
        pass
    assert not elsewhere.exists()


def test_a_line_is_not_added_through_a_link(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        files.append_line(tmp_path / "link", "x\n")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("name", ["..", ".", "../..", "a/../..", "/etc", "...", "a\0b", ""])
def test_names_stay_within_their_folder(tmp_path, name):
    assert (tmp_path / results.safe_name(name)).resolve().parent == tmp_path.resolve()


def test_a_card_cannot_steer_the_terminal(tmp_path):
    celo2.save_checkpoint(tmp_path / "a.theta", celo2.load_theta("celo2"))
    (tmp_path / "a.json").write_text(json.dumps({"command\x1b[2J": "\x1b]0;title\x07"}))
    text = theta.info(theta.load(str(tmp_path / "a.theta")))
    assert r"command\x1b[2J: \x1b]0;title\x07" in text
    assert "\x1b" not in text
