"""Files from strangers: whatever is in them, they are read or refused with a ValueError, and nothing else happens.

3,000 inputs, and 12,000 others as slow tests: random bytes, damaged real files, and real files in which a value has been
replaced by a nasty one.
"""

import copy
import functools
import hashlib
import io
import json
import warnings

import flax.serialization
import jax
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from rich.console import Console

import celo2
from agents import PPOConfig
from helpers import by_default, small_meta_training
from metatrain import image_files, outer
from metatrain.config import MetaTrainConfig
from rlopt.benchmark import protocol
from rlopt.benchmark.plan import Plan
from rlopt.metatraining import card, checkpoint, metrics
from rlopt.optimizers import theta
from rlopt.runs import console, experiment, results
from rlopt.training import checkpoint as train_checkpoint
from rlopt.training import loop, placement
from rlopt.training.config import TrainConfig
from rlopt.training.monitor_config import LookConfig

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

INPUTS = (250, 1000)  # by default, and of slow tests
HYPER = PPOConfig(total_steps=64 * 3, num_envs=4, rollout_length=16, epochs=1, minibatches=1, hidden=(8,))
CONFIG = TrainConfig(optimizer="adam", learning_rate=1e-3, seeds=2, hyper=HYPER)
META = small_meta_training()

NASTY = [None, True, -1, 0, 10**30, 2**63, 1e308, float("nan"), float("inf"), "", "..", "../../x", "/etc/passwd", "\0"]
NASTY += ["os:abort", "\x1b[2J", "x" * 5000, [], {}, [[]], [None], {"a": {"b": []}}, [1.5] * 50, 10**400, -(10**9)]
NASTY_ARRAYS = [
    np.zeros(shape, kind)
    for shape in (0, 1, 3, (2, 2), (0, 10**9))
    for kind in ("f4", "f8", "i4", "u1", "S3", "c8", "f2", "?")
] + [np.full((2, 2), np.nan, "f4"), np.full((1, 8), 1e300), np.float32(1), np.zeros((), "i8")]
# msgpack has no larger ones.
PACKED = [x for x in NASTY if not isinstance(x, int) or abs(x) < 2**63] + NASTY_ARRAYS


def damaged(rng, real):
    """Random bytes, or real ones cut short, changed, shortened or lengthened in places."""
    if rng.random() < 0.1:
        return rng.randbytes(rng.randrange(200))
    data = bytearray(real)
    for _ in range(rng.randint(1, 4)):
        at, length = rng.randrange(len(data) + 1), rng.randint(1, 50)
        match rng.choice(["cut", "flip", "flip", "insert", "delete", "double"]):
            case "cut":
                del data[at:]
            case "flip" if data:
                data[at % len(data)] ^= rng.randint(1, 255)
            case "insert":
                data[at:at] = rng.randbytes(length % 9)
            case "delete":
                del data[at : at + length]
            case "double":
                data[at:at] = data[at : at + length]
    return bytes(data)


def replaced(rng, document, values=NASTY):
    """A tree in which up to three entries are others, or are missing."""
    tree = {"": copy.deepcopy(document)}
    for _ in range(rng.randint(1, 3)):
        node, name = tree, ""
        while isinstance(node[name], dict | list) and node[name] and (node is tree or rng.random() < 0.8):
            node = node[name]
            name = rng.choice(list(node) if isinstance(node, dict) else range(len(node)))
        if node is not tree and isinstance(node, dict) and rng.random() < 0.2:
            del node[name]
        else:
            node[name] = copy.deepcopy(rng.choice(values))
    return tree[""]


def some_json(rng, real):
    return damaged(rng, real) if rng.random() < 0.3 else json.dumps(replaced(rng, json.loads(real))).encode()


def some_packed(rng, real):
    if rng.random() < 0.5:
        return damaged(rng, real)
    return flax.serialization.msgpack_serialize(replaced(rng, flax.serialization.msgpack_restore(real), PACKED))


def some_sealed(rng, real):
    """Also with a seal that fits what has been replaced."""
    if rng.random() < 0.3:
        return damaged(rng, real)
    line, _, payload = real.partition(b"\n")
    header = json.loads(line)
    del header["header_sha256"]
    if rng.random() < 0.5:
        changed = replaced(rng, header)
        return json.dumps(changed).encode() + b"\n" + payload
    payload = some_packed(rng, payload)
    header |= {"bytes": len(payload), "sha256": hashlib.sha256(payload).hexdigest()}
    return json.dumps(header).encode() + b"\n" + payload


def some_npz(rng, real):
    if rng.random() < 0.5:
        return damaged(rng, real)
    with np.load(io.BytesIO(real)) as found:
        arrays = replaced(rng, dict(found), NASTY_ARRAYS)
    file = io.BytesIO()
    np.savez_compressed(file, **(arrays if isinstance(arrays, dict) else {"x": arrays}))
    return file.getvalue()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run, and one that was broken off, with a checkpoint."""
    folder = tmp_path_factory.mktemp("run")
    experiment.run(CONFIG, folder, progress=False)
    return folder


@pytest.fixture(params=by_default(INPUTS, INPUTS[0]))
def fuzz(request):
    """fuzz(path, make, load): lets `load` read many inputs at a path, as made from a source of randomness."""
    return functools.partial(_read, request.param)


def _read(inputs, path, make, load):
    @settings(
        max_examples=inputs,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(st.randoms(use_true_random=True))
    def read_all(rng):
        path.write_bytes(make(rng))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "passing over", UserWarning)
            try:
                load()
            except ValueError as error:
                refused.append(len(str(error)))
            else:
                read.append(1)

    refused: list[int] = []
    read: list[int] = []
    read_all()
    assert len(refused) > inputs / 10
    assert len(refused) + len(read) >= inputs
    assert min(refused) > 0
    assert max(refused) < 20_000


def assert_alike(tree, like):
    for x, y in zip(*map(jax.tree.leaves, (tree, like)), strict=True):
        assert (x.shape, x.dtype) == (y.shape, y.dtype)


@pytest.mark.parametrize("name", ["celo2", "celo"])
def test_weights(tmp_path, name, fuzz):
    path = tmp_path / "a.theta"
    celo2.save_checkpoint(path, celo2.load_theta(name))

    def load():
        for leaf in jax.tree.leaves(celo2.load_checkpoint(path)):
            assert leaf.dtype == np.float32
            assert np.all(np.isfinite(leaf))

    real = path.read_bytes()
    fuzz(path, lambda rng: some_packed(rng, real), load)


def test_cards(tmp_path, fuzz):
    path = tmp_path / "celo2.theta"
    beside = tmp_path / "celo2.json"
    celo2.save_checkpoint(path, celo2.load_theta("celo2"))
    real = json.dumps(theta.load("celo2").card | {"validation": {"loss": 1.0}}).encode()

    def load():
        text = theta.info(theta.load(str(path)))
        assert "\x1b" not in text
        (tmp_path / "celo2.best.json").write_bytes(beside.read_bytes())
        assert isinstance(card.best_validation(tmp_path, MetaTrainConfig("celo2")), float)

    fuzz(beside, lambda rng: some_json(rng, real), load)


def test_settings_of_runs(tmp_path, run, fuzz):
    def load():
        config = results.read_config(tmp_path)
        config.check()
        names = [results.rate_name(rate) for rate in config.rates]
        names += [results.safe_name(name) for name in (config.env, config.optimizer)]
        for name in names:
            assert (tmp_path / name).resolve().parent == tmp_path.resolve()
        train_checkpoint.settings(config)

    real = json.loads((run / results.CONFIG).read_text()) | {"rates": [1e-3, 1e-2]}
    text = json.dumps(real).encode()
    fuzz(tmp_path / results.CONFIG, lambda rng: some_json(rng, text), load)


def test_plans_of_benchmarks(tmp_path, fuzz):
    protocol.write_plan(tmp_path / "real", Plan(monitor=LookConfig(eval_every=5_000, keep_best=True)))
    real = (tmp_path / "real" / protocol.PLAN).read_bytes()

    def load():
        plan = protocol.read_plan(tmp_path)
        for name in (*plan.envs, *plan.optimizers):
            assert tmp_path.resolve() in protocol.place(tmp_path, protocol.FINAL, name, name).resolve().parents

    fuzz(tmp_path / protocol.PLAN, lambda rng: some_json(rng, real), load)


@pytest.mark.parametrize("name", [results.RETURNS, results.SUMMARY])
def test_results_of_runs(tmp_path, run, name, fuzz):
    for other in (results.RETURNS, results.SUMMARY):
        (tmp_path / other).write_bytes((run / other).read_bytes())
    real = (run / name).read_bytes()
    make = some_npz if name == results.RETURNS else some_json
    shown = Console(file=io.StringIO())
    fuzz(tmp_path / name, lambda rng: make(rng, real), lambda: shown.print(console.table([results.read_run(tmp_path)])))


def test_networks_of_runs(tmp_path, run, fuzz):
    real = (run / results.PARAMS).read_bytes()
    tree = flax.serialization.msgpack_restore(real)
    template = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)

    def load():
        assert_alike(results.read_params(tmp_path, template), template)

    fuzz(tmp_path / results.PARAMS, lambda rng: some_packed(rng, real), load)


def test_lines_of_metatraining(tmp_path, fuzz):
    rows = [
        {"iteration": i, "loss": 1.0, "family_loss": {"digits": 1.0}, "grad_norm": 1.0, "validation_loss": 2.0}
        for i in (2, 4)
    ]
    first, second = (json.dumps(row) for row in rows)
    fuzz(
        tmp_path / metrics.METRICS,
        lambda rng: some_json(rng, first.encode()) + f"\n{second}\n".encode(),
        lambda: metrics.read_until(tmp_path, 3),
    )


def test_image_sets(tmp_path, fuzz):
    file = io.BytesIO()
    np.savez(file, images=np.random.default_rng(0).integers(0, 255, (20, 8, 8), np.uint8), labels=np.arange(20) % 10)

    def load():
        images, labels = image_files.load(tmp_path, "own")
        assert images.shape == (len(labels), 64)

    fuzz(tmp_path / "own.npz", lambda rng: some_npz(rng, file.getvalue()), load)


@pytest.mark.filterwarnings("ignore:.* was written on:RuntimeWarning")
def test_checkpoints_of_training(tmp_path, fuzz):
    agent = loop.make_agent(CONFIG)
    mesh = placement.mesh_for(CONFIG.size)
    state = placement.initial_state(agent, CONFIG, mesh)
    numbers = np.zeros((1, 2), np.float32)
    rows = [{"loss": np.zeros(2, np.float32)}]
    progress = train_checkpoint.Progress(state, rows, numbers, numbers, np.full(2, -1, np.int64), 1.0, 1.0)
    train_checkpoint.save(tmp_path, CONFIG, progress)
    path = tmp_path / train_checkpoint.NAMES[0]

    def load():
        assert_alike(train_checkpoint.load(tmp_path, CONFIG, state).state, state)

    load()
    real = path.read_bytes()
    fuzz(path, lambda rng: some_sealed(rng, real), load)


@pytest.mark.usefixtures("shared_programs")
def test_checkpoints_of_metatraining(tmp_path, fuzz):
    state = outer.make_program(META).init()
    path = checkpoint.save(tmp_path, state, 5, META, 1.0, [(5, 1.0)])
    template = jax.eval_shape(lambda: state)

    def load():
        assert_alike(checkpoint.load_latest(tmp_path, template, META).state, state)

    load()
    real = path.read_bytes()
    fuzz(path, lambda rng: some_sealed(rng, real), load)
