"""Networks: initial weights are orthogonal, names are routable."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import celo2
from agents import networks
from agents.initializers import orthogonal


@pytest.mark.parametrize("shape", [(8, 3), (3, 8), (64, 64), (3, 3, 4, 16)])
def test_orthogonal_weights_are_orthonormal_times_gain(shape):
    matrix = orthogonal(2.0)(jax.random.key(0), shape).reshape(-1, shape[-1])
    gram = matrix.T @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ matrix.T
    np.testing.assert_allclose(gram, 4 * np.eye(len(gram)), atol=1e-4)


def test_orthogonal_matrices_are_uniform():
    # Every entry of a uniformly random orthogonal n x n matrix has mean 0 and variance 1/n.
    matrices = jax.vmap(lambda key: orthogonal(1.0)(key, (4, 4)))(jax.random.split(jax.random.key(0), 4096))
    np.testing.assert_allclose(matrices.mean(0), 0.0, atol=5 * 0.5 / 64)
    np.testing.assert_allclose(matrices.var(0), 0.25, atol=0.03)


@pytest.mark.parametrize(("network", "shape"), [("mlp", (4,)), ("minatar", (10, 10, 4))])
def test_only_hidden_matrices_go_to_the_learned_rule(network, shape):
    net = networks.actor_critic(network, shape, 3, (16, 16), "relu")
    params = net.init(jax.random.key(0), jnp.zeros((2, *shape)))
    labels = celo2.hidden_matrix_labels(params)
    to_rule = {
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, label in jax.tree_util.tree_leaves_with_path(labels)
        if label == "rule"
    }
    hidden = {"mlp": ("actor/hidden_1", "critic/hidden_1"), "minatar": ("hidden_1", "hidden_2")}[network]
    assert to_rule == {f"params/{name}/kernel" for name in hidden}


def test_initial_policy_is_nearly_uniform_and_shapes_are_right():
    net = networks.actor_critic("mlp", (4,), 3, (16, 16), "tanh")
    obs = jax.random.normal(jax.random.key(1), (7, 4))
    params = net.init(jax.random.key(0), obs)
    logits, values = net.apply(params, obs)
    assert logits.shape == (7, 3)
    assert values.shape == (7,)
    assert float(jnp.abs(logits).max()) < 0.05


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mlpp", (4,), 2, (8,), "tanh"), "unknown network 'mlpp'; there are mlp, shared_mlp, minatar, nature"),
        (("mlp", (4,), 2, (8,), "swish"), "unknown activation 'swish'; there are tanh, relu"),
        (("minatar", (4,), 2, (8,), "relu"), r"needs observations \[H >= 3, W >= 3, C\], got \(4,\)"),
    ],
)
def test_bad_networks_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        networks.actor_critic(*arguments)
