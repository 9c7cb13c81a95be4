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


def matrices(*shapes, layer="Dense_{}", leaf="kernel"):
    return {layer.format(i): {leaf: jnp.zeros(shape), "bias": jnp.zeros(3)} for i, shape in enumerate(shapes)}


def to_adam(params, label_fn=celo2.hidden_matrix_labels):
    """Names of the layers whose matrix goes to Adam."""
    found = {tuple(d.name.split("/")[:-1]) for d in label_fn.decide(params) if len(d.shape) > 1 and d.label == "adam"}
    return {"/".join(name) for name in found}


ACTOR_CRITIC = ((4, 64), (64, 64), (64, 2), (4, 64), (64, 64), (64, 1))


@pytest.mark.parametrize(
    ("params", "ends"),
    [
        # purejaxrl's two towers in one flat list; as many actions as observations; ten layers and more.
        ({"params": matrices(*ACTOR_CRITIC)}, {"params/Dense_0", "params/Dense_2", "params/Dense_3", "params/Dense_5"}),
        (
            matrices((3, 64), (64, 64), (64, 3), (3, 64), (64, 64), (64, 1)),
            {"Dense_0", "Dense_2", "Dense_3", "Dense_5"},
        ),
        (matrices(*[(8, 8)] * 12), {"Dense_0", "Dense_11"}),
        # A torso with two heads, towers under names of their own, convolutions, a narrow network.
        (matrices((4, 64), (64, 64), (64, 2), (64, 1)), {"Dense_0", "Dense_2", "Dense_3"}),
        (
            {"actor": matrices((4, 8), (8, 8), (8, 2)), "critic": matrices((4, 8), (8, 8), (8, 1))},
            {"actor/Dense_0", "actor/Dense_2", "critic/Dense_0", "critic/Dense_2"},
        ),
        (
            matrices((3, 3, 4, 16), (1024, 128), (128, 6), layer="layers_{}"),
            {"layers_0", "layers_2"},
        ),
        (matrices((4, 16), (16, 16), (16, 51), layer="linear{}"), {"linear0", "linear2"}),
        # PyTorch and equinox: [out, in].
        (
            {"layers": matrices((64, 4), (64, 64), (2, 64), layer="{}", leaf="weight")},
            {"layers/0", "layers/2"},
        ),
        # A name that tells counts before any number, and tells of its own end only; nothing is guessed among blocks,
        # nor of a single matrix.
        (
            matrices((4, 8), (8, 8), (8, 8)) | {"policy_head": {"kernel": jnp.zeros((8, 2))}},
            {"Dense_0", "policy_head"},
        ),
        (matrices((4, 8)) | {"head": {"kernel": jnp.zeros((8, 2))}}, {"Dense_0", "head"}),
        (  # towers behind a torso have no inputs of their own
            {"torso": matrices((4, 64), (64, 64))}
            | {name: matrices((64, 32)) | {"head": {"kernel": jnp.zeros((32, 2))}} for name in ("actor", "critic")},
            {"torso/Dense_0", "actor/head", "critic/head"},
        ),
        ({"input": {"kernel": jnp.zeros((4, 8))}} | matrices((8, 8), (8, 2)), {"input", "Dense_1"}),
        (
            {"tok_emb": {"kernel": jnp.zeros((9, 8))}, "head": {"kernel": jnp.zeros((8, 9))}}
            | matrices((8, 8), (8, 8)),
            {"tok_emb", "head"},
        ),
        (
            {"q_0": matrices((6, 8), (8, 8), (8, 1)), "q_1": matrices((6, 8), (8, 8), (8, 1))},
            {"q_0/Dense_0", "q_0/Dense_2", "q_1/Dense_0", "q_1/Dense_2"},
        ),
        ({"kernel": jnp.zeros((4, 4)), "bias": jnp.zeros(4)}, set()),
        ({"Dense_0": {"kernel": jnp.zeros((4, 4))}}, set()),
    ],
)
@pytest.mark.filterwarnings("ignore:no output layer was recognised")
def test_numbered_layers_are_told_by_their_place(params, ends):
    assert to_adam(params) == ends
    celo2.hidden_matrix_labels(params)


def named(**shapes):
    return {name: {"w": jnp.zeros(shape), "b": jnp.zeros(shape[-1])} for name, shape in shapes.items()}


@pytest.mark.parametrize(
    ("params", "ends"),
    [
        (named(see=(4, 64), think=(64, 64), act=(64, 2), judge=(64, 1)), {"see", "act", "judge"}),
        # Outputs as wide as a hidden layer, and more; twin critics; an output layer beside blocks.
        (named(see=(4, 16), think=(16, 16), act=(16, 51)), {"see", "act"}),
        (named(see=(4, 16), think=(16, 16), act=(16, 16)), {"see"}),
        (named(in1=(6, 8), mid1=(8, 8), q1=(8, 1), in2=(6, 8), mid2=(8, 8), q2=(8, 1)), {"q1", "q2"}),
        ({"Block_0": matrices((8, 32), (32, 8)), "Dense_0": {"kernel": jnp.zeros((8, 9))}}, {"Dense_0"}),
        # A name counts for its own kind: of inputs, nothing is said here.
        (named(see=(4, 64), think=(64, 64), policy_head=(64, 2)), {"see", "policy_head"}),
        # Fused projections and narrow keys of blocks fit nothing either, but occur more than once.
        (
            named(
                tok=(99, 8),
                qkv1=(8, 24),
                up1=(8, 32),
                down1=(32, 8),
                qkv2=(8, 24),
                up2=(8, 32),
                down2=(32, 8),
                out=(8, 99),
            ),
            set(),
        ),
        (
            named(
                tok=(90, 8), kv1=(8, 4), up1=(8, 32), down1=(32, 8), kv2=(8, 4), up2=(8, 32), down2=(32, 8), say=(8, 99)
            ),
            {"tok", "say"},
        ),
        # Attention kernels of rank 3 fit what any of their axes fits; two matrices are too few to tell.
        ({"q": {"w": jnp.zeros((8, 2, 4))}} | named(see=(5, 8), up=(8, 32), down=(32, 8)), {"see"}),
        (named(see=(4, 64), act=(64, 2)), set()),
    ],
)
@pytest.mark.filterwarnings("ignore:no output layer was recognised", "ignore:input and output layers were told")
def test_what_neither_names_nor_places_tell_is_told_by_size(params, ends):
    assert to_adam(params) == ends
    if ends:
        assert "told by size alone" in celo2.routing_table(params, celo2.hidden_matrix_labels)


def test_what_is_told_by_size_is_warned_of():
    with pytest.warns(UserWarning, match=r"by their size alone: act/w \(head\), judge/w \(head\), see/w \(input\);"):
        celo2.hidden_matrix_labels(named(see=(4, 64), think=(64, 64), act=(64, 2), judge=(64, 1)))


def test_input_layers_stay_with_the_rule_where_only_outputs_are_exceptions():
    assert to_adam(matrices((4, 64), (64, 64), (64, 2)), celo2.matrix_labels) == {"Dense_2"}


def test_names_of_language_models():
    params = {
        "bert": {
            "layer_0": {"attention": {"output": {"dense": {"kernel": jnp.zeros((8, 8))}}}},
            "output": {"kernel": jnp.zeros((8, 8))},
        },
        "tok_emb": {"weight": jnp.zeros((9, 8))},
        "attention": {"query": {"kernel": jnp.zeros((8, 2, 4)), "bias": jnp.zeros((2, 4))}},
        "stacked_norm": {"scale": jnp.zeros((3, 8))},
    }
    assert to_adam(params) == {"bert/output", "tok_emb", "attention/query", "stacked_norm"}
    labels = celo2.matrix_labels(params)
    assert labels["attention"]["query"] == {"kernel": "rule", "bias": "adam"}


def test_an_output_layer_that_is_not_recognised_is_warned_of():
    params = {"encoder": {f"w{i}": jnp.zeros((4, 4)) for i in range(3)}}
    with pytest.warns(
        UserWarning, match=r"no output layer was recognised, .* Matrices: encoder/w0, encoder/w1, encoder"
    ):
        celo2.matrix_labels(params)
    with pytest.warns(UserWarning, match=r"the pattern 'heads' matches no parameter of encoder/w0, "):
        celo2.labels_by_pattern("heads")(params)


def test_the_table_shows_what_was_guessed():
    table = celo2.routing_table(matrices(*ACTOR_CRITIC), celo2.hidden_matrix_labels)
    rows = {line.split()[0]: line for line in table.splitlines()}
    assert rows["Dense_0/kernel"].endswith("adam     first matrix of its tower, no name tells")
    assert rows["Dense_2/kernel"].endswith("last matrix of its tower, no name tells")
    assert rows["Dense_1/kernel"].endswith("rank 2, no exception applies")


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
