"""Celo and Celo-Adam: the loss, bad input, and that they learn."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import celo2
from celo2 import loss_buffer
from helpers import same_program

CELO = celo2.init_theta("celo", jax.random.key(0))
CELO_ADAM = celo2.init_theta("celo_adam", jax.random.key(0))
PARAMS = {"w": jnp.ones((4, 3)), "b": jnp.ones(3)}
RULES = {
    "celo": lambda **kw: celo2.scale_by_celo(theta=CELO, **{"num_steps": 10} | kw),
    "celo_adam": lambda **kw: celo2.scale_by_celo_adam(theta=CELO_ADAM, **{"num_steps": 10} | kw),
}
rules = pytest.mark.parametrize("make", RULES.values(), ids=RULES.keys())
OPTIMIZERS = {
    "celo": lambda **kw: celo2.celo(10, CELO, **kw),
    "celo_adam": lambda **kw: celo2.celo_adam(10, CELO_ADAM, **kw),
}
optimizers = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())


def update(tx, **extra):
    return tx.update(PARAMS, tx.init(PARAMS), PARAMS, **extra)


@rules
def test_the_loss_has_two_names(make):
    tx = make()

    def program(*names):
        return jax.make_jaxpr(lambda loss: update(tx, **dict.fromkeys(names, loss)))(2.0)

    assert same_program(program("value"), program("loss"))
    assert same_program(program("value"), program("value", "loss"))


@rules
def test_bad_losses_are_refused(make):
    with pytest.raises(ValueError, match=r"reads the training loss: call update\(grads, state, params, value=loss\)"):
        update(make())
    with pytest.raises(ValueError, match=r"two names of one argument, got value=1.0, loss=2.0"):
        update(make(), value=1.0, loss=2.0)
    with pytest.raises(ValueError, match=r"the loss must be a scalar, got shape \(2,\)"):
        update(make(), value=jnp.ones(2))


@rules
@pytest.mark.parametrize("num_steps", [0, -3, 2.5, None, True])
def test_lengths_that_are_none_are_refused(make, num_steps):
    with pytest.raises(ValueError, match=f"num_steps must be a whole number of updates >= 1, got {num_steps}"):
        make(num_steps=num_steps)


@rules
def test_params_that_cannot_be_optimised_are_refused(make):
    with pytest.raises(ValueError, match="there are no parameters to optimise"):
        make().init({})
    with pytest.raises(ValueError, match=r"\['w'\] of shape \(0, 3\) has no elements"):
        make().init({"w": jnp.ones((0, 3))})
    with pytest.raises(ValueError, match=r"\['w'\] has dtype int32"):
        make().init({"w": jnp.ones(3, jnp.int32)})


def test_celo_needs_params():
    tx = RULES["celo"]()
    with pytest.raises(ValueError, match=r"call update\(grads, state, params, value=loss\)"):
        tx.update(PARAMS, tx.init(PARAMS), value=1.0)


def test_theta_of_another_rule_is_refused():
    with pytest.raises(ValueError, match="this is a theta of 'celo_adam', but 'celo' is needed"):
        celo2.scale_by_celo(10, CELO_ADAM)
    with pytest.raises(ValueError, match="this is a theta of 'celo', but 'celo_adam' is needed"):
        celo2.scale_by_celo_adam(10, CELO)
    with pytest.raises(ValueError, match="this is a theta of 'celo2', but 'celo' is needed"):
        celo2.celo(10, celo2.init_theta("celo2", jax.random.key(0)))


def test_a_theta_with_another_nesting_is_refused():
    moved = {**CELO_ADAM, "rnn_params": {**CELO_ADAM["rnn_params"]}}
    moved["rnn_params"]["rnn"] = {"linear": moved["rnn_params"].pop("rnn/linear")}
    with pytest.raises(ValueError, match="missing arrays"):
        celo2.scale_by_celo_adam(10, moved)


def test_a_nan_loss_leaves_the_buffer_as_it_was():
    buffer = loss_buffer.init()
    for loss in (2.0, 1.5, 1.2, 1.1):
        buffer = loss_buffer.update(buffer, jnp.float32(loss), 100)
    for bad in (jnp.nan, jnp.inf, -jnp.inf):
        jax.tree.map(np.testing.assert_array_equal, loss_buffer.update(buffer, jnp.float32(bad), 100), buffer)
    assert np.all(np.isfinite(loss_buffer.features(loss_buffer.update(loss_buffer.init(), jnp.float32(jnp.nan), 100))))


def test_a_traced_length_gives_the_schedule_of_a_fixed_one():
    def run(num_steps):
        tx = celo2.scale_by_celo_adam(num_steps, CELO_ADAM)
        return jax.lax.scan(
            lambda state, loss: tx.update(PARAMS, state, PARAMS, value=loss)[::-1],
            tx.init(PARAMS),
            jnp.linspace(2.0, 1.0, 20),
        )[1]

    together = jax.jit(jax.vmap(run))(jnp.asarray([20, 300]))
    for i, num_steps in enumerate((20, 300)):
        single = jax.jit(lambda n=num_steps: run(n))()
        jax.tree.map(lambda a, b, i=i: np.testing.assert_allclose(a[i], b, rtol=0.02), together, single)


@pytest.mark.parametrize("rule", ["celo", "celo_adam"])
def test_the_published_weights_learn_a_regression_without_any_setting(rule, golden_folder):
    theta = celo2.load_checkpoint(golden_folder / f"{rule}.theta.state")
    num_steps = 400
    tx = celo2.celo(num_steps, theta) if rule == "celo" else celo2.celo_adam(num_steps, theta)
    x = jax.random.normal(jax.random.key(1), (256, 8))
    y = jnp.tanh(x @ jax.random.normal(jax.random.key(2), (8, 3)))

    def loss_fn(params):
        return jnp.mean((jnp.tanh(x @ params["w0"] + params["b0"]) @ params["w1"] - y) ** 2)

    def step(carry, _):
        params, state = carry
        loss, grads = jax.value_and_grad(loss_fn)(params)
        updates, state = tx.update(grads, state, params, value=loss)
        return (optax.apply_updates(params, updates), state), loss

    params = {
        "w0": jax.random.normal(jax.random.key(3), (8, 16)) / 3,
        "b0": jnp.zeros(16),
        "w1": jax.random.normal(jax.random.key(4), (16, 3)) / 4,
    }
    losses = jax.jit(lambda p: jax.lax.scan(step, (p, tx.init(p)), length=num_steps)[1])(params)
    assert losses[-1] < 0.3 * losses[0]


@optimizers
def test_a_multiplier_is_of_the_steps_only(make):
    """A number, or a schedule of the updates so far; the state is the same without it."""
    whole, halves = make(), make(multiplier=0.5)
    falling = make(multiplier=optax.linear_schedule(1.0, 0.0, 2))
    state = whole.init(PARAMS)
    updates = jax.jit(lambda state: [tx.update(PARAMS, state, PARAMS, value=1.0) for tx in (whole, halves, falling)])
    for share in (1.0, 0.5, 0.0):
        (own, after), (half, _), (fallen, also_after) = updates(state)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, 0.5 * b, rtol=1e-6), half, own)
        jax.tree.map(lambda a, b, share=share: np.testing.assert_allclose(a, share * b, rtol=1e-6), fallen, own)
        jax.tree.map(np.testing.assert_array_equal, after, also_after)
        state = after
