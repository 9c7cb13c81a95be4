"""Which tensor goes where, and what the table says about it."""

import jax
import jax.numpy as jnp
import pytest

import celo2
from agents.networks import actor_critic


def test_routing_sends_heads_embeddings_and_biases_to_adam():
    params = {
        name: {"kernel": jnp.ones((3, 3)), "bias": jnp.ones(3)}
        for name in ("input", "hidden_0", "policy_head", "embed")
    }
    labels = celo2.matrix_labels(params)
    assert {name for name in params if labels[name]["kernel"] == "rule"} == {"input", "hidden_0"}
    assert all(labels[name]["bias"] == "adam" for name in params)
    assert celo2.hidden_matrix_labels(params)["input"]["kernel"] == "adam"


def test_attention_kernels_stay_with_the_rule():
    params = {"MultiHeadDotProductAttention_0": {n: {"kernel": jnp.ones((2, 2))} for n in ("query", "key", "out")}}
    params |= {"overhead": jnp.ones((2, 2)), "lm_head": jnp.ones((2, 2)), "TokenEmbed_0": jnp.ones((2, 2))}
    labels = celo2.matrix_labels(params)
    attention = jax.tree.leaves(labels["MultiHeadDotProductAttention_0"])
    assert attention == ["rule"] * 3
    assert (labels["overhead"], labels["lm_head"]) == ("rule", "adam")


def test_scalars_such_as_log_std_go_to_adam():
    labels = celo2.matrix_labels({"log_std": jnp.zeros(()), "log_stds": jnp.zeros(3), "hidden": jnp.ones((2, 2))})
    assert labels == {"log_std": "adam", "log_stds": "adam", "hidden": "rule"}


def test_a_pattern_and_a_callable_decide():
    params = {"trunk": jnp.ones((3, 3)), "torso": jnp.ones((3, 3)), "bias": jnp.ones(3)}
    assert celo2.labels_by_pattern("^tor")(params) == {"trunk": "rule", "torso": "adam", "bias": "adam"}
    assert celo2.Routing(min_rank=1, pattern="TRUNK")(params) == {"trunk": "adam", "torso": "rule", "bias": "rule"}
    tx = celo2.celo2(1e-2, label_fn=lambda p: jax.tree.map(lambda _: "adam", p), mult_1d=3.0)
    updates, _ = tx.update(params, tx.init(params), params)
    assert jnp.allclose(updates["trunk"], -0.03, rtol=1e-4)


def test_the_table_says_what_goes_where_and_why():
    network = actor_critic("minatar", (10, 10, 4), 6, (128,), "relu")
    params = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 10, 10, 4)))["params"]
    table = celo2.routing_table(params, celo2.hidden_matrix_labels)
    rows = {line.split()[0]: line for line in table.splitlines()}
    assert "3x3x4x16" in rows["input/kernel"]
    assert "named as input" in rows["input/kernel"]
    assert "named as head" in rows["policy_head/kernel"]
    assert "rank 1 < 2" in rows["hidden_1/bias"]
    assert "no exception applies" in rows["hidden_1/kernel"]
    assert table.splitlines()[-1] == "adam: 1,623 parameters, rule: 131,072 parameters"
    assert "the label function says so" in celo2.routing_table(params, lambda p: jax.tree.map(lambda _: "rule", p))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kinds": ("heads",)}, r"unknown kinds of layers \['heads'\]; there are embedding, head, input"),
        ({"min_rank": -1}, "min_rank must be at least 0, got -1"),
        ({"pattern": "("}, r"pattern '\(' is no regular expression"),
    ],
)
def test_bad_routings_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        celo2.Routing(**arguments)
