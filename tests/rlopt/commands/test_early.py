"""What is refused and said before jax is imported."""

import subprocess
import sys

import pytest

import envs
from envs import gymnasium, listing, names, probes
from rlopt import cli
from rlopt.training import machine
from rlopt.training.config import TrainConfig

# jax cannot be imported in the process, so that what is refused here is refused without it. Nor can Optuna and pyarrow.
WITHOUT_JAX = """
import sys
sys.modules["optuna"] = sys.modules["pyarrow"] = None
class Refusing:
    def find_spec(name, *more):
        if name == "jax":
            raise ImportError("jax was to be imported")
sys.meta_path.insert(0, Refusing)
from rlopt import cli
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("train --env CartPole-v2", "unknown environment 'CartPole-v2'; the nearest are CartPole-v1, "),
        ("train --lr -1", "learning_rate must be positive and finite, got -1.0"),
        ("compare --optimizer adamm", "unknown optimizer 'adamm'; there are adam,"),
        ("benchmark --suite quik", "unknown suite 'quik'; there are quick,"),
        ("train --env HalfCheeta-v4", "unknown environment 'HalfCheeta-v4'; the nearest are HalfCheetah-v4, "),
        ("train --theta no.theta", "No such file or directory: 'no.theta'"),
        ("compare --network mine:Net --hidden 8", "--hidden (8,) is not for mine:Net, which says for itself"),
        (
            "sweep --sampler optuna --trials 5 --space b2=lin:0.9:0.99",
            "--sampler optuna needs Optuna: `pip install 'rlopt[optuna]'`; --random N needs nothing",
        ),
        *(
            (f"{name} nowhere", "nowhere holds no run (there is no such folder)")
            for name in ("evaluate", "plot", "report")
        ),
        ("export nowhere --parquet x.parquet", "--parquet needs pyarrow: `pip install 'rlopt[parquet]'`"),
        ("export nowhere --csv x.csv", "nowhere holds no run (there is no such folder)"),
        ("plot", "give at least one run folder"),
        ("train --seeds eight", "--seeds takes whole numbers, such as"),
        ("benchmark --eval-every 5", "CartPole-v1: eval_every must be at least a logging interval"),
    ],
)
def test_refusals_need_no_jax(words, said):
    done = subprocess.run([sys.executable, "-c", WITHOUT_JAX, *words.split()], capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert said in done.stderr
    assert len(done.stderr) < 700


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--member", "3", "8"], "the run has the seeds 3 to 4, got 8"),
        (["--out", "a.png"], "a film is written as NAME.gif, got a.png"),
        (
            [],
            "there is no picture of BernoulliBandit-misc; to be watched there are Atari and MinAtar games, CartPole-v1",
        ),
    ],
)
def test_films_that_cannot_be_made_are_refused_without_jax(tmp_path, write_run, words, said):
    config = TrainConfig(env="BernoulliBandit-misc", optimizer="adam", learning_rate=1e-3, seeds=2, seed=3)
    folder = write_run(tmp_path / "run", config, [1.0, 2.0])
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_JAX, "watch", str(folder), *words], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert said in done.stderr


def test_the_folder_of_a_comparison_or_a_sweep_is_answered_with_the_run_folders_in_it(tmp_path, command):
    for name in ("adam", "celo2/rate-0.001", *(f"celo2/rate-{i}" for i in range(1, 9))):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.json").touch()
    for words in ("watch", "resume"):
        refused = command(words, tmp_path)
        assert refused.status == 2
        assert f"holds no run (config.json is needed); within it there are {tmp_path / 'adam'}, " in refused.err
        assert refused.err.count(str(tmp_path)) == 1 + 8
        assert refused.err.strip().endswith(", ...")


def test_what_is_being_compiled_is_said_before_jax_is_imported():
    done = subprocess.run([sys.executable, "-c", WITHOUT_JAX, "train", "--lr", "1e-3"], capture_output=True, text=True)
    assert done.stderr.startswith("ppo on CartPole-v1 with celo2: 8 seeds of 500,000 steps; starting JAX")


def test_every_environment_is_known_early():
    for env_id in envs.ids():
        names.check_early(env_id)


def test_what_is_listed_is_what_there_is(command):
    shown = command("envs").out.splitlines()
    assert set(envs.ids()) <= set(shown)
    assert set(probes.ids()) == set(names.PROBE_IDS)
    by_suite = {suite.name: suite for suite in listing.suites()}
    assert {by_suite[name].missing for name in ("gymnax", "atari", "mujoco", "gymnasium")} == {None}
    assert set(by_suite["gymnasium"].ids) <= set(gymnasium.ids())
    there = {env_id for suite in by_suite.values() if suite.missing is None for env_id in suite.ids}
    assert {env_id for env_id in there if not env_id.startswith(names.GYMNASIUM)} == set(envs.ids())


def test_environments_of_a_suite_or_like_a_word_are_listed_with_their_spaces(command):
    assert command("envs", "navix").out.splitlines()[1:] == list(names.of_suite("navix"))
    head, shown = command("envs", "cartpole-v1", "--spaces").out.splitlines()[:2]
    assert head == "# gymnax: in JAX, resumes bit for bit"
    assert " ".join(shown.split()) == "CartPole-v1 4 float32, 2 actions, 500 steps"
    assert "no environment is like 'hoper-v4'; the nearest are Hopper-v4, " in command("envs", "hoper-v4").err


def test_version_and_help(command, capsys):
    assert command("--version").out == f"rlopt {machine.own_version()}\n"
    shown = []
    for env in ("CartPole-v1", "Pong-v5"):
        with pytest.raises(SystemExit):
            cli._parse(["train", "--env", env, "--help"])
        shown.append("--atari.frame-skip" in capsys.readouterr().out)
    assert shown == [False, True]
