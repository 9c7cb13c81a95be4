"""The families with gradients as in reinforcement learning, against numbers worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import by_default
from metatrain import augmentation, batches, families, problems, rules, tasks
from metatrain.tasks import Batch
from metatrain.unroll import TruncatedUnroll

B, N = 12, 10


def batch(seed=0, step=0, size=B):
    rng = np.random.default_rng(seed)
    images = rng.random((size, 64), np.float32)
    return Batch(
        jnp.asarray(images), jnp.asarray(rng.integers(0, N, size), jnp.int32), jnp.int32(step), jnp.uint32(seed)
    )


def noise(size=B, share=0.0):
    return problems.Noise(jnp.int32(size), jnp.float32(share))


def softmax(logits):
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def test_the_gradient_of_a_bandit_is_the_policy_gradient_plus_the_entropys():
    """d/dlogits of -sum w (A log pi(a) + c H): -w (A (onehot - pi) - c pi (log pi + H)), worked out on paper."""
    rng = np.random.default_rng(1)
    logits, advantage = rng.normal(size=(B, N)).astype(np.float32), rng.normal(size=B).astype(np.float32)
    actions = rng.integers(0, N, B)
    pi = softmax(logits)
    rollout = problems.Rollout(
        noise(), jnp.int32(0), jnp.zeros((B, 64)), jnp.asarray(actions), jnp.asarray(advantage),
        jnp.asarray(np.log(pi[np.arange(B), actions])),
    )  # fmt: skip
    weights = np.full(B, 1 / B, np.float32)
    grad = jax.grad(problems.policy_loss)(jnp.asarray(logits), rollout, jnp.asarray(weights))
    one_hot = np.eye(N)[actions]
    entropy = -(pi * np.log(pi)).sum(axis=1, keepdims=True)
    by_hand = advantage[:, None] * (one_hot - pi) - problems.ENTROPY_COEF * pi * (np.log(pi) + entropy)
    np.testing.assert_allclose(grad, -weights[:, None] * by_hand, atol=1e-6)


def test_ppo_stops_pushing_where_the_ratio_has_left_the_clip():
    logits = jnp.zeros((4, N)).at[:, 0].set(2.0)
    actions = jnp.zeros(4, jnp.int32)
    log_prob = float(jax.nn.log_softmax(logits)[0, 0])
    # Ratios 1 and 2, advantages of both signs: only (2, positive) is clipped away.
    old = jnp.asarray([log_prob, log_prob, log_prob - np.log(2), log_prob - np.log(2)])
    rollout = problems.Rollout(
        noise(4), jnp.int32(0), jnp.zeros((4, 64)), actions, jnp.asarray([1.0, -1.0, 1.0, -1.0]), old
    )
    grad = jax.grad(lambda x: problems.policy_loss(x, rollout, jnp.full(4, 0.25)))(logits)
    entropy = jax.grad(lambda x: problems.policy_loss(x, rollout._replace(advantage=jnp.zeros(4)), jnp.full(4, 0.25)))
    pushed = np.abs(np.asarray(grad - entropy(logits)))[:, 0]
    assert pushed[2] < 1e-7
    np.testing.assert_allclose(pushed[[0, 1]], pushed[0], rtol=1e-5)
    np.testing.assert_allclose(pushed[3], 2 * pushed[0], rtol=1e-5)


def test_advantages_are_standardised_over_the_images_in_use():
    reward = jnp.asarray([1.0, 0.0, 0.0, 1.0, 9.0, 9.0])
    weights = jnp.asarray([0.25, 0.25, 0.25, 0.25, 0.0, 0.0])
    np.testing.assert_allclose(problems.standardized(reward, weights)[:4], [1, -1, -1, 1], atol=1e-6)
    assert np.all(np.isfinite(problems.standardized(jnp.zeros(6), weights)))


def test_a_bandits_objective_is_the_exact_expected_reward():
    task = problems.make("bandit", "relu", 8, B)
    params = task.init(jax.random.key(0))
    assert float(task.objective(jax.tree.map(jnp.zeros_like, params), None, batch())) == pytest.approx(np.log(10))
    logits = np.asarray(tasks.network("relu", 8).apply(params, batch().images))
    right = softmax(logits)[np.arange(B), np.asarray(batch().labels)].mean()
    assert float(task.objective(params, None, batch())) == pytest.approx(np.log(10) / 0.9 * (1 - right), rel=1e-5)


def test_a_batch_is_acted_on_once_and_used_four_times():
    task = problems.make("bandit_ppo", "relu", 8, B)
    params = task.init(jax.random.key(0))
    memory, remember = task.start(jax.random.key(1), params), jax.jit(task.remember)
    seen = []
    for step in range(9):
        memory = remember(params, memory, batch(seed=step, step=step))
        seen.append(np.asarray(memory.images))
    for step in range(9):
        np.testing.assert_array_equal(seen[step], batch(seed=step - step % 4).images)
    every = problems.make("bandit", "relu", 8, B)
    memory = every.start(jax.random.key(1), params)
    for step in range(3):
        memory = every.remember(params, memory, batch(seed=step))
        np.testing.assert_array_equal(memory.images, batch(seed=step).images)


def test_actions_are_drawn_with_the_policys_probabilities():
    probabilities = jnp.tile(jnp.asarray([[0.5, 0.3, 0.2]]), (30_000, 1))
    drawn = problems.sampled(probabilities, batches.uniform(jnp.uint32(5), 0, (30_000,)))
    np.testing.assert_allclose(np.bincount(drawn, minlength=3) / 30_000, [0.5, 0.3, 0.2], atol=0.01)


def test_hashed_numbers_are_uniform_and_differ_by_key_stream_and_place():
    u = np.asarray(batches.uniform(jnp.uint32(1), 0, (200, 50)))
    assert 0 <= u.min() < 0.001
    assert 0.999 < u.max() < 1
    np.testing.assert_allclose(np.histogram(u, 10, (0, 1))[0] / u.size, 0.1, atol=0.01)
    for other in (batches.uniform(jnp.uint32(2), 0, u.shape), batches.uniform(jnp.uint32(1), 1, u.shape), u[::-1]):
        assert abs(np.corrcoef(u.ravel(), np.asarray(other).ravel())[0, 1]) < 0.03


def test_the_chain_has_the_values_of_its_bellman_equation():
    transitions, rewards, values = problems.chain()
    np.testing.assert_allclose(transitions.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(values, rewards + problems.GAMMA * transitions @ values, atol=1e-5)
    np.testing.assert_allclose([values.mean(), values.std()], [0, 1], atol=1e-5)


def test_the_gradient_of_a_value_is_the_semi_gradient_of_the_bootstrapped_error():
    task = problems.make("value", "relu", 8, B)
    net = tasks.network("relu", 8, outputs=1)
    params, target = task.init(jax.random.key(0)), task.init(jax.random.key(9))
    roles = jnp.arange(N)[::-1].astype(jnp.int32)
    memory = problems.ValueMemory(noise(share=0.0), roles, target)
    b = batch(3)
    grad = jax.jit(jax.grad(task.loss))(params, memory, b)
    transitions, rewards, _ = problems.chain()
    states = np.asarray(roles)[np.asarray(b.labels)]
    u = np.asarray(batches.uniform(b.key, problems.STATES, (3, B)))
    values = jax.jit(lambda p: net.apply(p, b.images)[:, 0])
    old, outputs = np.asarray(values(target)), np.asarray(values(params))
    vjp = jax.jit(lambda cotangent: jax.vjp(values, params)[1](cotangent))
    error, found = np.zeros(B), 0
    for i in range(B):
        following = min(int((np.cumsum(transitions[states[i]]) <= u[0, i]).sum()), N - 1)
        start = int(B * u[1, i])
        places = [j % B for j in range(start, start + B) if states[j % B] == following]
        if places:
            found += 1
            error[i] = float(outputs[i]) - (rewards[states[i]] + problems.GAMMA * old[places[0]])
    assert 0 < found < B, "both kinds are to be tried"
    (by_hand,) = vjp(jnp.asarray(error / B, jnp.float32))
    jax.tree.map(lambda g, e: np.testing.assert_allclose(g, e, atol=1e-5), grad, by_hand)


def test_a_values_objective_is_the_distance_from_the_truth_and_its_target_moves_slowly():
    task = problems.make("value", "tanh", 8, B)
    params = task.init(jax.random.key(0))
    zeros = jax.tree.map(jnp.zeros_like, params)
    memory = task.start(jax.random.key(1), zeros)
    truth = problems.chain()[2][np.asarray(memory.roles)[np.asarray(batch().labels)]]
    assert float(task.objective(zeros, memory, batch())) == pytest.approx(np.log(10) * np.mean(truth**2), rel=1e-5)
    moved = task.remember(params, memory, batch())
    jax.tree.map(lambda t, p: np.testing.assert_allclose(t, 0.02 * p, rtol=1e-5), moved.target, params)


def test_drift_changes_the_labels_meaning_every_period_and_the_objective_knows_it():
    task = problems.make("drift", "relu", 8, B)
    params = task.init(jax.random.key(0))
    memory = task.start(jax.random.key(2), params)._replace(
        noise=noise(), period=jnp.int32(50), pixels=jnp.bool_(False)
    )
    loss, objective = jax.jit(task.loss), jax.jit(task.objective)
    clean = [float(loss(params, memory, batch(step=t))) for t in (0, 49, 50, 99, 100)]
    assert clean[0] == clean[1] != clean[2] == clean[3] != clean[4]
    np.testing.assert_allclose(float(objective(params, memory, batch(step=0))), clean[0], rtol=1e-6)
    noisy = memory._replace(noise=noise(share=0.8))
    assert float(loss(params, noisy, batch(step=0))) != clean[0]
    assert float(objective(params, noisy, batch(step=0))) == pytest.approx(clean[0], rel=1e-6)
    few = memory._replace(noise=noise(size=5))
    five = Batch(*(x[:5] for x in batch()[:2]), jnp.int32(0), jnp.uint32(0))
    assert float(loss(params, few, batch(step=0))) == pytest.approx(float(objective(params, memory, five)), rel=1e-5)


def test_the_gradient_of_drift_is_that_of_classification_with_the_labels_as_they_are_meant():
    """d/dlogits of cross-entropy is pi - onehot; what each label means is read off the losses of one image."""
    net, used, step = tasks.network("relu", 8), 7, 120
    task = problems.make("drift", "relu", 8, B)
    params = task.init(jax.random.key(0))
    memory = task.start(jax.random.key(2), params)._replace(
        noise=noise(), period=jnp.int32(50), pixels=jnp.bool_(False)
    )
    image = jnp.tile(batch().images[:1], (B, 1))
    logits_of = jax.jit(lambda p, images: net.apply(p, images))
    chances = -np.log(softmax(np.asarray(logits_of(params, image))))[0]

    def loss_of(label):
        return task.loss(params, memory, Batch(image, jnp.full(B, label), jnp.int32(step), jnp.uint32(0)))

    losses = jax.jit(jax.vmap(loss_of))(np.arange(N))
    meaning = np.argmin(np.abs(np.asarray(losses)[:, None] - chances), axis=1)
    assert sorted(meaning) == list(range(N))
    assert list(meaning) != list(range(N))

    given = batch(step=step)
    logits = logits_of(params, given.images)
    pull = jax.jit(lambda cotangent: jax.vjp(lambda p: logits_of(p, given.images), params)[1](cotangent))
    by_hand = (softmax(np.asarray(logits)) - np.eye(N)[meaning[np.asarray(given.labels)]]) / used
    by_hand[used:] = 0
    found = jax.jit(jax.grad(task.loss))(params, memory._replace(noise=noise(size=used)), given)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found, pull(jnp.asarray(by_hand, jnp.float32))[0]
    )


def test_permuted_pixels_are_the_same_pixels():
    task = problems.make("drift", "relu", 8, B)
    params = task.init(jax.random.key(0))
    memory = task.start(jax.random.key(2), params)._replace(noise=noise(), pixels=jnp.bool_(True))
    even = batch()._replace(images=jnp.ones((B, 64)) * jnp.arange(B)[:, None] / B)
    kept = memory._replace(pixels=jnp.bool_(False))
    np.testing.assert_allclose(task.loss(params, memory, even), task.loss(params, kept, even), rtol=1e-6)
    assert float(task.loss(params, memory, batch())) != float(task.loss(params, kept, batch()))


def test_noise_spans_batch_sizes_and_shares():
    task = problems.make("drift", "relu", 8, 64)
    params = task.init(jax.random.key(0))
    drawn = jax.vmap(lambda k: task.start(k, params))(jax.random.split(jax.random.key(0), 2000))
    size, share, period = (np.asarray(x) for x in (*drawn.noise, drawn.period))
    assert (size.min(), size.max()) == (4, 64)
    assert np.mean(size < 16) == pytest.approx(0.5, abs=0.05)
    assert 0 <= share.min() < 0.01
    assert 0.79 < share.max() < 0.8
    assert 50 <= period.min() < 53
    assert 950 < period.max() <= 1000


# Every problem and every network once.
TRIED = {f"{network}-{problem}": (network, problem) for network in tasks.CLASSIFIERS for problem in problems.PROBLEMS}


@pytest.mark.parametrize("case", by_default(TRIED, "relu-bandit", "tanh-bandit_ppo", "deep-drift", "tanh-value"))
def test_every_problem_is_learned_by_plain_descent(case):
    network, problem = case
    size = 64
    task = problems.make(problem, network, 16, size)
    params = task.init(jax.random.key(0))
    rng = np.random.default_rng(0)
    centres = rng.random((N, 64), np.float32)
    labels = rng.integers(0, N, (400, size)).astype(np.int32)
    data = jnp.asarray(centres[labels] + 0.1 * rng.normal(size=(400, size, 64)).astype(np.float32)), jnp.asarray(labels)
    memory = task.start(jax.random.key(1), params)
    memory = memory._replace(noise=noise(size=size, share=0.0))
    if problem == "drift":
        memory = memory._replace(period=jnp.int32(1000))

    def step(carry, xs):
        params, memory = carry
        (images, labels), t = xs
        b = Batch(images, labels, t, batches.step_key(jnp.uint32(0), t))
        memory = task.remember(params, memory, b)
        counted = task.objective(params, memory, b)
        grads = jax.grad(task.loss)(params, memory, b)
        return (jax.tree.map(lambda p, g: p - 0.2 * g, params, grads), memory), counted

    losses = jax.jit(lambda c: jax.lax.scan(step, c, (data, jnp.arange(400))))((params, memory))[1]
    assert losses[0] < task.loss_cap
    assert np.mean(losses[-20:]) < 0.75 * np.mean(losses[:5])


def test_families_are_named_with_their_problem():
    found = families.load(("mnist@bandit", "digits/tanh:8@value", "mnist", "digits@bandit"), 16, 32)
    assert [group.members for group in found] == [(0, 3), (1,), (2,)]
    for spec, message in (
        ("mnist@bandits", "unknown problem 'bandits'; there are bandit"),
        ("mnist/autoencoder@value", "unknown network for value 'autoencoder'; there are "),
        ("mnist@", "no problem after the @"),
    ):
        with pytest.raises(ValueError, match=message):
            families.load((spec,), 16, 32)


def test_a_restart_gives_the_task_a_fresh_memory_and_the_rule_hears_the_noisy_loss():
    task = problems.make("bandit_ppo", "relu", 8, B)
    problem = TruncatedUnroll(task, rules.get("celo"), 100, 200, "none", (1.0, 1.0))
    theta = problem.rule.init_theta(jax.random.key(0))
    state = problem.init(jax.random.key(1), theta)._replace(inner_step=jnp.int32(99), length=jnp.int32(100))
    restart = problem.draw_restart(jax.random.key(2))
    step = jax.jit(problem.step)
    state, record = step(theta, state, restart, batch(0))
    objective = jax.jit(lambda params, batch: task.objective(params, None, batch))
    expected = objective(state.params, batch(1))
    # The schedule was told the loss of the clipped objective, which is about 0, not the objective.
    assert abs(float(state.opt_state.schedule.losses.means[0])) < 0.1 * float(record.loss)
    assert bool(record.is_done)
    state, record = step(theta, state, restart, batch(1))
    assert not bool(record.mask)
    jax.tree.map(np.testing.assert_array_equal, state.memory, restart.memory)
    assert float(expected) > 0
    state, record = step(theta, state, restart, batch(2))
    np.testing.assert_allclose(record.loss, objective(restart.params, batch(2)), rtol=1e-5)


@pytest.mark.parametrize("signs", ["tensor", "parameter", "mixed"])
def test_random_signs_leave_the_function_as_it_is(signs):
    task = tasks.make("relu", 8)
    params = task.init(jax.random.key(0))
    scale = augmentation.draw_scale(jax.random.key(1), params, "global", (0.5, 2.0))
    drawn = [augmentation.with_signs(jax.random.key(k), params, scale, signs) for k in range(40)]
    for signed in drawn[:3]:
        shown = augmentation.to_task(augmentation.to_rule(params, signed), signed)
        np.testing.assert_allclose(task.loss(shown, None, batch()), task.loss(params, None, batch()), rtol=1e-5)
    mixed_within = [bool(np.ndim(s["linear_0"]["w"]) and np.ptp(np.sign(s["linear_0"]["w"]))) for s in drawn]
    assert np.mean(mixed_within) == {"tensor": 0.0, "parameter": 1.0}.get(signs, pytest.approx(0.5, abs=0.3))
    negative = [float(np.ravel(s["linear_0"]["w"])[0]) < 0 for s in drawn]
    assert 0.2 < np.mean(negative) < 0.8
