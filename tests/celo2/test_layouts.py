"""Dimension numbers: what a tensor's matrices are, and that each learns as it would on its own."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optax.contrib import MuonDimensionNumbers as Axes

import celo2
from celo2 import layouts
from helpers import by_default

THETA = celo2.init_theta("celo2", jax.random.key(0))
CELO = celo2.init_theta("celo", jax.random.key(0))
MAKERS = {
    "published": lambda numbers=None: celo2.scale_by_celo2(THETA, weight_dimension_numbers=numbers),
    "sized": lambda numbers=None: celo2.scale_by_celo2(
        THETA, size="adam", newton_schulz_steps=1, weight_dimension_numbers=numbers
    ),
    "snr": lambda numbers=None: celo2.scale_by_celo2(
        THETA, orthogonalize=False, odd=True, size="snr", still_without_gradient=True, weight_dimension_numbers=numbers
    ),
    "celo": lambda numbers=None: celo2.scale_by_celo(
        10, CELO, use_scheduler=False, odd=True, size="adam", weight_dimension_numbers=numbers
    ),
}


def draw(seed, **shapes):
    keys = jax.random.split(jax.random.key(seed), len(shapes))
    return {name: jax.random.normal(k, shape) for k, (name, shape) in zip(keys, shapes.items(), strict=True)}


def several_steps(tx, steps=2):
    """A compiled function: parameters -> parameters and state after some steps."""

    def step(carry, i):
        params, state = carry
        grads = jax.tree.map(lambda x: jnp.sin((3 + i) * x) * (1 + i), params)
        updates, state = tx.update(grads, state, params)
        return (optax.apply_updates(params, jax.tree.map(lambda u: -0.1 * u, updates)), state), None

    def run(params):
        return jax.lax.scan(step, (params, tx.init(params)), jnp.arange(float(steps)))[0]

    return jax.jit(run)


@pytest.mark.parametrize("maker", by_default(["sized", "snr", "celo"], "snr"))
def test_stacked_layers_learn_what_separate_ones_do(maker):
    """Layers [layers, in, out] as a scan over them has them.

    The published reading factors the two longest axes, here the layers among them: far from it.
    """
    stack = jnp.stack([(2.0**i) * draw(i, w=(6, 5))["w"] for i in range(8)])
    tx = MAKERS[maker]
    together, state = several_steps(tx({"w": Axes(1, 2)}))({"w": stack})
    published = several_steps(tx())
    for i in range(len(stack)):
        alone, _ = published({"w": stack[i]})
        np.testing.assert_allclose(together["w"][i], alone["w"], rtol=1e-4, atol=1e-5)
    assert state.m["w"].shape[1:] == state.v["w"].shape == stack.shape
    shared, _ = published({"w": stack})
    assert jnp.linalg.norm(shared["w"] - together["w"]) > 0.01 * jnp.linalg.norm(together["w"] - stack)


# Statistics are the same for all, the size is what may go wrong besides.
@pytest.mark.slow
@pytest.mark.parametrize("maker", ["sized", "celo"])
def test_any_order_of_axes_is_the_matrix_that_it_stands_for(maker):
    """Attention [in, heads, dim] and [heads, dim, out], a kernel [out, in], heads as a batch [in, heads, dim]."""
    matrix = draw(0, w=(6, 12))["w"]
    published = several_steps(MAKERS[maker]())
    flat, _ = published({"w": matrix})
    params = {
        "query": matrix.reshape(6, 3, 4),
        "out": matrix.reshape(2, 3, 12),
        "torch": matrix.T,
        "plain": matrix,
    }
    numbers = {"query": Axes(0, (1, 2)), "out": Axes((0, -2), -1), "torch": Axes(1, 0), "plain": None}
    found, _ = several_steps(MAKERS[maker](numbers))(params)
    expected = {"query": flat["w"].reshape(6, 3, 4), "out": flat["w"].reshape(2, 3, 12), "plain": flat["w"]}
    for name, value in (expected | {"torch": flat["w"].T}).items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-5, err_msg=name)
    heads, _ = several_steps(MAKERS[maker](lambda params: {"w": Axes(0, 2)}))({"w": params["query"]})
    for i in range(3):
        alone, _ = published({"w": params["query"][:, i]})
        np.testing.assert_allclose(heads["w"][:, i], alone["w"], rtol=1e-4, atol=1e-5)


def test_a_tree_for_all_tensors_serves_an_optimizer_that_takes_some():
    params = {"hidden": draw(0, kernel=(2, 5, 5), bias=(2, 5)), "policy_head": draw(1, kernel=(5, 3))}
    numbers = {"hidden": {"kernel": Axes(1, 2), "bias": None}, "policy_head": {"kernel": Axes()}}
    tx = celo2.celo2_base(1e-2, THETA, weight_dimension_numbers=numbers)
    updates, _ = jax.jit(tx.update)(params, tx.init(params), params)
    plain = celo2.celo2_base(1e-2, THETA)
    update = jax.jit(plain.update)
    for i in range(2):
        one = jax.tree.map(lambda x, i=i: x[i], params["hidden"])
        alone, _ = update({"hidden": one}, plain.init({"hidden": one}), {"hidden": one})
        np.testing.assert_allclose(updates["hidden"]["kernel"][i], alone["hidden"]["kernel"], atol=1e-6)


def test_one_number_for_all_matrices_leaves_vectors_alone():
    params = draw(0, stack=(2, 4, 5), bias=(5,), scalar=())
    found = layouts.resolve(Axes(-2, -1), params)
    by_name = dict(zip(sorted(params), found, strict=True))
    assert by_name["bias"] is by_name["scalar"] is None
    assert by_name["stack"].shape == (2, 4, 5)
    assert layouts.resolve(lambda params: None, params) == [None] * 3


def test_apart_and_together_are_inverse():
    x = jnp.arange(3 * 2 * 4 * 5 * 6.0).reshape(3, 2, 4, 5, 6)
    (layout,) = layouts.resolve({"x": Axes((3, 0), 1)}, {"x": x[0]})
    assert layout == ((2, 3, 0, 1), 5, 12, 4)
    matrices = layout.apart(x, lead=1)
    assert matrices.shape == (3, 5, 12, 4)
    np.testing.assert_array_equal(matrices[1, 2], x[1, :, :, 2].transpose(2, 0, 1).reshape(12, 4))
    np.testing.assert_array_equal(layout.together(matrices, (2, 4, 5, 6), lead=1), x)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"w": Axes(0, 3)}, r"w of shape \(2, 3, 4\) cannot have MuonDimensionNumbers"),
        ({"w": Axes((0, 1), (1, 2))}, "each is given once"),
        ({"w": Axes(0, -3)}, "each is given once"),
        ({"w": Axes((), 1)}, "axes must exist"),
        ({"v": Axes(0, 1)}, r"no dimension numbers are given for w of shape \(2, 3, 4\)"),
        ({"w": (0, 1)}, "no dimension numbers are given for w"),
        (lambda params: {"w": "last"}, "no dimension numbers are given for w"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(numbers, message):
    for name in ("published", "celo"):
        with pytest.raises(ValueError, match=message):
            MAKERS[name](numbers).init({"w": jnp.ones((2, 3, 4))})
