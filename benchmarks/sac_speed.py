"""SAC on Pendulum beside rejax's: environment steps per second of processor time, in one process, in turn.

    pip install --no-deps rejax
    python benchmarks/sac_speed.py --seeds 1 8

Both train two critics, an actor and a temperature with Adam: one environment, one gradient step per environment step,
the networks, batch, replay and steps before learning of the preset. rejax is compiled as its documentation says, seeds
under `vmap`, without its evaluations. Compilation is not counted. Prints the median of `--rounds` and the range.
"""

import argparse
import dataclasses
import statistics
import time
from collections.abc import Callable

from rlopt.training import presets, runtime

ENV = "Pendulum-v1"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--steps", type=int, default=20_000, help="environment steps per seed")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    runtime.configure()
    print("| seeds | SAC of | steps per CPU-second (median) | range | over rejax's |\n|---|---|---|---|---|")
    for seeds in args.seeds:
        makers = {"rejax": rejax_training, "rlopt": our_training}
        trainings = {name: make(seeds, args.steps) for name, make in makers.items()}
        rates: dict[str, list[float]] = {name: [] for name in trainings}
        for _ in range(args.rounds):
            for name, train in trainings.items():
                began = time.process_time()
                train()
                rates[name].append(seeds * args.steps / (time.process_time() - began))
        median = {name: statistics.median(found) for name, found in rates.items()}
        for name, found in rates.items():
            spread = f"{min(found):,.0f}-{max(found):,.0f}"
            print(f"| {seeds} | {name} | {median[name]:,.0f} | {spread} | {median[name] / median['rejax']:.2f} |")


def our_training(seeds: int, steps: int) -> Callable[[], None]:
    """A function that trains our agent on one device, without run folders; compiled already."""
    import jax
    import optax

    import agents
    import envs

    config = dataclasses.replace(presets.config("sac", ENV), total_steps=steps)
    agent = agents.sac(envs.make(ENV, config.num_envs), config, lambda rate, _: optax.adam(rate))
    hyperparams = agent.hyperparams(presets.learning_rate("sac", ENV, "adam"))
    run = jax.jit(jax.vmap(lambda key: agents.train(agent, key, hyperparams, config.num_iterations)))
    return _compiled(run, seeds)


def rejax_training(seeds: int, steps: int) -> Callable[[], None]:
    """The same of rejax."""
    import gymnax
    import jax
    import rejax

    class OldSteps:
        """The environment with steps as they were before gymnax 1.0, which rejax expects."""

        def __init__(self, env):
            self.env, self.reset, self.default_params = env, env.reset, env.default_params
            self.action_space, self.observation_space = env.action_space, env.observation_space

        def step(self, *args):
            obs, state, reward, terminated, truncated, info = self.env.step(*args)
            return obs, state, reward, terminated | truncated, info

    config = presets.config("sac", ENV)
    theirs = rejax.get_algo("sac").create(
        env=OldSteps(gymnax.make(ENV)[0]),
        total_timesteps=steps,
        eval_freq=steps,
        skip_initial_evaluation=True,
        num_envs=config.num_envs,
        buffer_size=config.replay_capacity,
        fill_buffer=config.learning_starts,
        batch_size=config.batch_size,
        learning_rate=presets.learning_rate("sac", ENV, "adam"),
        gamma=config.gamma,
        polyak=1 - config.target_rate,
        target_update_freq=1,
        agent_kwargs={"hidden_layer_sizes": config.hidden, "activation": config.activation},
    )
    quiet = theirs.replace(eval_callback=lambda algo, state, key: ())
    return _compiled(jax.jit(jax.vmap(quiet.train)), seeds)


def _compiled(run, seeds: int) -> Callable[[], None]:
    import jax

    keys = jax.random.split(jax.random.key(0), seeds)
    program = run.lower(keys).compile()
    return lambda: jax.block_until_ready(program(keys))


if __name__ == "__main__":
    main()
