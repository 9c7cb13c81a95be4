"""What is shown while populations train: one bar for a plan, the last known return, lines above."""

import io
import re

import numpy as np

from agents import PPOConfig
from rlopt.training.config import TrainConfig
from rlopt.training.shown import Shown

CONFIG = TrainConfig(
    optimizer="adam", seeds=2, hyper=PPOConfig(total_steps=1000, num_envs=10, rollout_length=10, minibatches=2)
)


class Screen(io.StringIO):
    """What was shown, with every state of the bar on a line."""

    @property
    def text(self):
        return self.getvalue().replace("\r", "\n")


def test_the_median_return_is_the_last_known_one():
    screen = Screen()
    with Shown(stream=screen).population(CONFIG, "adam", 0, 1000) as bar:
        bar.update(200, np.array([np.nan, np.nan]))
        assert bar._bar.postfix is None
        bar.update(400, np.array([20.0, np.nan]))
        bar.update(400, np.array([np.nan, np.nan]))
    assert "median return 20.0" in screen.text.splitlines()[-1]
    assert "nan" not in screen.text
    assert "1.00k/1.00k" in screen.text


def test_a_plan_is_one_bar():
    screen = Screen()
    on_screen = Shown(stream=screen)
    with on_screen.plan():
        for _ in range(3):
            on_screen.expect(CONFIG)
        on_screen.passed(CONFIG)
        on_screen.phase = "tuning,"
        with on_screen.population(CONFIG, "celo2 on CartPole-v1", 0, 1000) as bar:
            bar.update(1000, np.array([1.0, 3.0]))
        on_screen.phase = "reporting,"
        on_screen.expect(CONFIG, -1)
        on_screen.expect(CONFIG, 2)
        with on_screen.population(CONFIG, "[evil]\x1b[31m", 500, 1000) as bar:
            bar.update(500, np.array([2.0, 2.0]))
        assert on_screen._plan.n == 6000
        assert on_screen._plan.total == 8000
        on_screen.say("chosen: \x1b[2J")
    assert "tuning, cell 2 of 3: celo2 on CartPole-v1" in screen.text
    assert r"reporting, cell 3 of 4: [evil]\x1b[31m" in screen.text
    assert r"chosen: \x1b[2J" in screen.text
    assert "median return 2.0" in screen.text
    assert not re.search("\x1b.*evil", screen.text)


def test_nothing_is_shown_that_was_not_asked_for():
    screen = Screen()
    on_screen = Shown(False, stream=screen)
    with on_screen.plan():
        on_screen.expect(CONFIG)
        with on_screen.population(CONFIG, "adam", 0, 1000) as bar:
            bar.update(1000, np.array([1.0, 1.0]))
        on_screen.say("a line")
    assert not screen.text
