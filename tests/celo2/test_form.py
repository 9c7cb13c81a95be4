"""The form of a rule: odd, sized, and recorded with the weights."""

import functools
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import celo2
from celo2 import form
from celo2 import size as sizes
from helpers import by_default, same_program

THETA = celo2.init_theta("celo2", jax.random.key(3))
CELO_THETA = celo2.init_theta("celo", jax.random.key(4))
ALL = {"scalar": (), "bias": (5,), "kernel": (12, 9), "conv": (3, 3, 2, 4)}
# Every shape is another program, which takes a second to compile.
SHAPES = {"bias": (5,), "kernel": (12, 9)}
KERNEL = {"kernel": SHAPES["kernel"]}


def tree(seed, scale=0.3, shapes=SHAPES):
    keys = jax.random.split(jax.random.key(seed), len(shapes))
    return {k: scale * jax.random.normal(key, s) for key, (k, s) in zip(keys, shapes.items(), strict=True)}


@functools.lru_cache(maxsize=4)
def compiled(update):
    """Once for each optimizer, not once for each sign."""
    return jax.jit(lambda g, s, p: update(g, s, p, value=1.0))


def steps(tx, sign=1.0, count=6, scale=0.3, shapes=SHAPES):
    """The updates for random gradients on parameters that stay, all with the given sign."""
    update = compiled(optax.with_extra_args_support(tx).update)
    params = jax.tree.map(lambda x: sign * x, tree(0, shapes=shapes))
    state, found = tx.init(params), []
    for t in range(count):
        updates, state = update(jax.tree.map(lambda x: sign * x, tree(t + 1, scale, shapes)), state, params)
        found.append(updates)
    return found


def rms(x):
    return float(jnp.sqrt(jnp.mean(jnp.square(x))))


ODD_RULES = {
    "celo2": lambda: celo2.scale_by_celo2(THETA, odd=True),
    "celo2_base": lambda: celo2.scale_by_celo2(THETA, False, odd=True),
    "celo2_corrected": lambda: celo2.scale_by_celo2(THETA, False, True, odd=True),
    "celo2_fan_in_fan_out": lambda: celo2.scale_by_celo2(
        THETA, odd=True, weight_dimension_numbers=celo2.fan_in_fan_out
    ),
    **{
        f"celo2_{size}": lambda size=size: celo2.scale_by_celo2(THETA, odd=True, size=size, newton_schulz_steps=2)
        for size in ("adam", "snr", "learned")
    },
    "celo2_RL": lambda: celo2.celo2(1e-3, THETA, odd=True, size="adam", **celo2.RL),
    "celo_phase1": lambda: celo2.scale_by_celo(10, CELO_THETA, use_scheduler=False, odd=True),
    "celo": lambda: celo2.scale_by_celo(10, CELO_THETA, odd=True),
    **{
        f"celo_sized_{size}": lambda size=size: celo2.scale_by_celo(10, CELO_THETA, odd=True, size=size)
        for size in ("adam", "snr", "learned")
    },
    "celo_adam": lambda: celo2.celo_adam(10, celo2.init_theta("celo_adam", jax.random.key(0))),
    "graft": lambda: celo2.graft(optax.scale_by_lion()),
}


@pytest.mark.filterwarnings("ignore:no output layer was recognised")
@pytest.mark.parametrize(
    "name",
    by_default(
        list(ODD_RULES),
        *("celo2", "celo2_corrected", "celo2_snr", "celo2_RL", "celo", "celo_sized_learned", "celo_adam", "graft"),
    ),
)
def test_an_odd_rule_answers_the_other_sign_with_the_other_step(name):
    tx = optax.with_extra_args_support(ODD_RULES[name]())
    # Scalars and convolutions differ from the others in what a rule makes of them, not in its settings.
    shapes = ALL if name in ("celo2", "celo2_fan_in_fan_out", "celo_adam", "graft") else SHAPES
    for plus, minus in zip(steps(tx, shapes=shapes), steps(tx, -1.0, shapes=shapes), strict=True):
        for name, step in plus.items():
            np.testing.assert_allclose(minus[name], -step, atol=1e-6 * max(rms(step), 1e-6), err_msg=name)


@pytest.mark.parametrize("name", by_default(["celo2", "celo"], "celo2"))
def test_the_published_form_is_not_odd(name):
    tx = celo2.scale_by_celo2(THETA) if name == "celo2" else celo2.scale_by_celo(10, CELO_THETA)
    plus, minus = steps(tx)[-1]["kernel"], steps(tx, -1.0)[-1]["kernel"]
    assert rms(plus + minus) > 0.05 * rms(plus)


def test_a_size_keeps_the_direction_of_celos_published_step():
    """The size is that of the same gradients under `graft`, which computes it from moments of its own.

    Without the schedule, which a constant loss leaves to rounding.
    """
    plain = steps(celo2.scale_by_celo(10, CELO_THETA, use_scheduler=False, odd=True))
    for size, tolerance in (("adam", 1e-4), ("snr", 2e-2)):  # a ratio of nearly equal numbers, of the latter
        sized = steps(celo2.scale_by_celo(10, CELO_THETA, use_scheduler=False, odd=True, size=size))
        factor = steps(celo2.graft(optax.scale_by_sign(), size))
        for a, b, f in zip(sized, plain, factor, strict=True):
            for name in SHAPES:
                expected = 0.09 * rms(f[name]) * b[name] / rms(b[name])
                # Directions of next to nothing stay small.
                if rms(b[name]) > 1e-6:
                    np.testing.assert_allclose(a[name], expected, rtol=tolerance, atol=1e-9, err_msg=name)


def test_the_odd_form_is_half_the_difference_of_the_two_directions():
    """Celo's steps are not normalised, so that the definition can be checked on the outside."""
    plain = celo2.scale_by_celo(10, CELO_THETA, use_scheduler=False)
    odd = celo2.scale_by_celo(10, CELO_THETA, use_scheduler=False, odd=True)
    for plus, minus, both in zip(steps(plain), steps(plain, -1.0), steps(odd), strict=True):
        for name in SHAPES:
            expected = 0.5 * (plus[name] - minus[name])
            np.testing.assert_allclose(both[name], expected, rtol=1e-3, atol=1e-5 * rms(expected), err_msg=name)


def test_adams_size_is_that_of_optax_adam():
    adam = steps(optax.scale_by_adam(eps=1e-5))
    celo = celo2.scale_by_celo(10, CELO_THETA, use_scheduler=False, odd=True, size="adam")
    for scale, rule in ((1.0, celo2.scale_by_celo2(THETA, False, size="adam")), (0.09, celo)):
        for ours, theirs in zip(steps(rule), adam, strict=True):
            for name in SHAPES:
                np.testing.assert_allclose(rms(ours[name]), scale * rms(theirs[name]), rtol=1e-5, err_msg=name)


def test_sized_celo_goes_no_farther_with_larger_weights():
    """In the published form steps grow with the weights, and so weights with themselves."""
    for size, growth in (("unit", 100), ("adam", 1)):
        tx = celo2.scale_by_celo(10, CELO_THETA, use_scheduler=False, odd=True, size=size)
        grads = tree(0, shapes=KERNEL)
        update = jax.jit(tx.update)
        one, hundred = (
            update(grads, tx.init(params), params)[0]["kernel"]
            for params in (tree(1, shapes=KERNEL), jax.tree.map(lambda x: 100 * x, tree(1, shapes=KERNEL)))
        )
        assert rms(hundred) / rms(one) == pytest.approx(growth, rel=0.01)


@pytest.mark.usefixtures("compiled_as_users_do")
@pytest.mark.parametrize(
    ("size", "tolerance", "odd"), [("adam", 1e-6, True), pytest.param("snr", 1e-2, False, marks=pytest.mark.slow)]
)
def test_graft_and_the_rules_own_size_agree(size, tolerance, odd):
    """Where all is noise, the signal-to-noise ratio is the root of a difference in the last bits."""
    inside = celo2.scale_by_celo2(THETA, False, odd=odd, size=size)
    outside = celo2.graft(celo2.scale_by_celo2(THETA, False, odd=odd), size)
    found = (steps(tx, count=20, shapes=KERNEL) for tx in (inside, outside))
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours["kernel"], theirs["kernel"], atol=tolerance)


def test_graft_keeps_the_direction_and_the_dtype():
    direction = steps(optax.scale_by_lion())[-1]["kernel"]
    grafted = steps(celo2.graft(optax.scale_by_lion()))[-1]["kernel"]
    np.testing.assert_allclose(grafted / rms(grafted), direction / rms(direction), atol=1e-5)
    params = {"w": jnp.ones((4, 3), jnp.bfloat16)}
    tx = celo2.graft(optax.identity())
    assert tx.update(params, tx.init(params), params)[0]["w"].dtype == jnp.bfloat16


def test_the_signal_to_noise_ratio_is_one_for_a_signal_and_small_for_noise():
    g = jnp.ones((30, 30))

    def ratio(gradients):
        mu, mean_square = jnp.zeros((30, 30)), 0.0
        for g in gradients:
            mu, mean_square = 0.9 * mu + 0.1 * g, 0.999 * mean_square + 0.001 * float(jnp.mean(g**2))
        return float(sizes.snr_size(mu, jnp.float32(mean_square), jnp.int32(len(gradients)), 0.9, 0.999))

    assert ratio([g] * 30) == pytest.approx(1, abs=1e-3)
    noise = [jax.random.normal(k, g.shape) for k in jax.random.split(jax.random.key(0), 60)]
    assert ratio(noise) < 0.15
    # A third of the mean square is signal: s^2 = 1/3.
    assert ratio([g / jnp.sqrt(3) + jnp.sqrt(2 / 3) * x for x in noise]) == pytest.approx(np.sqrt(1 / 3), abs=0.08)
    assert ratio([g]) == 0, "one gradient alone says nothing"


def test_a_learned_size_is_a_power_of_adams():
    arrays = THETA["ff_mod_stack"]["~"]

    @jax.jit
    def last_step(bias):
        theta = {"ff_mod_stack": {"~": {**arrays, "b2": arrays["b2"].at[2].set(bias)}}}
        tx, params = celo2.scale_by_celo2(theta, False, size="learned"), tree(0, shapes=KERNEL)
        grads = jax.tree.map(lambda *x: jnp.stack(x), *(tree(t + 1, shapes=KERNEL) for t in range(6)))
        _, updates = jax.lax.scan(lambda state, g: tx.update(g, state, params)[::-1], tx.init(params), grads)
        return jax.tree.map(lambda x: x[-1], updates)

    def sizes_at(bias):
        return np.asarray([rms(x) for x in last_step(bias).values()])

    sized = steps(celo2.scale_by_celo2(THETA, False, size="adam"), shapes=KERNEL)
    adam = np.asarray([rms(x) for x in sized[-1].values()])
    np.testing.assert_allclose(sizes_at(0.0), adam, rtol=1e-4)
    np.testing.assert_allclose(sizes_at(-10.0), np.ones_like(adam), rtol=1e-3)
    np.testing.assert_allclose(sizes_at(float(np.log(3) / 10)), adam**1.5, rtol=1e-4)


@pytest.mark.parametrize("size", by_default(["adam", "snr", "learned"], "learned"))
def test_a_sized_step_is_zero_without_a_gradient(size):
    tx = celo2.scale_by_celo2(THETA, odd=True, size=size, newton_schulz_steps=1)
    params = tree(0)
    updates, _ = jax.jit(tx.update)(jax.tree.map(jnp.zeros_like, params), tx.init(params), params)
    jax.tree.map(lambda u: np.testing.assert_array_equal(u, 0.0), updates)


def test_other_momenta_and_fewer_newton_schulz_steps_change_the_step():
    def last(**form):
        return steps(celo2.scale_by_celo2(THETA, **form), shapes=KERNEL)[-1]["kernel"]

    plain = last()
    for changes in ({"momentum_decays": (0.8, 0.95, 0.99)}, {"newton_schulz_steps": 2}):
        assert rms(last(**changes) - plain) > 1e-3
    np.testing.assert_array_equal(last(momentum_decays=(0.9, 0.99, 0.999), newton_schulz_steps=5), plain)


def do_the_same(shapes, *optimizers):
    """Whether two optimizers do the same to tensors of these shapes."""
    return same_program(*(traced(tx.update, tx.init, *shapes.items()) for tx in optimizers))


@functools.lru_cache(maxsize=32)
def traced(update, init, *shapes):
    params = {name: jnp.ones(shape) for name, shape in shapes}
    return jax.make_jaxpr(lambda p: update(p, init(p), p))(params)


def test_long_matrices_are_not_orthogonalised_beyond_the_ratio():
    """Square ones are treated as with Newton-Schulz, long ones as without, convolutions by what counts as their matrix."""
    every, none, some = (
        celo2.scale_by_celo2(THETA, **changes)
        for changes in ({}, {"orthogonalize": False}, {"newton_schulz_ratio": 4.0})
    )
    for shape, same, other in (
        ((8, 8), every, none),
        ((40, 8), none, every),
        ((8, 40), none, every),
        ((3, 3, 8, 8), every, none),
    ):
        assert do_the_same({"w": shape}, some, same)
        assert not do_the_same({"w": shape}, some, other)
    whole = {"newton_schulz_ratio": 4.0, "weight_dimension_numbers": celo2.fan_in_fan_out}
    long, plain = celo2.scale_by_celo2(THETA, **whole), celo2.scale_by_celo2(THETA, **whole, orthogonalize=False)
    assert do_the_same({"w": (3, 3, 8, 8)}, long, plain)
    assert do_the_same({"w": (40, 8)}, celo2.scale_by_celo2(THETA, newton_schulz_ratio=5.0), every)


def save(folder, card=None):
    path = folder / "mine.theta"
    celo2.save_checkpoint(path, THETA)
    if card is not None:
        (folder / "mine.json").write_text(json.dumps(card))
    return path


MINE = form.Form(
    odd=True, size="adam", momentum_decays=(0.8, 0.95, 0.99), newton_schulz_steps=2, newton_schulz_ratio=1.5
)


def arguments(of):
    """A form as `scale_by_celo2` takes it part by part."""
    return {name: value for name, value in of._asdict().items() if name != "schedule_form"}


def test_the_form_travels_with_the_weights(tmp_path):
    path = save(tmp_path, {"form": form.to_card(MINE)})
    assert celo2.load_weights(path).form == MINE
    assert celo2.load_weights(str(path)).form == MINE
    assert celo2.load_weights(celo2.load_weights(path)).form == MINE
    theta = celo2.load_checkpoint(path)
    jax.tree.map(np.testing.assert_array_equal, theta, THETA)
    explicit, named = celo2.scale_by_celo2(theta, **arguments(MINE)), celo2.scale_by_celo2(path)
    assert do_the_same(SHAPES, named, explicit)
    bare = celo2.scale_by_celo2(theta)
    published = celo2.scale_by_celo2(theta, **arguments(form.PUBLISHED))
    assert do_the_same(SHAPES, bare, published)
    assert not do_the_same(SHAPES, named, published)
    # What is said wins.
    mixed = celo2.scale_by_celo2(
        path,
        odd=False,
        size="unit",
        momentum_decays=(0.9, 0.99, 0.999),
        newton_schulz_steps=5,
        newton_schulz_ratio=math.inf,
    )
    assert do_the_same(SHAPES, mixed, published)


def test_weights_without_a_card_or_with_an_old_one_are_in_the_published_form(tmp_path):
    assert celo2.load_weights(save(tmp_path)).form == form.PUBLISHED
    assert celo2.load_weights(save(tmp_path, {"rule": "celo2"})).form == form.PUBLISHED
    assert celo2.load_weights(save(tmp_path, {"form": form.to_card(form.PUBLISHED)})).form == form.PUBLISHED
    assert celo2.load_weights(THETA).form == form.PUBLISHED


def test_celo_and_celo_adam_take_names_and_paths(tmp_path):
    path = tmp_path / "mine.theta"
    celo2.save_checkpoint(path, CELO_THETA)
    (tmp_path / "mine.json").write_text(json.dumps({"form": {"odd": True}}))
    expected = steps(celo2.celo(10, CELO_THETA, odd=True))[-1]
    jax.tree.map(np.testing.assert_array_equal, steps(celo2.celo(10, path))[-1], expected)
    expected = steps(celo2.celo_adam(10, celo2.load_theta("celo_adam")))[-1]
    jax.tree.map(np.testing.assert_array_equal, steps(celo2.celo_adam(10, "celo_adam"))[-1], expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": "adams"}, "unknown size 'adams'; there are adam, "),
        ({"size": 3}, "unknown size '3'; there are "),
        ({"odd": 1}, "odd must be True or False, got 1"),
        ({"momentum_decays": (0.9, 0.99)}, "momentum_decays must be 3 numbers in"),
        ({"momentum_decays": (0.9, 0.99, 1.0)}, "momentum_decays must be 3 numbers in"),
        ({"newton_schulz_steps": 0}, "newton_schulz_steps must be a whole number from 1 to 50, got 0"),
        ({"newton_schulz_ratio": 0.5}, "newton_schulz_ratio must be a number of at least 1, got 0.5"),
    ],
)
def test_an_impossible_form_is_refused(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        celo2.scale_by_celo2(THETA, **changes)
    path = save(tmp_path, {"form": changes})
    with pytest.raises(ValueError, match=f"the card of {path}: {message}"):
        celo2.load_weights(path)


@pytest.mark.parametrize("card", [{"form": 3}, {"form": {"oddness": True}}])
def test_a_card_with_a_form_that_is_not_understood_is_refused(tmp_path, card):
    with pytest.raises(ValueError, match=r"the card of .*mine.theta: "):
        celo2.load_weights(save(tmp_path, card))


def test_graft_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match="unknown size 'learned'; there are "):
        celo2.graft(optax.identity(), "learned")
    with pytest.raises(ValueError, match=r"b1 must lie in \[0, 1\), got 1.0"):
        celo2.graft(optax.identity(), b1=1.0)
