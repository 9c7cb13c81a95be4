"""Where the time of training on an Atari game goes: games alone, behind our interface, with the policy, with learning.

    python benchmarks/atari_speed.py --preset fast
    python benchmarks/atari_speed.py --preset default
    python benchmarks/atari_speed.py --whole ppo:adam pqn:adam dqn:adam
    python benchmarks/atari_speed.py --whole ppo:adam ppo:celo2 ppo:celo2_base --iterations 2

One seed on one device. Every row does what the row before does and something more, with the settings of the preset;
`--rounds` rounds in turn, medians. An agent's step is four frames of the console. The machine should be idle otherwise.

`--whole AGENT:OPTIMIZER ...`: whole trainings beside each other, with the program that `rlopt train` compiles. A round
has as many steps as `--iterations` of PPO; agents with a replay have begun to learn before the first one. Processor
seconds count the cores that a busy machine gives, not the time in which others have them; ratios are to the first
training of the same round.
"""

import argparse
import dataclasses
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from rlopt.training import runtime

runtime.configure(num_devices=1)

import envpool  # noqa: E402
import jax  # noqa: E402
import numpy as np  # noqa: E402

import agents  # noqa: E402
import envs  # noqa: E402
from envs.cores import num_cores  # noqa: E402
from rlopt.training import loop, placement, presets  # noqa: E402
from rlopt.training.config import TrainConfig  # noqa: E402

Work = Callable[[], Any]


def stepped_by_envpool(config: TrainConfig, steps: int, asynchronous: bool) -> Work:
    """Random actions from Python, nothing of ours. asynchronous: whichever half of twice as many games is ready."""
    n = config.hyper.num_envs
    pool = envpool.make(
        config.env,
        env_type="gymnasium",
        num_envs=2 * n if asynchronous else n,
        batch_size=n,
        num_threads=num_cores(),
        img_height=config.atari.image_size,
        img_width=config.atari.image_size,
    )
    actions = np.random.default_rng(0).integers(0, pool.action_space.n, (steps, n)).astype(np.int32)
    if not asynchronous:
        pool.reset()
        return lambda: [pool.step(action) for action in actions]
    pool.async_reset()

    def run() -> None:
        for action in actions:
            pool.send(action, pool.recv()[-1]["env_id"])

    return run


def stepped_by_us(config: TrainConfig, env: envs.VectorEnv, steps: int) -> Work:
    """Random actions through `VectorEnv`, in one compiled program."""
    shape = (steps, config.hyper.num_envs)
    actions = jax.random.randint(jax.random.key(0), shape, 0, env.spec.action_space.n)
    state, _ = jax.jit(env.reset)(jax.random.key(0))

    @jax.jit
    def run(state: Any) -> Any:
        def step(state: Any, action: jax.Array) -> tuple[Any, jax.Array]:
            state, timestep = env.step(jax.random.key(0), state, action)
            return state, timestep.reward

        return jax.lax.scan(step, state, actions)

    return lambda: jax.block_until_ready(run(state))


def acted(config: TrainConfig, env: envs.VectorEnv, agent: agents.Agent, steps: int) -> Work:
    """Sampled from the agent's policy."""
    start = jax.jit(agent.init)(jax.random.key(0), agent.hyperparams(config.handed_rate))

    @jax.jit
    def run(policy: Any, carry: Any) -> Any:
        def step(carry: Any, key: jax.Array) -> tuple[Any, jax.Array]:
            state, timestep = env.step(key, carry[0], agent.act(policy, carry[1], key, False))
            return (state, timestep.obs), timestep.reward

        return jax.lax.scan(step, carry, jax.random.split(jax.random.key(1), steps))

    return lambda: jax.block_until_ready(run(agent.policy(start), (start.env_state, start.obs)))


def trained(config: TrainConfig, agent: agents.Agent) -> Work:
    """The whole agent."""
    start = jax.jit(agent.init)(jax.random.key(0), agent.hyperparams(config.handed_rate))
    run = jax.jit(lambda state: jax.lax.scan(lambda s, _: agent.step(s), state, None, config.hyper.num_iterations))
    return lambda: jax.block_until_ready(run(start))


def whole(config: TrainConfig, steps: int) -> Work:
    """`steps` environment steps of a training that goes on from round to round, past what comes before learning."""
    agent, mesh = loop.make_agent(config), placement.mesh_for(1)
    carried = [placement.initial_state(agent, config, mesh)]
    in_turn = placement.trains_in_turn(config, mesh, carried[0].obs.shape[2:])
    run = placement.compile_chunk(mesh, agent, steps // config.hyper.env_steps_per_iteration, carried[0], in_turn)

    def advance() -> None:
        carried[0], metrics = run(carried[0])
        jax.block_until_ready(metrics)

    for _ in range(getattr(config.hyper, "learning_starts", 0) // steps + 1):
        advance()
    return advance


def measure(work: Work) -> tuple[float, float]:
    """Seconds and seconds of processor time."""
    start, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start, time.process_time() - cpu


def config_of(agent: str, args: argparse.Namespace, optimizer: str) -> TrainConfig:
    """The settings of a training."""
    return TrainConfig(agent=agent, env=args.env, optimizer=optimizer, preset=args.preset, seeds=1)


def parts(args: argparse.Namespace) -> None:
    """Prints what each part of PPO's training takes."""
    config = config_of("ppo", args, args.optimizer)
    steps = args.iterations * config.hyper.rollout_length
    hyper = dataclasses.replace(config.hyper, total_steps=args.iterations * config.hyper.env_steps_per_iteration)
    config = dataclasses.replace(config, hyper=hyper)
    env, agent = loop.make_env(config, hyper.num_envs), loop.make_agent(config)
    rows = {
        "envpool from Python, random actions": stepped_by_envpool(config, steps, asynchronous=False),
        "the same, asynchronous, twice the games": stepped_by_envpool(config, steps, asynchronous=True),
        "our environment, random actions": stepped_by_us(config, env, steps),
        "... and the policy": acted(config, env, agent, steps),
        "... and learning (PPO)": trained(config, agent),
    }
    for work in rows.values():
        work()  # compiles
    rounds = [{name: measure(work) for name, work in rows.items()} for _ in range(args.rounds)]
    total = steps * hyper.num_envs
    print(f"{args.env}, preset {args.preset}, {args.optimizer}, {hyper.num_envs} games, {num_cores()} cores\n")
    print("| | steps/s | frames/s | steps per CPU-second |\n|---|---|---|---|")
    for name in rows:
        wall, cpu = (statistics.median(column) for column in zip(*(r[name] for r in rounds), strict=True))
        frames = total * config.atari.frame_skip / wall
        print(f"| {name} | {total / wall:,.0f} | {frames:,.0f} | {total / cpu:,.0f} |")


def side_by_side(args: argparse.Namespace) -> None:
    """Prints what whole trainings take beside each other."""
    steps = args.iterations * presets.config("ppo", args.env, args.preset).env_steps_per_iteration
    rows = {}
    for name in args.whole:
        agent, _, optimizer = name.partition(":")
        rows[name] = whole(config_of(agent, args, optimizer or "adam"), steps)
    rounds = []
    for _ in range(args.rounds):
        rounds.append({name: measure(work) for name, work in rows.items()})
        told = ", ".join(f"{name} {cpu:.2f}" for name, (_, cpu) in rounds[-1].items())
        print(f"a round, processor seconds: {told}", file=sys.stderr, flush=True)
    print(f"{args.env}, preset {args.preset}, {args.rounds} rounds of {steps:,} steps, {num_cores()} cores\n")
    print("| | steps/s | steps per CPU-second | lowest, highest | processor time over the first |")
    print("|---|---|---|---|---|")
    for name in rows:
        wall = statistics.median(one[name][0] for one in rounds)
        cpu = [one[name][1] for one in rounds]
        over = statistics.median(one[name][1] / one[args.whole[0]][1] for one in rounds)
        rates = f"{steps / statistics.median(cpu):,.0f} | {steps / max(cpu):,.0f}, {steps / min(cpu):,.0f}"
        print(f"| {name} | {steps / wall:,.0f} | {rates} | {over:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="Pong-v5")
    parser.add_argument("--preset", choices=presets.NAMES, default="fast")
    parser.add_argument("--optimizer", default="adam", help="of the parts of PPO")
    parser.add_argument("--whole", nargs="+", metavar="AGENT:OPTIMIZER", help="whole trainings beside each other")
    parser.add_argument("--iterations", type=int, default=4, help="iterations of PPO per round")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    (side_by_side if args.whole else parts)(args)


if __name__ == "__main__":
    main()
