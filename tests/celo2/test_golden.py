"""Equality with numbers made by the published code."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import celo2
from celo2 import accumulators
from celo2.rule_celo2 import newton_schulz


def assert_statistic_equal(ours, theirs):
    """Ours has the decay axis first, and None where the published code has an empty array."""
    if ours is None:
        assert theirs.size == 0
        return
    np.testing.assert_allclose(np.moveaxis(np.asarray(ours), 0, -1).reshape(theirs.shape), theirs, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "orthogonalize", "bias_correction", "tolerance", "jitted"),
    [
        ("celo2_orth", True, False, 5e-5, True),
        ("celo2_orth", True, False, 5e-5, False),
        ("celo2_base", False, False, 1e-5, True),
        ("celo2_base", False, False, 1e-5, False),
        ("celo2_orth_bc", True, True, 5e-5, True),
        ("celo2_base_bc", False, True, 1e-5, True),
    ],
)
def test_updates_follow_the_published_trajectory(golden, name, orthogonalize, bias_correction, tolerance, jitted):
    data = golden(name)
    tx = celo2.scale_by_celo2(data.theta(), orthogonalize=orthogonalize, bias_correction=bias_correction)
    params, grads, expected = data.group("params"), data.group("grads"), data.group("updates")
    update = jax.jit(tx.update) if jitted else tx.update
    state = tx.init({k: v[0] for k, v in params.items()})
    for t in range(len(grads["scalar"])):
        updates, state = update({k: v[t] for k, v in grads.items()}, state, {k: v[t] for k, v in params.items()})
        for k in expected:
            np.testing.assert_allclose(updates[k], expected[k][t], atol=tolerance, rtol=0, err_msg=f"{k} step {t}")
    assert int(state.count) == int(data["iteration"])
    for k, m in state.m.items():
        ours = np.moveaxis(np.asarray(m), 0, -1).reshape(data[f"final_m|{k}"].shape)
        np.testing.assert_allclose(ours, data[f"final_m|{k}"], rtol=1e-5, atol=1e-6)
        for field, published in ((state.row, "vrow"), (state.col, "vcol"), (state.diag, "vdiag")):
            theirs = data[f"final_{published}|{k}"]
            assert_statistic_equal(field[k], theirs)


def test_newton_schulz_equals_the_published_iteration(golden):
    data = golden("newton_schulz")
    outputs = data.group("out")
    for name, x in data.group("in").items():
        np.testing.assert_allclose(newton_schulz(jnp.asarray(x)), outputs[name], atol=1e-4, rtol=0, err_msg=name)


def test_factored_statistics_equal_the_published_ones(golden):
    data = golden("factored_accumulators")
    decays = tuple(float(x) for x in data["decays"])
    axes = data.group("d1_d0")
    for name, grads in data.group("grads").items():
        shape = grads.shape[1:]
        expected_axes = tuple(int(a) for a in axes[name])
        assert (accumulators.factored_axes(shape) or (-1, -1)) == expected_axes
        acc = accumulators.init(jnp.zeros(shape or (1,)), 3, 3)
        for t, g in enumerate(grads):
            g = jnp.asarray(g).reshape(shape or (1,))
            acc = accumulators.update(acc, g, decays, 0.95, decays)
            if expected_axes == (-1, -1):
                fac_g = g * accumulators.diagonal_factor(acc)
            else:
                factors = accumulators.factors(acc)
                fac_g = g * factors.row * factors.col
            for ours, group in ((acc.row, "v_row"), (acc.col, "v_col"), (acc.diag, "v_diag"), (fac_g, "fac_g")):
                theirs = data[f"{group}|{name}"][t]
                assert_statistic_equal(ours, theirs)
