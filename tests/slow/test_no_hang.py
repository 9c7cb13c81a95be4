"""Every preset runs to the end with 1, 4 and 16 seeds, on one device and on one per core: `make test-slow`.

With LAPACK's batched QR in the program, four seeds of Freeway and SpaceInvaders hung for ever on two cores under JAX's own
settings; those of `rlopt.training.runtime` hide it.
"""

import os
import subprocess
import sys

import pytest

from helpers import need_suite
from rlopt.training import presets

pytestmark = pytest.mark.slow

CHILD = """
import dataclasses, sys
import numpy as np
from rlopt.training import presets, runtime
agent, env_id, devices = sys.argv[1:]
runtime.configure(num_devices=int(devices) or None)
from rlopt.training import loop
from rlopt.training.config import TrainConfig
hyper = presets.config(agent, env_id)
# Ten iterations of learning, which is where programs hang, and for DQN what comes before.
steps = 10 * hyper.env_steps_per_iteration + getattr(hyper, "learning_starts", 0)
hyper = dataclasses.replace(hyper, total_steps=steps)
for seeds in (1, 4, 16):
    config = TrainConfig(agent=agent, env=env_id, optimizer="adam", seeds=seeds, hyper=hyper)
    history = loop.train(config, progress=False)
    assert np.all(np.isfinite(history.metrics["loss"])), seeds
    assert history.steps[-1] == hyper.num_iterations * hyper.env_steps_per_iteration
"""


PLAIN = """
import dataclasses, sys
import jax, numpy as np, optax
import agents, envs
from rlopt.training import presets
config = presets.config("ppo", sys.argv[1])
config = dataclasses.replace(config, total_steps=10 * config.env_steps_per_iteration, network="minatar", hidden=(128,))
agent = agents.ppo(envs.make(sys.argv[1], config.num_envs), config, lambda rate, updates: optax.adam(rate))
keys = jax.random.split(jax.random.key(0), 4)
state = jax.jit(jax.vmap(agent.init, (0, None)))(keys, agent.hyperparams(1e-3))
state, metrics = jax.jit(lambda s: jax.lax.scan(lambda s, _: jax.vmap(agent.step)(s), s, None, length=10))(state)
assert np.all(np.isfinite(metrics.loss))
"""


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("env_id", ["Freeway-MinAtar", "SpaceInvaders-MinAtar"])
def test_it_runs_to_the_end_with_jaxs_own_settings(env_id):
    # Where the plain program hung: two cores, one device with a pool of threads, none of `rlopt.training.runtime`.
    environment = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "NPROC")}
    cores = ",".join(map(str, sorted(os.sched_getaffinity(0))[:2]))
    subprocess.run(
        ["taskset", "-c", cores, sys.executable, "-c", PLAIN, env_id], env=environment, check=True, timeout=900
    )


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("devices", [0, 1])
@pytest.mark.parametrize(("agent", "env_id"), presets.PRESETS)
def test_it_runs_to_the_end(agent, env_id, devices):
    need_suite(env_id)
    environment = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "NPROC")}
    arguments = [sys.executable, "-c", CHILD, agent, env_id, str(devices)]
    subprocess.run(arguments, env=environment, check=True, timeout=1100)
