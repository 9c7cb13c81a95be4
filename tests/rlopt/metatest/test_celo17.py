"""The Celo paper's seventeen tasks: shapes, parameter counts, first losses, gradients, and the command on two of them."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import by_default
from rlopt.metatest import costs, optimizers, suite, tasks
from rlopt.metatest.celo17 import learning, networks
from rlopt.metatest.celo17 import tasks as celo17
from rlopt.metatest.config import CELO17_TASKS, REFERENCE, SuiteConfig

V = 32_000


def dense(inputs, outputs):
    return inputs * outputs + outputs


def block(width, keys):
    """Three projections to the keys, one back, a layer four times as wide and back, two norms."""
    return 3 * dense(width, keys) + dense(keys, width) + dense(width, 4 * width) + dense(4 * width, width) + 4 * width


CONVOLUTIONS = dense(9 * 3, 32) + dense(9 * 32, 64) + dense(9 * 64, 64)
NORMS = 2 * (32 + 64 + 64)
LSTM = V * 128 + dense(128 + 256, 4 * 256) + 2 * 256 + dense(256, V)
# By task: parameters, shape of a batch's inputs, loss of a network that knows nothing and how far off the first may be.
WORKED_OUT = {
    "ImageMLP_FashionMnist_Relu128x128": (118_282, (128, 28, 28, 1), math.log(10), 0.3),
    "ImageMLP_Cifar10_128x128x128_LayerNorm_Relu": (428_426, (128, 32, 32, 3), math.log(10), 1.0),
    "ImageMLP_Cifar10_128x128x128_Tanh_bs128": (427_658, (128, 32, 32, 3), math.log(10), 1.0),
    "Conv_Cifar10_32x64x64": (CONVOLUTIONS + dense(64, 10), (128, 32, 32, 3), math.log(10), 0.3),
    "Conv_Cifar10_32x64x64_batchnorm": (CONVOLUTIONS + NORMS + dense(64, 10), (128, 32, 32, 3), math.log(10), 0.3),
    "Conv_Cifar10_32x64x64_layernorm": (CONVOLUTIONS + NORMS + dense(64, 10), (128, 32, 32, 3), math.log(10), 0.6),
    "Conv_Cifar100_32x64x64": (CONVOLUTIONS + dense(64, 100), (128, 32, 32, 3), math.log(100), 0.3),
    "VIT_Cifar100_wideshallow": (10_983_652, (128, 32, 32, 3), math.log(100), 1e-3),
    "VIT_Cifar100_skinnydeep": (2_095_076, (128, 32, 32, 3), math.log(100), 1e-3),
    # The head's inputs have a variance of 1, hence its outputs too, which costs a half on average.
    "TransformerLM_LM1B_MultiRuntime_0": (1_328_720, (4, 8), math.log(V) + 0.5, 0.4),
    "TransformerLM_LM1B_MultiRuntime_2": (2_130_624, (8, 8), math.log(V) + 0.5, 0.4),
    "TransformerLM_LM1B_MultiRuntime_5": (2_105_344, (8, 32), math.log(V) + 0.5, 0.4),
    "ImageMLPAE_Cifar10_128x32x128_bs256": (797_984, (256, 3072), None, None),
    "ImageMLPAE_Mnist_128x32x128_bs128": (209_968, (128, 784), None, None),
    "RNNLM_lm1b32k_Patch32_LSTM256_Embed128": (LSTM, (128, 32), math.log(V), 0.1),
    "RNNLM_wikipediaen32k_Patch32_LSTM256_Embed128": (LSTM, (128, 32), math.log(V), 0.1),
    # 28 + 11 features, two hidden layers of 4, two outputs, seven decays.
    "LOpt_AdafacMLPLOpt_FashionMnist_50": (
        dense(39, 4) + dense(4, 4) + dense(4, 2) + 7,
        (2, 50, 128, 64),
        math.log(10),
        0.3,
    ),
}
SMALLEST = ("ImageMLP_FashionMnist_Relu128x128", "ImageMLPAE_Mnist_128x32x128_bs128")
CHEAP = ("ImageMLPAE_Mnist_128x32x128_bs128", "TransformerLM_LM1B_MultiRuntime_0")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Sets of a user, small ones, which load faster than the stand-ins are made."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    shapes = {"mnist": (28, 28), "fashion_mnist": (28, 28), "cifar10": (32, 32, 3), "cifar100": (32, 32, 3)}
    for name, shape in shapes.items():
        classes = 100 if name == "cifar100" else 10
        made = {f"x_{side}": rng.integers(0, 256, (200, *shape)).astype(np.uint8) for side in ("train", "test")}
        made |= {f"y_{side}": rng.integers(0, classes, (200, 1)) for side in ("train", "test")}
        np.savez(folder / f"{name}.npz", **made)
    for name in ("lm1b", "wikipedia"):
        np.save(folder / f"{name}.npy", rng.integers(0, V, 2000))
    return folder


@pytest.fixture(scope="module")
def made(folder):
    return celo17.make(CELO17_TASKS, folder)


def test_every_task_of_the_paper_is_there():
    assert tuple(WORKED_OUT) == CELO17_TASKS == SuiteConfig(suite="celo17").chosen
    assert len(CELO17_TASKS) == 17
    assert SuiteConfig().chosen == SuiteConfig(suite="supervised").chosen == tasks.NAMES


@pytest.mark.parametrize("name", CELO17_TASKS)
def test_shapes_and_parameters_are_those_worked_out_by_hand(made, name):
    task = made[name]
    parameters, shape, _, _ = WORKED_OUT[name]
    key = jax.random.key(0)
    params = jax.eval_shape(task.init, key)
    assert sum(x.size for x in jax.tree.leaves(params)) == parameters
    for sample in (task.sample, task.test):
        batch = jax.eval_shape(sample, key, task.arrays)
        assert batch[0].shape == shape
        assert batch[1].shape[:1] == shape[:1]
    loss, gradient = jax.eval_shape(jax.value_and_grad(task.loss), params, batch)
    assert (loss.shape, loss.dtype) == ((), jnp.float32)
    assert jax.tree.structure(gradient) == jax.tree.structure(params)


@pytest.mark.parametrize("name", by_default(CELO17_TASKS, *CHEAP))
def test_a_first_loss_is_that_of_a_guess_and_gradients_are_finite(made, name):
    task = made[name]
    _, _, guess, within = WORKED_OUT[name]
    loss, gradient = jax.jit(lambda key, arrays: _loss(task, key, arrays))(jax.random.key(0), task.arrays)
    assert np.isfinite(loss)
    assert guess is None or abs(float(loss) - guess) < within, (float(loss), guess)
    if guess is None:  # of noise about 1/2, by an output of about 1/2
        assert float(loss) == pytest.approx(1 / 12, abs=0.03)
    for path, g in jax.tree.leaves_with_path(gradient):
        assert np.all(np.isfinite(g)), path
    assert sum(float(jnp.sum(g * g)) for g in jax.tree.leaves(gradient)) > 0


def _loss(task, key, arrays):
    return jax.value_and_grad(task.loss)(task.init(key), task.sample(key, arrays))


def test_training_and_test_batches_come_from_their_own_images(made):
    task = made["ImageMLPAE_Mnist_128x32x128_bs128"]
    for side, sample in (("train", task.sample), ("test", task.test)):
        known = {image.tobytes() for image in task.arrays[side][0].reshape(-1, 784)}
        images, targets = sample(jax.random.key(3), task.arrays)
        np.testing.assert_array_equal(images, targets)
        drawn = np.rint(255 * np.asarray(images)).astype(np.uint8)
        assert {image.tobytes() for image in drawn} <= known


def test_words_to_come_are_targets(made):
    task = made["TransformerLM_LM1B_MultiRuntime_0"]
    inputs, targets = task.sample(jax.random.key(0), task.arrays)
    np.testing.assert_array_equal(inputs[:, 1:], targets[:, :-1])
    whole = task.arrays["train"]
    for row, last in zip(np.asarray(inputs), np.asarray(targets)[:, -1], strict=True):
        place = next(i for i in range(len(whole)) if np.array_equal(whole[i : i + 8], row))
        assert whole[place + 8] == last


def test_the_loss_of_tokens_is_the_cross_entropy():
    logits = jax.random.normal(jax.random.key(0), (3, 4, 7))
    targets = jnp.arange(12).reshape(3, 4) % 7
    expected = -np.mean(np.take_along_axis(np.asarray(jax.nn.log_softmax(logits)), np.asarray(targets)[..., None], 2))
    assert float(celo17.token_loss(logits, targets)) == pytest.approx(float(expected), rel=1e-5)


def test_batch_norm_normalises_the_batch_it_sees():
    x = 5 + 3 * jax.random.normal(jax.random.key(0), (16, 4, 4, 8))
    norm = networks.BatchNorm()
    variables = norm.init(jax.random.key(1), x)
    assert set(variables) == {"params"}, "nothing is carried along"
    y = norm.apply(variables, x)
    np.testing.assert_allclose(y.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(y.std((0, 1, 2)), 1, atol=1e-3)


def test_the_gradient_of_learning_to_optimise_is_that_of_evolution_strategies(monkeypatch):
    """On a loss that is known: (L+ - L-) / (2 std^2) e is e (e . a) / std^2 for a linear one."""
    slope = {"w": jnp.asarray([1.0, -2.0, 3.0])}
    monkeypatch.setattr(learning, "unrolled", lambda theta, *_: jnp.sum(theta["w"] * slope["w"]))
    theta = {"w": jnp.asarray([0.5, 0.5, 0.5])}
    batch = (jnp.zeros((2, 1)), jnp.zeros((2, 1)), jax.random.split(jax.random.key(0), 2))
    loss, gradient = jax.value_and_grad(learning.loss)(theta, batch)
    assert float(loss) == pytest.approx(1.0, rel=1e-5)
    noises = [learning.pes.sample_perturbation(jax.random.split(key)[0], theta, learning.STD)["w"] for key in batch[2]]
    expected = np.mean([e * float(e @ slope["w"]) / learning.STD**2 for e in np.asarray(noises)], axis=0)
    np.testing.assert_allclose(gradient["w"], expected, rtol=1e-3)


def test_operations_in_loops_are_counted_as_often_as_they_are_run():
    def looped(x):
        def outer(c, _):
            return jax.lax.scan(lambda c, _: (c @ c, None), c, None, length=3)[0] @ c, None

        return jax.lax.scan(outer, x, None, length=5)[0]

    one = 2 * 16**3
    assert costs.counted(looped, jax.ShapeDtypeStruct((16, 16), jnp.float32)) == pytest.approx(20 * one, rel=0.01)


def test_a_step_of_the_lstm_has_the_operations_of_its_products(made):
    """Six per weight and token, forward and back: the gates and the head; the embedding only looks up."""
    counted, _ = costs.of_task(made["RNNLM_lm1b32k_Patch32_LSTM256_Embed128"])
    products = 6 * 128 * 32 * ((128 + 256) * 1024 + 256 * V)
    assert products < counted < 1.1 * products


@pytest.mark.parametrize(
    ("changes", "length"),
    [({}, 2000), ({"fraction": 0.1}, 200), ({"fraction": 0.002}, 20), ({"steps": 100, "fraction": 0.55}, 60)],
)
def test_a_fraction_is_one_of_the_steps(changes, length):
    assert SuiteConfig(**changes).length == length


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fraction": 0.0}, r"fraction must be above 0 and at most 1, got 0\.0"),
        ({"fraction": 1.5}, r"fraction must be above 0 and at most 1, got 1\.5"),
        ({"tasks": ("wide",)}, "unknown task 'wide'; there are "),
        ({"tasks": (CHEAP[0], CHEAP[0])}, "each task may be named once"),
        ({"suite": "small", "tasks": None}, "data is for the suite celo17; small has its own"),
        ({"suite": "returns"}, "the suite returns has settings of its own"),
    ],
)
def test_impossible_settings_are_refused(tmp_path, folder, changes, message):
    config = {"suite": "celo17", "tasks": CHEAP, "data": folder, "optimizers": ("sgd",)} | changes
    with pytest.raises(ValueError, match=message):
        suite.run(SuiteConfig(**config), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_the_command_trains_a_share_of_the_steps_and_says_what_data_it_had(tmp_path, folder, command):
    """With one rate in place of fifteen; the same command again trains nothing."""
    words = ["metatest", "--suite", "celo17", "--tasks", *SMALLEST, "--fraction", 0.002, "--seeds", 1]
    words += ["--optimizers", "sgd", "--rates", "adam", 1e-3, "sgd", 1e-2, "--out", tmp_path / "run"]
    done = command(*words, "--data", folder)
    assert done.status == 0, done.err
    assert "4 of 4 cells to train, 20 steps (fraction 0.002 of 2,000) each: very roughly" in done.err
    tables = (tmp_path / "run" / "tables.md").read_text()
    assert "20 steps, a share of 0.002 of 2,000" in tables
    assert "| mnist, from mnist.npz |" in tables
    assert "| task | sgd | adam:eps=1e-8 |" in tables or "| task | adam:eps=1e-8 | sgd |" in tables
    assert "(1.00x)" in (tmp_path / "run" / "cost.md").read_text()
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    own, adam = summary["sgd"], summary[REFERENCE]
    assert own["data"] == {SMALLEST[0]: "fashion_mnist, from fashion_mnist.npz", SMALLEST[1]: "mnist, from mnist.npz"}
    for name in ("final_test_loss", "seconds", "flop_per_step"):
        assert all(own[name][task] > 0 for task in SMALLEST), name
    # Two per weight less than Adam, which has ten or so.
    assert 0.9 < own["flop_per_step"][SMALLEST[1]] / adam["flop_per_step"][SMALLEST[1]] < 1
    for name in ("curves", "test_curves", "profiles"):
        assert (tmp_path / "run" / "plots" / f"{name}.png").stat().st_size > 10_000
    cells = {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "cells").iterdir()}
    again = command(*words, "--data", folder)
    assert again.status == 0
    assert "to train" not in again.err
    assert cells == {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "cells").iterdir()}
    assert json.loads((tmp_path / "run" / "summary.json").read_text()) == summary
    refused = command("metatest", "--seeds", 1, "--steps", 20, "--optimizers", "sgd", "--out", tmp_path / "run")
    assert refused.status == 2
    assert "holds results of the suite celo17, not of small" in refused.err


def test_other_data_are_other_results(folder, tmp_path):
    task = CHEAP[0]
    here = celo17.make((task,), folder)[task]
    with np.load(folder / "mnist.npz") as arrays:
        changed = {name: array.copy() for name, array in arrays.items()}
    changed["x_train"][0, 0, 0] ^= 1
    np.savez(tmp_path / "mnist.npz", **changed)
    there = celo17.make((task,), tmp_path)[task]
    assert suite._prefix(task, here) != suite._prefix(task, there)
    assert suite._prefix("wide", tasks.make("wide")) == "wide"


def test_an_estimate_needs_no_compilation_of_a_task(made, monkeypatch):
    monkeypatch.setattr(costs, "measure_speed", lambda: costs.Speed(1e9, 1e8))
    config = SuiteConfig(suite="celo17", tasks=CHEAP[:1], optimizers=("sgd",), steps=100, seeds=2)
    entries = optimizers.contestants(config)
    found = suite.estimate(config, made, entries, [(CHEAP[0], "sgd"), (CHEAP[0], REFERENCE)])
    # SGD: fifteen rates on one seed, then six finalists on the other; Adam all of them on both.
    gradient = costs.of_task(made[CHEAP[0]])[0] / 1e9
    assert found[CHEAP[0], "sgd"] == pytest.approx(100 * 21 * gradient, rel=0.2)
    assert found[CHEAP[0], REFERENCE] > found[CHEAP[0], "sgd"] * 30 / 21
