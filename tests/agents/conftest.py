"""What tests of several agents use."""

import jax
import jax.numpy as jnp
import pytest

import agents
import envs

GARBAGE = 1e3


@pytest.fixture(scope="session")
def learned_from_probes():
    """Trains an agent on several probe environments in one program: {id: params}.

    make(env) is an agent; the rest is as for `agents.train`.
    """

    def train(env_ids, num_envs, make, rate, iterations):
        probes = [envs.make(env_id, num_envs) for env_id in env_ids]

        def learned(number):
            def reset(key):
                return jax.lax.switch(number, [probe.reset for probe in probes], key)

            def step(key, state, action):
                return jax.lax.switch(number, [probe.step for probe in probes], key, state, action)

            agent = make(envs.VectorEnv(probes[0].spec, reset, step))
            return agents.train(agent, jax.random.key(0), agent.hyperparams(rate), iterations)[0].params

        found = jax.jit(jax.vmap(learned))(jnp.arange(len(probes)))
        return {env_id: jax.tree.map(lambda x, i=i: x[i], found) for i, env_id in enumerate(env_ids)}

    return train


@pytest.fixture
def with_autoreset_steps():
    """Wraps an environment of one-step episodes as envpool does it: every second step is an autoreset step.

    The frame that is acted on there, and the reward, are garbage, and the step is not valid.
    """

    def wrap(inner):
        n = inner.spec.num_envs

        def reset(key):
            state, obs = inner.reset(key)
            return (state, jnp.zeros((), bool)), obs

        def step(key, state, action):
            inner_state, after_end = state
            new_state, real = inner.step(key, inner_state, action)
            no, garbage = jnp.zeros(n, bool), jnp.full_like(real.obs, GARBAGE)
            end = real._replace(obs=garbage)
            disguised = real._replace(
                reward=jnp.full(n, GARBAGE),
                terminated=no,
                valid=no,
                final_obs=garbage,
                episode_return=jnp.zeros(n),
                episode_length=jnp.zeros(n, jnp.int32),
            )
            shown = jax.tree.map(lambda a, b: jnp.where(after_end, a, b), disguised, end)
            return (new_state, ~after_end), shown

        return envs.VectorEnv(inner.spec, reset, step)

    return wrap
