"""OPEN: its published vectors, what it is told, what it refuses. Its arithmetic is tried in test_baselines.py."""

import re

import flax.linen as nn
import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

import celo2
from agents import networks, telling
from celo2.baselines import depth, rule_open

PARAMS = {"actor": {"w": jnp.ones((3, 2)), "b": jnp.arange(2.0)}, "critic": {"w": jnp.full((3, 1), 0.5)}}
TOLD = {
    "progress": 0.3,
    "epoch": 0.5,
    "is_actor": telling.is_actor(PARAMS),
    "key": jax.random.key(0),
    "dormancy": jax.tree.map(lambda x: jnp.full(x.shape[-1:], 0.5), PARAMS),
}


def theta(seed=0, **sizes):
    """Random weights without zeros."""
    start = celo2.init_theta("open", jax.random.key(seed), **sizes)
    keys = iter(jax.random.split(jax.random.key(seed + 1), 20))
    return jax.tree.map(lambda x: x + 0.1 * jax.random.normal(next(keys), x.shape), start)


def flax_modules(gru, hidden):
    layers = [nn.Dense(hidden), nn.LayerNorm(), nn.relu, nn.Dense(hidden), nn.LayerNorm(), nn.relu, nn.Dense(3)]
    return nn.GRUCell(gru), nn.Sequential(layers)


@pytest.mark.parametrize(
    ("gru", "hidden", "count"), [(8, 16, 1_211), pytest.param(16, 32, 3_571, marks=pytest.mark.slow)]
)
def test_a_published_vector_is_the_network_of_flax(gru, hidden, count, tmp_path):
    """The published weights are flattened modules of flax: same order, same numbers out."""
    cell, mlp = flax_modules(gru, hidden)
    rng = np.random.default_rng(1)
    x, h = rng.standard_normal((7, 19), np.float32), rng.standard_normal((7, gru), np.float32)
    key = jax.random.key(0)
    tree = jax.eval_shape(lambda: {"params": mlp.init(key, h), "gru_params": cell.init(key, h, x)})
    flat, unravel = ravel_pytree(jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), tree))
    assert len(flat) == count
    vector = 0.3 * rng.standard_normal(count, np.float32)
    np.save(tmp_path / "multi_OPEN.npy", vector)
    loaded = celo2.load_theta(tmp_path / "multi_OPEN.npy")
    tree = unravel(jnp.asarray(vector))
    jax.tree.map(np.testing.assert_array_equal, loaded, tree)
    # What is equal for all parameters, training and epoch, is said once.
    x[:, [15, 17]] = x[0, [15, 17]]
    after, _ = jax.jit(cell.apply)(tree["gru_params"], h, x)
    seen = rule_open._Seen(x[:, rule_open._OWN].T, x[0, rule_open._ALL])
    hidden_rows, outputs = jax.jit(rule_open._network)(loaded, seen, h.T)
    np.testing.assert_allclose(hidden_rows.T, after, atol=1e-6)
    np.testing.assert_allclose(outputs.T, jax.jit(mlp.apply)(tree["params"], after), atol=3e-6)
    celo2.save_checkpoint(tmp_path / "ours.theta", loaded)
    jax.tree.map(np.testing.assert_array_equal, celo2.load_theta(tmp_path / "ours.theta"), loaded)


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        (np.ones(1_210, np.float32), r"holds 1,211 \(GRU 8, MLP 16\) or 3,571 .* has shape \(1210,\)"),
        (np.ones((1, 1_211), np.float32), r"in one row, this array has shape \(1, 1211\)"),
        (np.float32(1), r"has shape \(\)"),
        (np.ones(1_211, int), "must hold floating-point numbers, this .npy file has int64"),
        (np.asarray([{}], object), "must hold floating-point numbers, this .npy file has object"),
        (np.full(1_211, np.nan), "'gru_params/params/hn/bias' holds NaN|holds NaN or infinite"),
        (np.full(1_211, 1e300), "holds NaN or infinite"),
    ],
)
def test_a_vector_that_is_none_of_opens_is_refused(saved, message, tmp_path):
    path = tmp_path / "mine.npy"
    np.save(path, saved)
    with pytest.raises(ValueError, match=f"mine.npy: .*({message})"):
        celo2.open_rule(path)


@pytest.mark.parametrize("kept", [8, 100, 2_000])
def test_a_vector_that_is_cut_short_is_refused(kept, tmp_path):
    path = tmp_path / "mine.npy"
    np.save(path, np.ones(1_211, np.float32))
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"mine.npy: (not a readable .npy file|the .npy file is cut short or damaged)"):
        celo2.load_theta(path)


def test_a_vector_that_claims_to_be_huge_is_refused_at_once(tmp_path):
    path = tmp_path / "mine.npy"
    np.save(path, np.ones(1_211, np.float32))
    data = path.read_bytes().replace(b"(1211,)", b"(1211000000000,)", 1)
    path.write_bytes(data.replace(b" " * 20, b" " * 11, 1))
    with pytest.raises(ValueError, match=r"mine\.npy"):
        celo2.load_theta(path)


@pytest.mark.parametrize("lacking", rule_open.TOLD)
def test_what_no_agent_told_is_asked_for_by_name(lacking):
    tx = celo2.open_rule(theta())
    told = {name: value for name, value in TOLD.items() if name != lacking}
    with pytest.raises(ValueError, match=rf"open reads what RL agents tell: .*\['{lacking}'\]"):
        tx.update(PARAMS, tx.init(PARAMS), PARAMS, **told)


def test_what_is_told_must_fit_the_parameters():
    tx = celo2.open_rule(theta())
    state = tx.init(PARAMS)
    for name in ("is_actor", "dormancy"):
        with pytest.raises(ValueError, match=rf"{name} lacks the tensor \['critic'\]\['w'\]"):
            tx.update(PARAMS, state, PARAMS, **TOLD | {name: {"actor": TOLD[name]["actor"]}})
    with pytest.raises(ValueError, match=r"dormancy of shape \(5,\) was given for a parameter of shape \(2,\)"):
        tx.update(PARAMS, state, PARAMS, **TOLD | {"dormancy": jax.tree.map(lambda _: jnp.ones(5), PARAMS)})


@pytest.mark.parametrize(
    ("course", "message"),
    [
        ({"num_steps": 0}, "num_steps must be a whole number of at least 1, got 0"),
        ({"num_steps": 4, "epochs": 1.5}, "epochs must be a whole number of at least 1, got 1.5"),
        ({"num_steps": 4, "steps_per_batch": 6, "epochs": 4}, "6 updates of a batch .* each of 4 epochs"),
    ],
)
def test_an_impossible_course_is_refused(course, message):
    with pytest.raises(ValueError, match=message):
        celo2.open_rule(theta(), **course)


def test_shares_of_training_and_epochs_are_the_published_ones():
    """Of three iterations of two epochs of two minibatches: iteration / 2, and 0 or 1."""
    for update in range(12):
        told = {"progress": np.float32(update) / np.float32(12), "epoch": 0.123}
        training, epoch = rule_open._course(told, 12, 4, 2)
        assert (float(training), float(epoch)) == (update // 4 / 2, update % 4 // 2)
        assert [float(x) for x in rule_open._course(told, None, 1, 1)] == pytest.approx(list(told.values()))
    long = 5_000_000
    for update in (0, 31, 32, 12_345, long - 1):
        progress = jnp.float32(update) / jnp.float32(long)
        training, epoch = rule_open._course({"progress": progress}, long, 32, 4)
        assert float(training) == pytest.approx(update // 32 / (long // 32 - 1), abs=1e-7)
        assert float(epoch) == pytest.approx(update % 32 // 8 / 3)
    assert [float(x) for x in rule_open._course({"progress": 0.0}, 1, 1, 1)] == [0, 0]


def mlp(*names):
    return {name: {"kernel": (8, 8), "bias": (8,)} for name in names}


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        # The published networks: layers of flax, numbers of a normal distribution behind them.
        (
            {"actor": {"params": mlp("Dense_0", "Dense_1", "Dense_2")}, "critic": mlp("Dense_0", "Dense_1", "Dense_2")},
            {"Dense_0": {0.0}, "Dense_1": {0.5}, "Dense_2": {1.0}},
        ),
        (
            {"params": {**mlp("Dense_0", "Dense_1"), "log_std": (3,)}},
            {"Dense_0": {0}, "Dense_1": {0.5}, "log_std": {1}},
        ),
        # Ours.
        (
            {"actor": {**mlp("input", "hidden_1", "hidden_2", "head")}, "critic": mlp("input", "head")},
            {"input": {0.0}, "hidden_1": {1 / 3}, "hidden_2": {2 / 3}, "head": {1.0}},
        ),
        (
            {**mlp("input", "conv_1", "hidden_1", "policy_head", "value_head")},
            {"input": {0.0}, "conv_1": {1 / 3}, "hidden_1": {2 / 3}, "policy_head": {1.0}, "value_head": {1.0}},
        ),
        (mlp("head"), {"head": {0.0}}),
    ],
)
def test_a_layers_share_is_its_place(params, expected):
    params = jax.tree.map(jnp.ones, params, is_leaf=lambda x: isinstance(x, tuple))
    acts = jax.tree.leaves(telling.is_actor(params))
    found = {}
    for (path, _), share in zip(jax.tree.leaves_with_path(params), depth.shares(params, acts), strict=True):
        layer = next(name for name in expected if name in jax.tree_util.keystr(path))
        found.setdefault(layer, set()).add(share)
    assert found == expected


def test_every_network_of_the_agents_begins_at_0_and_ends_at_1():
    for network in (
        networks.SeparateActorCritic(3, (8, 8), nn.relu),
        networks.SharedActorCritic(3, (8,), nn.relu, convolutions=((4, 3, 1), (4, 3, 1))),
        networks.QNetwork(3, (8, 8), nn.relu, layer_norm=True),
    ):
        params = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 10, 10, 4)))
        shares = depth.shares(params, jax.tree.leaves(telling.is_actor(params)))
        for (path, _), share in zip(jax.tree.leaves_with_path(params), shares, strict=True):
            name = jax.tree_util.keystr(path)
            assert share == (0 if "'input'" in name else 1 if "head" in name else pytest.approx(share)), name
            assert 0 <= share <= 1
        assert len(set(shares)) >= 3


def test_noise_moves_the_actor_alone():
    tx = celo2.open_rule(theta())
    state, told = tx.init(PARAMS), {name: value for name, value in TOLD.items() if name != "is_actor"}
    steps = []
    for key in (0, 1):
        update = jax.jit(
            lambda key: tx.update(PARAMS, state, PARAMS, **told | {"is_actor": TOLD["is_actor"], "key": key})
        )
        steps.append(update(jax.random.key(key))[0])
    moved = jax.tree.map(lambda a, b: a - b, *steps)
    # The mean over all parameters, which is taken off, moves all of the critic alike.
    assert np.ptp(moved["critic"]["w"]) < 1e-9
    assert np.std(moved["actor"]["w"]) > 1e-5
    for tree in steps:
        assert abs(float(ravel_pytree(tree)[0].mean())) < 1e-8


def test_seeds_side_by_side_take_the_steps_that_each_takes_alone():
    tx = celo2.open_rule(theta(), num_steps=40, steps_per_batch=4, epochs=2)

    def two(params, key):
        def step(carry, t):
            told = TOLD | {"progress": t / 40, "key": jax.random.fold_in(key, t)}
            updates, state = tx.update(carry[0], carry[1], carry[0], **told)
            return (optax.apply_updates(carry[0], updates), state), None

        return jax.lax.scan(step, (params, tx.init(params)), jnp.arange(2))[0]

    keys = jax.random.split(jax.random.key(1), 2)
    populations = jax.tree.map(lambda x: jnp.stack([x, 2 * x]), PARAMS)
    together = jax.jit(jax.vmap(two))(populations, keys)
    alone = jax.jit(two)(jax.tree.map(lambda x: 2 * x, PARAMS), keys[1])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[1], b, rtol=1e-5, atol=1e-7), together, alone)


def test_random_weights_are_those_of_a_fresh_network():
    found = celo2.init_theta("open", jax.random.key(0), gru=16, hidden=32)
    gru, perceptron = found["gru_params"]["params"], found["params"]["params"]
    for gate in "rzn":
        np.testing.assert_allclose(gru[f"h{gate}"]["kernel"] @ gru[f"h{gate}"]["kernel"].T, np.eye(16), atol=1e-5)
    assert np.std(gru["ir"]["kernel"]) == pytest.approx(19**-0.5, rel=0.15)
    assert np.all(perceptron["layers_1"]["scale"] == 1)
    assert not np.any(perceptron["layers_6"]["bias"])
    assert re.fullmatch("open", celo2.checks.rule_of(found))


def test_a_state_that_was_written_and_read_goes_on_with_the_same_numbers():
    tx = celo2.open_rule(theta())

    @jax.jit
    def step(params, state, t):
        updates, state = tx.update(PARAMS, state, params, **TOLD | {"key": jax.random.fold_in(TOLD["key"], t)})
        return optax.apply_updates(params, updates), state

    at = PARAMS, tx.init(PARAMS)
    for t in range(2):
        at = step(*at, t)
    read = flax.serialization.from_bytes((PARAMS, tx.init(PARAMS)), flax.serialization.to_bytes(at))
    for t in range(2, 4):
        at, read = step(*at, t), step(*read, t)
    jax.tree.map(np.testing.assert_array_equal, at, read)
    assert at[1].count == 4
