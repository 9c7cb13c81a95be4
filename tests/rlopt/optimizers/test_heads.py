"""Heads over the steps as an option of every optimizer: what they do, what is recorded, what is refused."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import celo2
from rlopt.benchmark.plan import Plan
from rlopt.optimizers import arms, factory, heads
from rlopt.runs import labels
from rlopt.training.config import TrainConfig

PARAMS = {"hidden_1": {"kernel": jnp.eye(3), "bias": jnp.ones(3)}}
WORDS = "constant=0.5 critic=-1.0"


@pytest.fixture
def file(tmp_path):
    """What a search leaves."""
    path = tmp_path / "head.json"
    weights = dict.fromkeys(celo2.STEP_FEATURES, 0.25) | {"constant": 0.5, "critic": -1.0}
    path.write_text(json.dumps({"generations": 3, "weights": weights, "earned": {}}))
    return path


def steps(name, options, rate=0.1, count=3, **extra):
    make = factory.make(name, options=options)

    def step(state, _):
        update, state = optax.with_extra_args_support(make(rate, 8)).update(PARAMS, state, PARAMS, value=1.0, **extra)
        return state, update

    return jax.jit(lambda: jax.lax.scan(step, make(rate, 8).init(PARAMS), None, length=count)[1])()


@pytest.mark.parametrize("name", ["sgd", "muon_routed", "celo2_base", "celo_adam"])
def test_steps_are_multiplied_by_the_head(name):
    plain, constant = steps(name, {}), steps(name, {"head": "constant=0.5"})
    for a, b in zip(*map(jax.tree.leaves, (constant, plain)), strict=True):
        np.testing.assert_allclose(a, np.exp(0.5) * b, rtol=1e-5)


def test_a_head_and_a_schedule_go_together():
    plain, both = steps("adam", {}), steps("adam", {"head": "progress=-1.0", "schedule": "linear"})
    progress = np.arange(3) / 8
    for a, b in zip(*map(jax.tree.leaves, (both, plain)), strict=True):
        np.testing.assert_allclose(
            a, b * (np.exp(-progress) * (1 - progress)).reshape(-1, *[1] * (b.ndim - 1)), rtol=1e-5
        )


def test_what_is_recorded_needs_no_file(file):
    config = TrainConfig(env="CartPole-v1", optimizer="adam", options={"head": str(file)})
    words = config.options["head"]
    assert heads.read(words) == heads.read(str(file))
    assert TrainConfig(env="CartPole-v1", optimizer="adam", options={"head": words}) == config
    plan = Plan(optimizers=("adam", f"headed=adam:b2=0.99,head={file}"), options={"head": str(file)})
    file.unlink()
    arm = plan.arms["headed"]
    assert arm.options == {"b2": 0.99, "head": words}
    assert plan.config("headed", "CartPole-v1").options["head"] == words
    assert plan.options == {"head": words}


def test_parts_of_an_agent_have_heads_of_their_own(file):
    config = TrainConfig(agent="sac", env="Pendulum-v1", optimizer_of={"critic": f"adam:head={file}"})
    file.unlink()
    assert heads.read(arms.parse(config.optimizer_of["critic"]).options["head"])["critic"] == -1.0


def test_labels_tell_heads_apart_in_short():
    told = [labels.shown(("options", "head"), words) for words in (WORDS, "constant=0.25")]
    assert all(re.fullmatch("head [0-9a-f]{6}", text) for text in told)
    assert told[0] != told[1]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("nowhere.json", "option head: nowhere.json is no head of `rlopt metatrain returns`"),
        ("constant=much", "weights must be numbers by feature"),
        ("constant=nan", "weights must be finite numbers by feature, got constant=nan"),
        ("constant=1 constant=2", "option head names a feature twice"),
        (3.0, "option head must be a file of `rlopt metatrain returns` or FEATURE=WEIGHT, got 3.0"),
        ("depth=1", "unknown feature of a head 'depth'"),
    ],
)
def test_what_is_no_head_is_refused(value, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        factory.make("adam", options={"head": value})


def test_a_users_own_function_may_have_an_option_of_the_name():
    arm = arms.parse("mine=my_module:make:head=3")
    assert (arm.optimizer, arm.options) == ("my_module:make", {"head": 3.0})
    assert arms.settled("mine=my_module:make:head=3") == "mine=my_module:make:head=3"
