"""optax's conventions: the sign of a `scale_by_*`, donated states, `map_params`, strict modes of jax."""

import inspect

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec as P
from optax.contrib import MuonDimensionNumbers

import celo2
from celo2.baselines.thetas import BASELINES
from helpers import by_default

THETA = celo2.init_theta("celo2", jax.random.key(0))
PARAMS = {"kernel": jnp.linspace(-1.0, 1.0, 12).reshape(4, 3), "bias": jnp.asarray([0.5, -0.2, 0.1])}
GRADS = {"kernel": jnp.cos(PARAMS["kernel"] * 40), "bias": jnp.asarray([1.0, -2.0, 3.0])}

# With the packaged weights: a rule that was never trained need not descend.
DIRECTIONS = {
    "scale_by_celo2": lambda: celo2.scale_by_celo2(),
    "scale_by_celo2_base": lambda: celo2.scale_by_celo2(orthogonalize=False),
    "scale_by_celo2_published": lambda: celo2.scale_by_celo2("celo2_v1"),
    "scale_by_celo": lambda: celo2.scale_by_celo(100),
    "scale_by_celo_phase1": lambda: celo2.scale_by_celo(100, use_scheduler=False),
    "scale_by_celo_adam": lambda: celo2.scale_by_celo_adam(100),
    "scale_by_step_head": lambda: celo2.scale_by_step_head(jnp.full(11, 0.1), 100),
    "graft": lambda: celo2.graft(optax.scale_by_adam()),
}
COMPLETE = {
    "celo2": lambda: celo2.celo2(0.01, THETA),
    "celo2_rl": lambda: celo2.celo2(0.01, **celo2.RL),
    "celo2_base": lambda: celo2.celo2_base(0.01, THETA),
    "celo": lambda: celo2.celo(10, celo2.init_theta("celo", jax.random.key(0))),
    "celo_sized": lambda: celo2.celo(10, celo2.init_theta("celo", jax.random.key(0)), odd=True, size="adam"),
    "celo_adam": lambda: celo2.celo_adam(10, celo2.init_theta("celo_adam", jax.random.key(0))),
    "graft": lambda: celo2.graft(optax.scale_by_lion()),
    "graft_snr": lambda: celo2.graft(optax.scale_by_lion(), "snr"),
}
complete = pytest.mark.parametrize("make", COMPLETE.values(), ids=COMPLETE)


def update(tx, state, value=1.0):
    return jax.jit(optax.with_extra_args_support(tx).update)(GRADS, state, PARAMS, value=value)


@pytest.mark.parametrize(
    "make",
    by_default(
        DIRECTIONS, *(name for name in DIRECTIONS if name not in ("scale_by_celo2_base", "scale_by_celo_phase1"))
    ),
)
def test_a_direction_has_the_sign_of_the_gradient(make):
    """As optax's own: `optax.chain(scale_by_x(), optax.scale_by_learning_rate(r))` descends."""
    direction, _ = update(make(), make().init(PARAMS))
    for name, step in direction.items():
        assert float(jnp.sum(step * GRADS[name])) > 0, name


def test_every_direction_is_tried():
    # Weights that nobody trained have no direction; that of the baselines is the published code's (test_baselines.py).
    untrained = {f"scale_by_{name}" for name in BASELINES}
    public = {name for name in celo2.__all__ if name.startswith("scale_by_")} - untrained
    assert {name for name in public if not any(tried.startswith(name) for tried in DIRECTIONS)} == set()


@pytest.mark.parametrize(
    ("complete", "direction"),
    [
        pytest.param(lambda: celo2.celo(100), DIRECTIONS["scale_by_celo"], marks=pytest.mark.slow),
        pytest.param(
            lambda: celo2.celo(100, use_scheduler=False), DIRECTIONS["scale_by_celo_phase1"], marks=pytest.mark.slow
        ),
        (lambda: celo2.celo_adam(100), DIRECTIONS["scale_by_celo_adam"]),
    ],
    ids=["celo", "celo_phase1", "celo_adam"],
)
def test_a_rule_without_a_learning_rate_subtracts_its_direction(complete, direction):
    steps, state = update(complete(), complete().init(PARAMS))
    chained = optax.chain(direction(), optax.scale(-1.0))
    expected, (same_state, _) = update(chained, chained.init(PARAMS))
    # XLA joins constant factors, here the chain's -1 with the rule's own: the last bit may differ.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=3e-7), (steps, state), (expected, same_state))


@pytest.mark.parametrize(
    "functions", [("celo", "scale_by_celo"), ("celo_adam", "scale_by_celo_adam")], ids=["celo", "celo_adam"]
)
def test_a_rule_and_its_direction_take_the_same_arguments(functions):
    whole, direction = (inspect.signature(getattr(celo2, name)).parameters for name in functions)
    assert [name for name in whole if name != "multiplier"] == list(direction)
    assert list(whole)[:2] == ["num_steps", "theta"]


@complete
def test_a_fresh_state_can_be_donated(make):
    """No two of its arrays are one buffer."""
    tx = optax.with_extra_args_support(make())
    step = jax.jit(lambda state: tx.update(GRADS, state, PARAMS, value=1.0)[1], donate_argnums=0)
    state = step(step(tx.init(PARAMS)))
    assert all(bool(jnp.all(jnp.isfinite(x))) for x in jax.tree.leaves(state))


@complete
def test_map_params_reaches_the_statistics_and_nothing_else(make):
    tx = optax.with_extra_args_support(make())
    state = tx.init(PARAMS)
    mapped = optax.tree.map_params(tx, lambda x: x + 7.0, state)
    changed = {
        jax.tree_util.keystr(path)
        for (path, old), new in zip(jax.tree.leaves_with_path(state), jax.tree.leaves(mapped), strict=True)
        if not np.array_equal(old, new)
    }
    expected = {
        name
        for name in map(jax.tree_util.keystr, dict(jax.tree.leaves_with_path(state)))
        if "kernel" in name or "bias" in name
    }
    assert changed == expected


@pytest.mark.mesh
@complete
def test_statistics_lie_where_their_parameters_do(make):
    mesh = jax.make_mesh((4,), ("model",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("model"))
    params = jax.device_put({"kernel": jnp.ones((8, 4)), "bias": jnp.ones(4)}, sharding)
    state = optax.with_extra_args_support(make()).init(params)
    large = {
        jax.tree_util.keystr(path): x
        for path, x in jax.tree.leaves_with_path(state)
        if x.size >= 32 and "kernel" in jax.tree_util.keystr(path)
    }
    assert large
    for name, x in large.items():
        assert x.sharding.shard_shape(x.shape) == (*x.shape[:-2], 2, 4), name


@pytest.mark.mesh
def test_statistics_of_stacked_layers_lie_where_their_parameters_do():
    mesh = jax.make_mesh((4,), ("model",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(None, None, "model"))
    params = {"kernel": jax.device_put(jnp.ones((3, 8, 4)), sharding)}
    tx = celo2.scale_by_celo2(weight_dimension_numbers={"kernel": MuonDimensionNumbers(1, 2)})
    large = [x for x in jax.tree.leaves(tx.init(params)) if x.size >= 96]
    assert len(large) == 3  # momenta, second moment, Adam's
    assert all(x.sharding.shard_shape(x.shape) == (*x.shape[:-1], 1) for x in large)
    # Three arrays, not one thrice, since states may be donated.
    assert len({x.addressable_shards[0].data.unsafe_buffer_pointer() for x in large}) == 3


@pytest.mark.parametrize(
    "make", by_default(COMPLETE, *(set(COMPLETE) - {"celo2_base", "celo2_rl", "celo", "celo_sized"}))
)
def test_boxed_parameters_of_flax_get_boxed_statistics(make):
    """`nn.with_partitioning`: the same updates, and the layout of the state follows from that of the parameters."""
    names = {"kernel": ("rows", "columns"), "bias": ("columns",)}
    boxed = {name: nn.Partitioned(PARAMS[name], names[name]) for name in names}
    grads = {name: nn.Partitioned(GRADS[name], names[name]) for name in names}
    plain = [{name: tree[name] for name in names} for tree in (GRADS, PARAMS)]
    tx = optax.with_extra_args_support(make())
    update = jax.jit(lambda g, s, p: tx.update(g, s, p, value=1.0))
    state = tx.init(boxed)
    for _ in range(2):
        updates, state = update(grads, state, boxed)
    expected_state = tx.init(plain[1])
    for _ in range(2):
        expected, expected_state = update(plain[0], expected_state, plain[1])
    assert jax.tree.structure(updates) == jax.tree.structure(boxed)
    for ours, theirs in ((nn.unbox(updates), expected), (nn.unbox(state), expected_state)):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), ours, theirs)
    specs = jax.tree.leaves_with_path(nn.get_partition_spec(state), is_leaf=lambda x: isinstance(x, P))
    shapes = {jax.tree_util.keystr(path): x.shape for path, x in jax.tree.leaves_with_path(nn.unbox(state))}
    laid_out = 0
    for path, spec in specs:
        shape = shapes.get(jax.tree_util.keystr(path), ())  # boxes that `optax.partition` has emptied
        for axis, size in zip(spec, shape, strict=True) if spec and shape else ():
            assert axis is None or size == {"rows": PARAMS["kernel"].shape[0], "columns": len(PARAMS["bias"])}[axis]
        laid_out += any(spec)
    assert laid_out >= 4


@complete
def test_ranks_need_not_be_promoted(make):
    with jax.numpy_rank_promotion("raise"):
        tx = optax.with_extra_args_support(make())
        jax.eval_shape(lambda: tx.update(GRADS, tx.init(PARAMS), PARAMS, value=1.0))


@complete
def test_statistics_keep_their_dtypes_under_x64(make):
    with jax.enable_x64(True):
        tx = optax.with_extra_args_support(make())
        loss = jnp.ones([], jnp.float64)
        state = tx.init(PARAMS)
        updates, new_state = jax.eval_shape(lambda: tx.update(GRADS, state, PARAMS, value=loss))
        assert [x.dtype for x in jax.tree.leaves(new_state)] == [x.dtype for x in jax.tree.leaves(state)]
        assert {x.dtype for x in jax.tree.leaves(updates)} == {jnp.dtype("float32")}
