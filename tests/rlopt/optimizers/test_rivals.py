"""Optimizers that optax does not have: their equations, and what they come to on a quadratic."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special

from rlopt.optimizers.rivals import ano, matrices, shampoo, soap, trac

RNG = np.random.default_rng(0)
G = RNG.normal(size=(3, 5)).astype(np.float32)


def updates(tx, params, grads):
    """The update for each gradient, of parameters that move, and the parameters at the end, in one program."""

    def step(carry, g):
        params, state = carry
        found, state = tx.update(g, state, params)
        return (optax.apply_updates(params, found), state), found

    run = jax.jit(lambda params, grads: jax.lax.scan(step, (params, tx.init(params)), grads))
    (params, _), found = run(jnp.asarray(params, jnp.float32), jnp.asarray(grads, jnp.float32))
    return found, params


def test_ano_takes_the_sign_of_the_momentum_and_the_length_of_the_gradient():
    (one, two), _ = updates(ano.ano(1.0), jnp.zeros(2), [[1.0, -2], [-0.5, -4]])
    np.testing.assert_allclose(one, [-1, 1], rtol=1e-5)
    v = np.asarray([0.01, 0.04])
    v = 0.99 * v + 0.01 * np.asarray([0.25, 16.0])  # both squares are above v
    np.testing.assert_allclose(two, [-0.5, 4] / np.sqrt(v / (1 - 0.99**2)), rtol=1e-5)  # m: 0.092 * 0.8 - ... > 0, < 0


def test_ano_forgets_large_gradients_slowly():
    """Yogi's rule takes the new square away where it is smaller than v."""
    tx = ano.scale_by_ano(b2=0.9)
    state = tx.init(jnp.zeros(()))._replace(nu=jnp.float32(1.0))
    assert np.isclose(tx.update(jnp.float32(0.5), state)[1].nu, 0.9 - 0.1 * 0.25)


def test_erfi_is_the_one_of_scipy():
    x = np.linspace(-7.9, 7.9, 101)
    np.testing.assert_allclose(trac.erfi(jnp.asarray(x, jnp.float32)), scipy.special.erfi(x), rtol=1e-4)


def test_trac_is_its_equations():
    grads = np.asarray([[1.0, 0.5], [0.9, 0.7], [1.1, -0.2]])
    _, end = updates(trac.trac_of(optax.sgd(0.1)), np.zeros(2), grads)  # where parameters are exact
    betas = np.asarray(trac.BETAS)
    way, v, sigma = np.zeros(2), np.zeros(6), np.full(6, 1e-8)
    for g in grads:
        h = g @ way
        v, sigma = betas**2 * v + h**2, betas * sigma - h
        share = np.sum(1e-8 / scipy.special.erfi(0.5**0.5) * scipy.special.erfi(sigma / (np.sqrt(2 * v) + 1e-8)))
        way = way - 0.1 * g
    np.testing.assert_allclose(end, share * way, rtol=1e-4)
    assert 0 < share < 1e-6
    with pytest.raises(ValueError, match="trac reads the parameters"):
        trac.trac(0.1).update(jnp.ones(2), trac.trac(0.1).init(jnp.ones(2)))


def test_namo_shrinks_with_the_noise():
    tx = matrices.scale_by_namo()
    q = np.linalg.qr(RNG.normal(size=(4, 4)))[0].astype(np.float32)
    (one, *_, steady), _ = updates(tx, jnp.zeros((4, 4)), [q] * 40)
    # Orth(q) is q times a number that the iteration makes of singular values of 1/2.
    size = float(np.sum(one * q) / 4)
    agreement = 2 * 0.0975 / 0.1
    assert 0.7 < size / (0.2 * 2 * agreement) < 1.2
    np.testing.assert_allclose(steady, one / agreement, rtol=2e-2)  # gradients that agree: agreement 1
    *_, noisy = updates(tx, jnp.zeros((4, 4)), list(RNG.normal(size=(40, 4, 4)).astype(np.float32)))[0]
    assert np.linalg.norm(noisy) < 0.5 * np.linalg.norm(steady)


def test_muonh_keeps_the_norm_and_moves_by_its_rate():
    tx = optax.chain(optax.contrib.scale_by_muon(), matrices.on_sphere(0.1))
    start = RNG.normal(size=(3, 5)).astype(np.float32)
    (one, *_), end = updates(tx, start, [G, 2 * G, -G])
    np.testing.assert_allclose(np.linalg.norm(end), np.linalg.norm(start), rtol=1e-5)
    assert 0.05 < np.linalg.norm(one) / np.linalg.norm(start) < 0.11
    (still,), _ = updates(tx, np.zeros((3, 5), np.float32), [G])
    np.testing.assert_array_equal(still, 0)


@pytest.mark.parametrize("graft", ["adagrad", "sgd"])
def test_the_first_step_of_shampoo_is_the_polar_factor_in_the_other_ones_size(graft):
    tx = shampoo.scale_by_shampoo(graft=graft, eps=1e-9)
    (step, again), _ = updates(tx, jnp.zeros((3, 5)), [G, 2 * G])
    u, _, v = np.linalg.svd(G, full_matrices=False)
    other = [np.sign(G), G] if graft == "adagrad" else [G, 2 * G]
    if graft == "adagrad":
        other[1] = 2 / 5**0.5 * np.sign(G)
    for found, size in zip((step, again), map(np.linalg.norm, other), strict=True):
        np.testing.assert_allclose(found, size * u @ v / 3**0.5, atol=2e-2 * size)


def test_shampoo_follows_its_equations_on_three_axes_and_leaves_long_ones_alone():
    grads = RNG.normal(size=(3, 2, 3, 4)).astype(np.float32)
    found, _ = updates(
        shampoo.scale_by_shampoo(b2=0.9, interval=1, graft="sgd", most=3), jnp.zeros((2, 3, 4)), list(grads)
    )
    left, middle = np.zeros((2, 2)), np.zeros((3, 3))

    def root(m):
        values, vectors = np.linalg.eigh(m)
        return vectors @ np.diag((values + 1e-6 * values[-1]) ** -0.25) @ vectors.T

    for g, step in zip(grads.astype(np.float64), found, strict=True):
        left = 0.9 * left + 0.1 * np.einsum("iab,jab->ij", g, g)
        middle = 0.9 * middle + 0.1 * np.einsum("aib,ajb->ij", g, g)
        direction = np.einsum("ia,jb,abk->ijk", root(left), root(middle), g)
        expected = direction * np.linalg.norm(g) / np.linalg.norm(direction)
        np.testing.assert_allclose(step, expected, atol=1e-3)


def test_soap_is_adam_in_the_bases():
    """With the basis of the first gradient, until it is computed anew; signs and order of its vectors do not matter."""
    grads = RNG.normal(size=(4, 3, 5)).astype(np.float32)
    (first, *found), _ = updates(soap.scale_by_soap(0.9, 0.99), jnp.zeros((3, 5)), list(grads))
    np.testing.assert_array_equal(first, 0)
    left, right = (np.linalg.eigh(x)[1] for x in (grads[0] @ grads[0].T, grads[0].T @ grads[0]))
    # The two vectors of the right basis that have no singular value are any: compared within the others.
    right = right[:, -3:]
    m = v = 0.0
    for t, (g, step) in enumerate(zip(grads[1:], found, strict=True), start=1):
        m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * (left.T @ g @ right) ** 2
        inside = left.T @ m @ right / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.99**t)) + 1e-8)
        np.testing.assert_allclose(left.T @ np.asarray(step) @ right, inside, atol=2e-3)


def test_soap_below_rank_2_is_adam_one_step_later():
    grads = list(RNG.normal(size=(4, 6)).astype(np.float32))
    _, moved = updates(soap.soap(0.1, b1=0.9, b2=0.99), jnp.zeros(6), grads)
    _, expected = updates(optax.adam(0.1, 0.9, 0.99), jnp.zeros(6), grads[1:])
    np.testing.assert_allclose(moved, expected, rtol=1e-4)


def test_on_a_badly_conditioned_quadratic_the_ones_with_matrices_are_ahead():
    """0.5 tr((W - T)' A (W - T)), A with eigenvalues 1 to 1e-3 in random directions; the best of four rates, 200 steps."""
    basis = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))[0]
    a = jnp.asarray(basis * 10.0 ** np.linspace(-3, 0, 6) @ basis.T, jnp.float32)
    target = jnp.asarray(np.random.default_rng(2).normal(size=(6, 4)), jnp.float32)
    makers = {"adam": optax.adam, "soap": soap.soap, "shampoo": functools.partial(shampoo.shampoo, interval=1)}

    @jax.jit
    def run(rate):
        def train(make):
            def step(carry, t):
                w, state = carry
                found, state = make(rate * (1 - t / 200)).update(a @ (w - target), state, w)
                return (w + found, state), None

            (w, _), _ = jax.lax.scan(step, (jnp.zeros_like(target), make(rate).init(target)), jnp.arange(200))
            return 0.5 * jnp.sum((w - target) * (a @ (w - target)))

        return {name: train(make) for name, make in makers.items()}

    found = [run(rate) for rate in (0.01, 0.03, 0.1, 0.3)]
    best = {name: min(float(x[name]) for x in found) for name in makers}
    assert best["soap"] < 0.5 * best["adam"], found
    assert best["shampoo"] < 0.5 * best["adam"], found
