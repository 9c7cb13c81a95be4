"""The watchdog: speaks of a program that sleeps, keeps silent about one that works."""

import time

from rlopt.training.watchdog import watch


def test_a_sleeping_process_is_reported_and_named():
    said = []
    with watch("adam on CartPole-v1", patience=0.2, report=said.append):
        deadline = time.monotonic() + 60
        while len(said) < 2 and time.monotonic() < deadline:
            time.sleep(0.5)
    assert len(said) >= 2
    assert "adam on CartPole-v1 has made no progress for 0 s" in said[0]
    assert "NPROC" in said[0]


def test_a_working_process_is_not():
    said = []
    with watch("work", patience=0.5, report=said.append):
        until = time.process_time() + 2.0
        while time.process_time() < until:
            pass
    assert said == []


def test_it_ends_with_the_work_even_when_that_fails():
    said = []
    try:
        with watch("work", patience=0.05, report=said.append):
            raise KeyError
    except KeyError:
        pass
    count = len(said)
    time.sleep(0.3)
    assert len(said) == count


def test_it_can_be_left_out():
    said = []
    with watch("work", enabled=False, patience=0.05, report=said.append):
        time.sleep(0.3)
    assert said == []
