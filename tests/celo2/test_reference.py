"""Every fast path against the plain implementation in `reference.py`: random trees, shapes, scales and dtypes."""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import celo2
from helpers import by_default

SPEC = importlib.util.spec_from_file_location("reference", Path(__file__).with_name("reference.py"))
reference = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(reference)

STEPS = 4
NUM_STEPS = 30  # of the schedules
TREES = 20  # random trees per tree of shapes
SHAPES = (
    {"scalar": (), "bias": (7,), "wide": (4, 9), "square": (5, 5), "stack": (2, 3, 4)},
    {"one": (1,), "bias": (16,), "tall": (13, 3), "column": (6, 1), "conv": (3, 2, 2, 4)},
)
# Weights that were trained, and weights that were not, which use every input.
THETAS = (
    lambda rule: celo2.load_theta(rule),
    lambda rule: celo2.init_theta(rule.removesuffix("_base"), jax.random.key(7)),
)
shapes = pytest.mark.parametrize("shapes", SHAPES, ids=["tree 1", "tree 2"])


def draw(shapes, seed, dtype):
    """Parameters, gradients over time [STEPS, ...] at a random scale per tensor, and losses; rounded to dtype."""
    rng = np.random.default_rng(seed)

    def rounded(x):
        return np.asarray(jnp.asarray(x, dtype).astype(jnp.float32))

    params, grads = {}, {}
    for name, shape in shapes.items():
        scale = 10 ** rng.uniform(-3, 1)
        params[name] = rounded(rng.normal(size=shape))
        signal = rng.normal(size=shape)
        grads[name] = rounded(scale * (0.5 * signal + rng.normal(size=(STEPS, *shape))))
    return params, grads, np.cumsum(rng.uniform(-0.3, 0.1, STEPS)).astype(np.float32) + 3


def fast(tx, params, grads, losses, dtype):
    """Updates over time, [STEPS, ...], of parameters that stay, as float32."""
    tx = optax.with_extra_args_support(tx)
    params = jax.tree.map(lambda x: jnp.asarray(x, dtype), params)

    def step(state, xs):
        g, loss = xs
        updates, state = tx.update(jax.tree.map(lambda x: x.astype(dtype), g), state, params, value=loss)
        return state, jax.tree.map(lambda u: u.astype(jnp.float32), updates)

    return jax.lax.scan(step, tx.init(params), (grads, losses))[1]


def all_of(make, rule, shapes, dtype=jnp.float32):
    """(theta, params, grads, losses, updates) of `TREES` random trees for each of `THETAS`, in one program."""
    drawn = [draw(shapes, seed, dtype) for seed in range(TREES)]
    stacked = jax.tree.map(lambda *x: np.stack(x), *drawn)
    program = jax.jit(lambda theta, trees: jax.lax.map(lambda tree: fast(make(theta), *tree, dtype), trees))
    for load in THETAS:
        theta = load(rule)
        updates = jax.tree.map(np.asarray, program(theta, stacked))
        for i, tree in enumerate(drawn):
            yield theta, *tree, jax.tree.map(lambda u, i=i: u[i], updates)


def raised(x):
    """In float64, and a scalar as a tensor of one element."""
    x = np.asarray(x, np.float64)
    return x.reshape(x.shape or (1,))


def assert_close(found, expected, tolerance, message):
    """Up to a share of the largest entry."""
    bound = tolerance * np.max(np.abs(expected)) + 1e-12
    np.testing.assert_allclose(np.reshape(found, np.shape(expected)), expected, atol=bound, rtol=0, err_msg=message)


FORMS = {
    "published": {"odd": False, "size": "unit"},
    "odd": {"odd": True, "size": "unit"},
    "odd, Adam's size": {"odd": True, "size": "adam"},
}


# The two forms that differ most, on one tree each, plain and orthogonalised; the other combinations are slow.
CELO2 = {
    f"{'orthogonalised' if orthogonalize else 'plain'}-{form}-tree {tree + 1}": (tree, form, orthogonalize)
    for tree in range(len(SHAPES))
    for form in FORMS
    for orthogonalize in (False, True)
}
CELO = {f"{form}-tree {tree + 1}": (tree, form) for tree in range(len(SHAPES)) for form in FORMS}


@pytest.mark.parametrize(
    "case",
    by_default(CELO2, "plain-published-tree 1", "orthogonalised-odd, Adam's size-tree 2"),
)
def test_celo2_is_what_the_paper_says(case):
    tree, form, orthogonalize = case
    shapes = SHAPES[tree]
    settings = {"orthogonalize": orthogonalize, **FORMS[form]}
    rule = "celo2" if orthogonalize else "celo2_base"
    # The iteration enlarges small singular values, and with them what float32 has lost of them.
    tolerances = {name: 2e-2 if orthogonalize and len(shape) > 1 else 1e-3 for name, shape in shapes.items()}
    for theta, params, grads, _, updates in all_of(lambda t: celo2.scale_by_celo2(t, **settings), rule, shapes):
        check_celo2(theta, params, grads, updates, settings, tolerances)


@pytest.mark.parametrize("number", by_default([0, 1], 0))
def test_celo2_in_other_dtypes_is_the_reference_rounded(number):
    shapes, dtype = SHAPES[number], (jnp.bfloat16, jnp.float16)[number]
    settings = {"orthogonalize": False, "odd": True, "size": "adam"}
    shapes = {name: shape for name, shape in shapes.items() if name in ("bias", "stack", "conv")}
    tolerances = dict.fromkeys(shapes, float(jnp.finfo(dtype).eps) + 1e-3)
    found = all_of(lambda theta: celo2.scale_by_celo2(theta, **settings), "celo2_base", shapes, dtype)
    for theta, params, grads, _, updates in found:
        check_celo2(theta, params, grads, updates, settings, tolerances)


def check_celo2(theta, params, grads, updates, settings, tolerances):
    for name, tolerance in tolerances.items():
        p = raised(params[name])
        stats = reference.Statistics(p.shape, 0.95)
        for t in range(STEPS):
            expected = reference.celo2_step(theta, raised(grads[name][t]), p, stats, **settings)
            assert_close(updates[name][t], expected, tolerance, f"{name}, step {t}")


@pytest.mark.parametrize("case", by_default(CELO, "published-tree 1", "odd, Adam's size-tree 2"))
def test_celo_is_what_the_paper_says(case):
    tree, form = case
    shapes = SHAPES[tree]

    def make(theta):
        return celo2.scale_by_celo(NUM_STEPS, theta, **FORMS[form])

    for theta, params, grads, losses, updates in all_of(make, "celo", shapes):
        schedule = reference.Schedule(theta, NUM_STEPS)
        eta = [schedule(float(loss)) for loss in losses]
        for name in shapes:
            p = raised(params[name])
            stats = reference.Statistics(p.shape, 0.999)
            for t in range(STEPS):
                expected = reference.celo_step(theta, raised(grads[name][t]), p, stats, eta[t], **FORMS[form])
                assert_close(updates[name][t], expected, 1e-2, f"{name}, step {t}")


@shapes
def test_celo_adam_is_what_the_paper_says(shapes):
    found = all_of(lambda theta: celo2.scale_by_celo_adam(NUM_STEPS, theta), "celo_adam", shapes)
    for theta, _, grads, losses, updates in found:
        schedule = reference.Schedule(theta, NUM_STEPS)
        eta = [schedule(float(loss)) for loss in losses]
        for name in shapes:
            moments = [0.0, 0.0]
            for t in range(STEPS):
                expected = reference.celo_adam_step(raised(grads[name][t]), moments, t + 1, eta[t])
                assert_close(updates[name][t], expected, 1e-3, f"{name}, step {t}")
