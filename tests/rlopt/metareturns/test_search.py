"""The search on returns: finds a known optimum, is resumed as if it had never stopped, refuses what is not its own."""

import dataclasses
import functools
import json
import math
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import celo2
from celo2.step_head import FEATURES
from rlopt.metareturns import lifetimes, search
from rlopt.metareturns.config import SearchConfig
from rlopt.storage import run_lock

CONFIG = SearchConfig(
    optimizer="adam", envs=("CartPole-v1",), steps=(20_000, 40_000), generations=4, members=6, seeds=2
)
# A quadratic whose best constant step is e^2 times the rate: with x' = (1 - lr) x, lr = 1.
RATE = np.exp(-2.0)


@jax.jit
@functools.partial(jax.vmap, in_axes=(0, None))
@functools.partial(jax.vmap, in_axes=(None, 0))
def ends(head, key):
    """Minus the end of 5 steps of gradient descent from 1, for each head and key: [heads, keys]."""
    tx = optax.chain(celo2.scale_by_step_head(head, 5), optax.scale(-RATE))
    params = {"hidden": {"kernel": jnp.ones((1, 1))}}
    state = tx.init(params)
    for _ in range(5):
        updates, state = tx.update(params, state, params)  # the gradient of x^2 / 2
        params = optax.apply_updates(params, updates)
    return -jnp.abs(params["hidden"]["kernel"][0, 0]) + 1e-4 * jax.random.normal(key)


def noisy_quadratic(env, steps, heads, keys):
    return np.asarray(ends(jnp.asarray(heads, jnp.float32), keys))


def test_the_best_step_size_is_found(tmp_path):
    config = dataclasses.replace(CONFIG, generations=40, members=12)
    found = search.run(config, tmp_path / "s", progress=False, train=noisy_quadratic)
    assert found["earned"]["CartPole-v1"]["start"] < -0.4
    assert found["earned"]["CartPole-v1"]["mean"] > -0.02
    assert found["generations"] == 40


def fake(env, steps, heads, keys):
    noise = np.asarray(jax.vmap(lambda key: jax.random.normal(key))(keys))
    return -np.abs(heads[:, :1] - 1) + 0.1 * noise[None] + steps * 1e-6


def test_a_search_that_was_killed_ends_with_the_same_numbers(tmp_path):
    whole = search.run(CONFIG, tmp_path / "whole", progress=False, train=fake)
    folder = tmp_path / "cut"
    search.run(dataclasses.replace(CONFIG, generations=2), folder, progress=False, train=fake)
    with (folder / search.LOG).open("a") as file:
        file.write('{"generation": 2, "heads": [[0.1')  # cut off by a kill
    assert search.run(CONFIG, folder, progress=False, train=fake) == whole
    logs = [(tmp_path / name / search.LOG).read_text().splitlines() for name in ("whole", "cut")]
    without_time = [[json.loads(line) | {"seconds": 0} for line in log] for log in logs]
    assert without_time[0] == without_time[1]
    assert {row["steps"] for row in without_time[0]} == {20_000, 40_000}


def test_a_search_whose_folder_is_moved_says_where_it_goes_on(tmp_path):
    whole = search.run(CONFIG, tmp_path / "whole", progress=False, train=fake)
    here, there = tmp_path / "here", tmp_path / "there"

    def and_move(*arguments):
        if (here / search.LOG).exists():
            here.rename(there)
        return fake(*arguments)

    with pytest.raises(run_lock.Gone, match=f"was moved to {there} .* with --out {there} resumes it there"):
        search.run(CONFIG, here, progress=False, train=and_move)
    assert not here.exists()
    assert len(search.rows(there / search.LOG)) == 2
    assert search.run(CONFIG, there, progress=False, train=fake) == whole

    def and_remove(*arguments):
        shutil.rmtree(here)
        return fake(*arguments)

    with pytest.raises(run_lock.Gone, match="was removed"):
        search.run(CONFIG, here, progress=False, train=and_remove)
    assert not here.exists()


def test_a_disk_that_is_full_for_a_while_costs_a_search_nothing(tmp_path, monkeypatch):
    whole = search.run(CONFIG, tmp_path / "whole", progress=False, train=fake)
    append, tries = search.append_line, []

    def sometimes(*arguments):
        tries.append(1)
        if len(tries) in (2, 3):
            raise OSError(28, "No space left on device")
        append(*arguments)

    monkeypatch.setattr(search, "append_line", sometimes)
    with pytest.warns(RuntimeWarning, match="nothing could be logged .*No space left"):
        assert search.run(CONFIG, tmp_path / "s", progress=False, train=fake) == whole
    assert [row["generation"] for row in search.rows(tmp_path / "s" / search.LOG)] == [0, 1, 2, 3]


def test_another_search_is_refused(tmp_path):
    search.run(dataclasses.replace(CONFIG, generations=1), tmp_path / "s", progress=False, train=fake)
    with pytest.raises(ValueError, match=r"belongs to other settings \(sigma: 0.3 there, 0.5 here\)"):
        search.run(dataclasses.replace(CONFIG, sigma=0.5), tmp_path / "s", progress=False, train=fake)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="neither empty nor a search on returns"):
        search.run(CONFIG, tmp_path / "other", progress=False, train=fake)
    log = tmp_path / "s" / search.LOG
    row = json.loads(log.read_text())
    for told in ([1], row | {"steps": math.inf}, row | {"scores": 5}, row | {"heads": None}):
        (tmp_path / "x").write_text(json.dumps(told) + "\n")
        with pytest.raises(ValueError, match=r"a generation in .* cannot be read"):
            search.replayed(search.start(CONFIG), *search.rows(tmp_path / "x"), CONFIG)
    log.write_text(log.read_text().replace('"heads": [[', '"heads": [[9, ', 1))
    with pytest.raises(ValueError, match="generation"):
        search.run(CONFIG, tmp_path / "s", progress=False, train=fake)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"members": 2}, "members must be at least 4, got 2"),
        ({"sigma": 0.0}, "sigma must be positive, got 0.0"),
        ({"envs": ()}, "envs must be one or more, each once"),
        ({"steps": (1000, 1000)}, "steps must be one or more, each once"),
        ({"steps": (20_000, 10_000)}, "steps must be at least 10,240 on CartPole-v1, 20 parts to score, got 10,000"),
        ({"learning_rate": -1.0}, "learning_rate must be positive"),
    ],
)
def test_impossible_settings(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(CONFIG, **changes).check()


def test_ranks_count_lost_seeds_as_the_worst():
    scores = {
        "a": np.array([[1.0, 1.0], [3.0, np.nan], [2.0, 2.0]]),
        "b": np.array([[5.0, 5.0], [4.0, 4.0], [np.nan] * 2]),
    }
    np.testing.assert_allclose(search.fitness(scores), [(0 + 1) / 2, (0.75 + 0.25) / 2, (0.75 + 0.25) / 2])


def test_scores_are_half_the_mean_and_half_the_end():
    counts = np.ones((1, 3, 40), np.float32)
    sums = np.stack([np.repeat(np.arange(20.0), 2), np.zeros(40), np.ones(40)])[None].astype(np.float32)
    counts[0, 1] = 0  # no episode ever ended
    counts[0, 2, :10] = 0  # none at the beginning
    sums[0, 2, :10] = 0
    finite = np.array([[True, True, True]])
    found = lifetimes.scores(lifetimes.Lifetimes(sums, counts, finite))
    np.testing.assert_allclose(found, [[(9.5 + 18.5) / 2, np.nan, 1.0]])
    assert np.isnan(lifetimes.scores(lifetimes.Lifetimes(sums, counts, ~finite))).all()


def of_lifetimes():
    env = "Probe-ObservationActionReward"
    config = SearchConfig(optimizer="adam", envs=(env,), steps=(4096,)).run(env, 4096)
    return dataclasses.replace(config, hyper=dataclasses.replace(config.hyper, hidden=(8,), epochs=1))


def test_every_head_has_trainings_with_every_key():
    config, heads = of_lifetimes(), jnp.zeros((2, len(FEATURES)))
    earned = jax.eval_shape(lifetimes.make_program(config), heads, jax.random.split(jax.random.key(0), 3))
    assert earned.sums.shape == earned.counts.shape == (2, 3, config.hyper.num_iterations)
    assert earned.finite.shape == (2, 3)


# What a head makes of steps is tried in tests/celo2/test_step_head.py; here whole trainings are compiled.
@pytest.mark.slow
def test_heads_change_whole_trainings_and_zero_does_not():
    config = of_lifetimes()
    still = np.where(np.asarray(FEATURES) == "constant", -4.0, 0.0)
    heads = jnp.asarray(np.stack([np.zeros(len(FEATURES)), still]), jnp.float32)
    earned = lifetimes.make_program(config)(heads, jax.random.split(jax.random.key(0), 1))
    assert earned.sums.shape == (2, 1, config.hyper.num_iterations)
    assert not np.array_equal(earned.sums[0], earned.sums[1])

    import agents
    from rlopt.training import loop

    agent = loop.make_agent(config)
    hyperparams = agent.hyperparams(config.handed_rate)
    key = jax.random.split(jax.random.key(0), 1)[0]
    _, plain = jax.jit(lambda key: agents.train(agent, key, hyperparams, config.hyper.num_iterations))(key)
    np.testing.assert_allclose(earned.counts[0, 0], plain.num_episodes)
