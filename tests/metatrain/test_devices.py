"""Meta-training on several devices and in several processes gives what it gives on one."""

import os
import socket
import subprocess
import sys
from typing import NamedTuple

import jax
import numpy as np
import pytest

import celo2
from helpers import by_default, small_meta_training
from metatrain import outer, particles
from rlopt.metatraining import metrics

pytestmark = pytest.mark.mesh

# What is split over devices is tasks, whatever the rule; Celo-Adam compiles in half the time. Of its gradients, which are near
# to zero, AdamW takes steps as large as of others, and so a smaller rate; a wrong gradient is still a hundred tolerances off.
RULES = {
    "celo_adam": {"outer_learning_rate": 1e-3},
    "celo2_base": {"odd": False, "size": "unit", "outer_learning_rate": 1e-2},
}


@pytest.mark.parametrize("rule", by_default(list(RULES), "celo_adam"))
def test_eight_devices_give_the_result_of_one(rule):
    results = []
    config = small_meta_training(rule=rule, families=("digits",), tasks_per_family=8, **RULES[rule])
    for devices in (jax.devices()[:1], jax.devices()):
        program = outer.make_program(config, devices)
        state = program.init()
        for _ in range(4):
            state, measured = program.step(state)
        results.append((state.theta, measured))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-4), *results)


@pytest.mark.slow
def test_particles_all_at_once_as_on_an_accelerator_give_the_result_of_blocks(monkeypatch):
    results = []
    config = small_meta_training(rule="celo_adam", families=("digits",), tasks_per_family=8, outer_learning_rate=1e-3)
    for block in (2, 8):
        monkeypatch.setattr(particles, "BLOCK", block)
        program = outer.make_program(config, jax.devices()[:1])
        state, measured = program.step(program.init())
        results.append((state.theta, measured))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-4), *results)


class Device(NamedTuple):
    process_index: int
    number: int


@pytest.mark.parametrize(
    ("share", "sizes", "each"), [(4, (4, 4), 2), (64, (32,) * 4, 16), (8, (3,), 2), (8, (1,), 1), (24, (3, 2), 2)]
)
def test_every_process_gives_equally_many_devices(share, sizes, each):
    devices = [Device(process, n) for process, size in enumerate(sizes) for n in range(size)]
    chosen = outer.shared_devices(share, devices)
    assert [sum(d.process_index == p for d in chosen) for p in range(len(sizes))] == [each] * len(sizes)


def test_processes_that_cannot_share_evenly_are_told_what_to_change():
    with pytest.raises(ValueError, match=r"3 processes cannot share .* --tasks-per-family as a multiple of 3"):
        outer.shared_devices(4, [Device(process, 0) for process in range(3)])


@pytest.mark.slow
def test_two_processes_give_the_result_of_one(tmp_path):
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        port = listener.getsockname()[1]
    flags = ["--iterations", "4", "--no-odd", "--size", "unit", "--families", "digits", "--hidden", "8"]
    flags += ["--batch-size", "8", "--truncation", "5", "--min-unroll", "5", "--max-unroll", "20"]
    flags += ["--refresh-every", "3", "--checkpoint-every", "10", "--validate-every", "0"]
    flags_of_child = f"{os.environ['CHILD_XLA_FLAGS']} --xla_force_host_platform_device_count=2"
    environment = os.environ | {"XLA_FLAGS": flags_of_child}

    def start(name, *more):
        command = [sys.executable, "-m", "rlopt", "metatrain", "celo2_base", *flags, "--out", tmp_path / name, *more]
        return subprocess.Popen(command, env=environment)

    together = ["--distributed", "--coordinator", f"localhost:{port}", "--num-processes", "2", "--process-id"]
    processes = [start("two", *together, str(i)) for i in range(2)]
    assert [process.wait(timeout=300) for process in processes] == [0, 0]
    assert start("one").wait(timeout=300) == 0
    one, two = (celo2.load_checkpoint(tmp_path / name / "celo2_base.theta") for name in ("one", "two"))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-4), one, two)
    (row,) = metrics.read(tmp_path / "two")[-1:]
    assert row["iteration"] == 4
    # Whole states, of both processes, were written: one process can resume from them.
    assert start("two", "--iterations", "5").wait(timeout=300) == 0
    assert metrics.read(tmp_path / "two")[-1]["iteration"] == 5
