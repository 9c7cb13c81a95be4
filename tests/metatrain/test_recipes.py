"""The published recipe by name, families by the bundle, and the settings of the inner optimizer."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import celo2
from metatrain import recipes, rules
from metatrain.config import BUNDLES, NAMES, Inner, MetaTrainConfig
from rlopt import cli

FLAGS = (
    "--families cifar10 fashion mnist svhn --tasks-per-family 8 --outer-learning-rate 5e-5 --outer-schedule constant "
    "--outer-clip None --average-decay 0 --refresh-every 1000000 --no-odd --size unit --newton-schulz-steps 5"
)


def parsed(words):
    return cli._parse(["metatrain", *words.split()])


def test_one_flag_says_what_eight_flags_say():
    named, by_hand = parsed("celo2 --recipe published"), parsed(f"celo2 {FLAGS}")
    assert named.config == by_hand.config != parsed("celo2").config
    assert dataclasses.replace(named, recipe="default") == by_hand


def test_flags_go_before_the_recipe():
    found = parsed("celo2_base --recipe published --tasks-per-family 2 --outer-clip 5 --families digits").config
    assert (found.tasks_per_family, found.outer_clip, found.families) == (2, 5.0, ("digits",))
    assert (found.rule, found.outer_learning_rate, found.size, found.odd) == ("celo2_base", 1e-4, "unit", False)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("celo2 --recipe publishd", "unknown recipe 'publishd'; there are default, published"),
        (
            "--no-odd celo_phase1 --recipe published",
            "say the rule first: rlopt metatrain celo_phase1 --recipe published",
        ),
    ],
)
def test_a_recipe_that_cannot_be_told_is_refused(words, message):
    with pytest.raises(ValueError, match=message):
        parsed(words)


@pytest.mark.parametrize("rule", NAMES)
def test_every_rule_has_the_published_recipe(rule):
    found = recipes.find("published", rule)
    assert found.inner_steps_per_iteration == 3_200
    assert (found.min_unroll, found.max_unroll, found.truncation, found.std) == (100, 2000, 50, 0.01)
    expected = {"celo2": 5e-5, "celo2_base": 1e-4, "celo_phase1": 3e-4, "celo": 3e-4, "celo_adam": 3e-4}
    assert found.outer_learning_rate == expected.get(rule, 1e-4)
    assert found.form.size == "unit"
    assert found.form.newton_schulz_steps == 5
    if rule != "celo":  # which needs the weights of another run
        found.check()


def test_the_rules_of_the_recipes_are_those_that_there_are():
    assert set(NAMES) == set(rules.RULES)


def test_a_bundle_stands_for_its_families_with_network_and_problem():
    found = MetaTrainConfig(families=("digits", "fast_velo/deep:8@bandit", "fast_velo")).families
    sets = BUNDLES["fast_velo"]
    assert sorted(sets) == ["cifar10", "fashion", "mnist", "svhn"]
    assert found == ("digits", *(f"{name}/deep:8@bandit" for name in sets), *sets)


PARAMS = {"mlp": {"w": jnp.linspace(0.5, 1.5, 6).reshape(3, 2), "b": jnp.asarray([1.0, -2.0]), "s": jnp.ones(2)}}
GRADS = jax.tree.map(lambda x: 0.3 * x + 0.1, PARAMS)


def first_steps(*made):
    @jax.jit
    def steps():
        return [tx.update(GRADS, tx.init(PARAMS), PARAMS)[0]["mlp"] for tx in made]

    return steps()


def test_settings_of_the_inner_optimizer_reach_it():
    theta = celo2.init_theta("celo2", jax.random.key(0))
    inner = Inner(step_mult=0.01, mult_1d=3.0, adam_b2=0.5, weight_decay=0.2, regex_1d="/[bs]$")
    default, changed = first_steps(rules.inner_celo2(theta, True), rules.inner_celo2(theta, True, inner))
    w = PARAMS["mlp"]["w"]
    np.testing.assert_allclose(changed["w"], 10 * default["w"] - 0.01 * 0.2 * w, rtol=1e-4, atol=1e-8)
    for name in ("b", "s"):
        g, p = GRADS["mlp"][name], PARAMS["mlp"][name]
        step = 0.1 * g / jnp.sqrt(0.5 * g**2 + 1e-8)
        np.testing.assert_allclose(changed[name], -0.03 * (step + 0.2 * p), rtol=1e-4)
    g = GRADS["mlp"]["b"]
    np.testing.assert_allclose(default["b"], -0.02 * 0.1 * g / jnp.sqrt(0.05 * g**2 + 1e-8), rtol=1e-4)
    assert not np.allclose(default["s"], -0.02 * 0.1 / 0.05**0.5 * jnp.sign(g), rtol=0.1), "the rule has it"


def test_settings_are_those_of_the_form_where_none_are_given():
    sized = celo2.Form(odd=True, size="adam")
    theta = celo2.init_theta("celo2", jax.random.key(0))
    default, changed = first_steps(
        rules.inner_celo2(theta, False, form=sized),
        rules.inner_celo2(theta, False, Inner(step_mult=0.003, mult_1d=1.0, adam_b2=0.999), sized),
    )
    jax.tree.map(np.testing.assert_array_equal, default, changed)


def test_the_step_size_of_meta_validation_is_that_of_the_training():
    unit = celo2.Form()
    assert rules.get("celo2", unit).step_mult == 0.001
    assert rules.get("celo2_base", unit, Inner(step_mult=0.02)).step_mult == 0.02
    assert MetaTrainConfig(step_mult=0.02, inner_weight_decay=0.1).inner == Inner(step_mult=0.02, weight_decay=0.1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rule": "velo", "step_mult": 0.1}, "step_mult: for celo2 and celo2_base, not for velo"),
        ({"rule": "celo_phase1", "inner_weight_decay": 0.1}, "inner_weight_decay: for celo2 and celo2_base"),
        ({"rule": "celo2_base", "size": "unit", "mult_1d": 2.0}, "mult_1d: celo2_base with steps of size unit has no"),
        ({"step_mult": 0.0}, "step_mult must be positive and finite, got 0.0"),
        ({"mult_1d": float("inf")}, "mult_1d must be positive and finite, got inf"),
        ({"adam_b2": 1.0}, r"adam_b2 must lie in \[0, 1\), got 1.0"),
        ({"inner_weight_decay": -1.0}, "inner_weight_decay must be >= 0, got -1.0"),
        ({"regex_1d": "("}, r"regex_1d must be a regular expression, got '\('"),
    ],
)
def test_impossible_settings_of_the_inner_optimizer_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        MetaTrainConfig(**settings).check()
