"""The registry: every optimizer by name, its rate traced, its options, and functions of one's own."""

import dataclasses
import inspect
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import celo2
from celo2.baselines import thetas
from helpers import by_default, same_program, told, weights_for
from metatrain.config import BASELINES
from rlopt.optimizers import catalog, factory, routed
from rlopt.play import evaluation
from rlopt.runs import experiment, results
from rlopt.training import presets
from rlopt.training.config import TrainConfig

# A network's tensors by their usual names: an input layer, a hidden matrix, a head, biases.
PARAMS = {
    "input": {"kernel": 0.3 * jnp.ones((3, 8)), "bias": jnp.zeros(8)},
    "hidden_1": {"kernel": 0.5 * jnp.eye(8), "bias": jnp.zeros(8)},
    "head": {"kernel": 0.1 * jnp.ones((8, 1)), "bias": jnp.zeros(1)},
}


def loss_fn(params):
    x = jnp.asarray([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]])
    for name in ("input", "hidden_1", "head"):
        x = jnp.tanh(x) @ params[name]["kernel"] + params[name].get("bias", 0.0)
    return jnp.mean((x[:, 0] - jnp.asarray([1.0, -1, 0.5, 0])) ** 2)


# The baselines' steps, and those of the rules of the papers, have tests of their own (tests/celo2).
NEAR = ("celo2_base", "celo2_published", "celo2_base_published", "nnadam", "adafac_mlp", "rnn_mlp", "velo", "open")


@pytest.mark.parametrize("name", by_default(catalog.OPTIMIZERS.keys(), *(set(catalog.OPTIMIZERS) - set(NEAR))))
def test_every_optimizer_learns_with_its_rate_traced(name, tmp_path):
    theta = weights_for(name, tmp_path)
    make = factory.make(name, theta, updates_per_target=10)
    info = catalog.OPTIMIZERS[name]
    own = 0.3 if info.scheduled else info.learning_rate or 0.0
    kernels = {layer: {"kernel": tensors["kernel"]} for layer, tensors in PARAMS.items()}

    @jax.jit
    @jax.vmap
    def train(rate):
        # As agents do it: the optimizer is made anew for each batch, with the rate of the moment.
        def step(carry, _):
            params, state = carry
            loss, grads = jax.value_and_grad(loss_fn)(params)
            tx = optax.with_extra_args_support(make(rate, 60))
            updates, state = tx.update(grads, state, params, **told(params, value=loss))
            return (optax.apply_updates(params, updates), state), loss

        state = optax.with_extra_args_support(make(rate, 60)).init(kernels)
        return jax.lax.scan(step, (kernels, state), None, length=60)[1]

    losses = train(jnp.asarray([own, 3 * own]))
    assert np.all(np.isfinite(losses))
    if theta is None:  # random weights take steps, but know not where
        assert np.all(losses[:, -1] < losses[:, 0])
    takes_share = name != "open"  # whose steps are its own, unless `scaled`
    assert not np.array_equal(losses[0], losses[1]) or not takes_share, "a scheduled optimizer takes its share"


@pytest.mark.parametrize("name", catalog.OPTIMIZERS)
def test_options_are_those_that_the_factory_has_with_their_defaults_passed_on(name):
    info = catalog.OPTIMIZERS[name]
    signature = inspect.signature(factory._import(info.factory)).parameters
    passes_on = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in signature.values())
    assert set(info.options) <= set(signature) or passes_on
    if info.factory.startswith("rlopt."):
        for option, value in info.defaults.items():
            default = signature[option].default if option in signature else inspect.Parameter.empty
            assert default in (value, inspect.Parameter.empty), "said in two places"


RATE = 1e-3


def update(tx):
    return jax.make_jaxpr(lambda p: tx.update(p, tx.init(p), p, value=1.0)[0])(PARAMS)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("celo2", lambda: celo2.celo2(RATE, **celo2.RL)),
        ("celo2_base", lambda: celo2.celo2_base(RATE, **celo2.RL)),
        ("celo2_published", lambda: celo2.celo2(RATE, "celo2_v1")),
        ("celo2_base_published", lambda: celo2.celo2_base(RATE, "celo2_base_v1")),
        ("celo", lambda: celo2.celo(60, multiplier=RATE)),
        ("celo_adam", lambda: celo2.celo_adam(60, multiplier=RATE)),
    ],
)
def test_a_name_is_the_line_of_optax_that_the_documents_show(name, shown):
    """The same program, so that published numbers belong to the function that a reader would call."""
    assert name in catalog.OPTIMIZERS

    def steps(tx):
        tx = optax.with_extra_args_support(tx)

        def step(carry, _):
            params, state = carry
            loss, grads = jax.value_and_grad(loss_fn)(params)
            updates, state = tx.update(grads, state, params, value=loss)
            return (optax.apply_updates(params, updates), state), updates

        return jax.make_jaxpr(lambda: jax.lax.scan(step, (PARAMS, tx.init(PARAMS)), None, length=3))()

    assert same_program(steps(factory.make(name)(RATE, 60)), steps(shown()))


@pytest.mark.parametrize(("name", "options"), [("celo", {"scaled": False}), ("celo_adam", {"scaled": False})])
def test_steps_that_are_not_scaled_are_the_rules_own(name, options):
    assert same_program(*(update(factory.make(name, None, options)(share, 60)) for share in (0.1, 1.0)))
    assert str(update(factory.make(name)(0.1, 60))) != str(update(factory.make(name)(1.0, 60)))


def test_weights_of_the_published_form_take_the_published_steps():
    assert same_program(*map(update, (factory.make("celo", "celo_v1")(0.1, 60), celo2.celo(60, "celo_v1"))))


def test_every_learned_rule_is_compared_with_its_line_of_optax():
    compared = test_a_name_is_the_line_of_optax_that_the_documents_show.pytestmark[0].args[1]
    assert {name for name, info in catalog.OPTIMIZERS.items() if info.weights} == {name for name, _ in compared}


def test_baselines_are_their_lines_of_optax_and_need_weights(tmp_path):
    baselines = {name: info for name, info in catalog.OPTIMIZERS.items() if info.learned and not info.weights}
    assert set(baselines) == {*BASELINES, "open"} == set(thetas.BASELINES)
    with pytest.raises(ValueError, match=r"open has no packaged weights: give a file with --theta .* as published"):
        factory.make("open")
    for name in BASELINES:
        with pytest.raises(ValueError, match=rf"{name} has no packaged weights: give a file with --theta .*metatrain"):
            factory.make(name)
        path = weights_for(name, tmp_path)
        line = celo2.velo(60, path, multiplier=3.0) if name == "velo" else getattr(celo2, name)(path, multiplier=3.0)
        ways = (line, factory.make(name, path)(3.0, 60), factory.make(name, path, {"scaled": False})(3.0, 60))
        params = {"w": jnp.linspace(-1.0, 2.0, 20).reshape(4, 5)}
        shown, made, unscaled = jax.jit(
            lambda p, ways=ways: [tx.update(p, tx.init(p), p, value=1.0)[0]["w"] for tx in ways]
        )(params)
        np.testing.assert_array_equal(made, shown)
        np.testing.assert_allclose(made, 3 * unscaled, rtol=1e-5)
        # VeLO's first steps without training are below what float32 has.
        assert name == "velo" or np.any(made != 0), name


def test_open_is_its_line_of_optax_and_is_told_iterations_and_epochs(tmp_path):
    path = weights_for("open", tmp_path)
    params = {"w": jnp.linspace(-1.0, 2.0, 20).reshape(4, 5)}
    sizes = {"updates_per_target": 4, "epochs_per_target": 2}
    ways = (
        celo2.open_rule(path, num_steps=60, steps_per_batch=4, epochs=2),
        factory.make("open", path, **sizes)(3.0, 60),
        factory.make("open", path, {"scaled": True}, **sizes)(3.0, 60),
        factory.make("open", path)(3.0, 60),
    )
    shown, made, scaled, untold = jax.jit(
        lambda p: [tx.update(p, tx.init(p), p, **told(p, progress=7 / 60))[0]["w"] for tx in ways]
    )(params)
    np.testing.assert_array_equal(made, shown)
    np.testing.assert_allclose(scaled, 3 * made, rtol=1e-5)
    assert not np.array_equal(untold, made), "in an epoch of its own"


@pytest.mark.parametrize(
    ("option", "given", "read"),
    [
        ("odd", "true", True),
        ("odd", 0.0, False),
        ("odd", "card", "card"),
        ("bias_correction", "true", True),
        ("bias_correction", True, True),
        ("size", "snr", "snr"),
        ("weight_decay", 0.1, 0.1),
    ],
)
def test_options_are_read_by_their_types(option, given, read):
    assert catalog.OPTIMIZERS["celo2"].read(option, given) == read
    assert type(catalog.OPTIMIZERS["celo2"].read(option, given)) is type(read)


@pytest.mark.parametrize(
    ("option", "given", "message"),
    [
        ("odd", "yes", "celo2: option odd must be one of card, true, false, got 'yes'"),
        ("odd", 2.0, "celo2: option odd must be one of card, true, false, got 2.0"),
        ("size", 1.0, "celo2: option size must be one of card, unit, adam, snr, learned, got 1.0"),
        ("bias_correction", "card", "celo2: option bias_correction must be one of false, true, got 'card'"),
        ("weight_decay", "much", "celo2: option weight_decay must be a number, got 'much'"),
        ("weight_decay", math.inf, "celo2: option weight_decay must be a number, got inf"),
        ("routing", "heads", "celo2: option routing must be one of hidden, matrices, all, got 'heads'"),
    ],
)
def test_other_values_of_options_are_refused(option, given, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        factory.make("celo2", options={option: given})


def test_options_change_what_is_learned():
    for options in ({"weight_decay": 0.0}, {"weight_decay": 0.5}):
        tx = factory.make("adamw", options=options)(0.1, 10)
        updates, _ = tx.update(jax.tree.map(jnp.zeros_like, PARAMS), tx.init(PARAMS), PARAMS)
        expected = -0.1 * options["weight_decay"] * PARAMS["input"]["kernel"]
        np.testing.assert_allclose(updates["input"]["kernel"], expected, atol=1e-7)
    with pytest.raises(ValueError, match="unknown option of adamw 'decay'; there are weight_decay, "):
        factory.make("adamw", options={"decay": 1.0})


def test_adam_rel_is_adam_until_the_objective_changes_and_then_counts_anew():
    rel, adam = routed.adam_rel(0.1, updates_per_target=3), optax.adam(0.1, eps=routed.ADAM_EPS)
    grads = [{"w": jnp.asarray([float(t + 1)])} for t in range(5)]
    ours, theirs = rel.init(grads[0]), adam.init(grads[0])
    for t in range(3):
        one, ours = rel.update(grads[t], ours)
        other, theirs = adam.update(grads[t], theirs)
        np.testing.assert_allclose(one["w"], other["w"], rtol=1e-6)
    # t counts from 1 again, the moments go on: by hand.
    m = v = 0.0
    for t in range(5):
        g = t + 1.0
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        if t >= 3:
            count = t - 3 + 1
            expected = -0.1 * (m / (1 - 0.9**count)) / (np.sqrt(v / (1 - 0.999**count)) + routed.ADAM_EPS)
            one, ours = rel.update(grads[t], ours)
            np.testing.assert_allclose(one["w"], [expected], rtol=1e-4)


def test_an_objective_lasts_a_batch_or_a_target_network():
    assert presets.config("ppo", "CartPole-v1").updates_per_target == 4 * 4
    assert presets.config("pqn", "CartPole-v1").updates_per_target == 4 * 16
    assert presets.config("pqn", "CartPole-v1").epochs_per_target == 4
    assert {presets.config(agent, "CartPole-v1").epochs_per_target for agent in ("dqn", "sac")} == {1}
    # Every 2,000 steps of 8 environments, two updates each.
    assert presets.config("dqn", "Pong-v5", "fast").updates_per_target == 2 * 2000 // 8


def test_a_run_with_options_can_be_evaluated(tmp_path):
    hyper = dataclasses.replace(presets.config("ppo", "CartPole-v1"), total_steps=1024, hidden=(8,))
    config = TrainConfig(optimizer="adamw", options={"weight_decay": 0.1}, seeds=1, hyper=hyper)
    experiment.run(config, tmp_path, progress=False)
    assert results.read_config(tmp_path).options == {"weight_decay": 0.1}
    assert evaluation.evaluate(tmp_path, episodes=2).shape == (1, 2)


def slow_descent(learning_rate, num_updates, slowness=2.0):
    return optax.sgd(learning_rate / slowness / num_updates)


def not_an_optimizer(learning_rate):
    return learning_rate


def test_a_function_of_ones_own():
    make = factory.make(f"{__name__}:slow_descent", options={"slowness": 4.0})
    updates, _ = make(1.0, 10).update({"w": jnp.ones(1)}, make(1.0, 10).init({"w": jnp.ones(1)}))
    np.testing.assert_allclose(updates["w"], [-1 / 40])
    with pytest.raises(ValueError, match="has no default learning rate; give one"):
        TrainConfig(optimizer="optax:noisy_sgd").check()
    TrainConfig(optimizer="optax:noisy_sgd", learning_rate=0.1).check()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("optax:nothing", "cannot import the optimizer 'optax:nothing'"),
        ("nowhere:sgd", "cannot import the optimizer 'nowhere:sgd': No module named 'nowhere'"),
        ("math:pi", "the optimizer 'math:pi' must be a function with named parameters"),
        ("optax:chain", "cannot make an optimizer from 'optax:chain'"),
        (f"{__name__}:not_an_optimizer", "makes a float, not an optax optimizer"),
    ],
)
def test_functions_that_make_no_optimizer_are_refused(name, message):
    with pytest.raises(ValueError, match=message):
        factory.make(name)
