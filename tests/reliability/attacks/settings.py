"""Settings that were not taken as they were given."""

from pathlib import Path

from attacks.base import TRAIN, attack, command, finished


@attack("`--options a 1 --options b 2`", "`a` was dropped")
def options_in_two_flags(folder: Path) -> str:
    from rlopt import cli

    words = ["train", "ppo", "--options", "weight_decay", "0.1", "--seeds", "2", "--options", "eps", "1e-6"]
    assert cli._parse(words).config.options == {"weight_decay": 0.1, "eps": 1e-6}
    words = ["compare", "ppo", "--theta", "celo2", "a", "--theta", "celo", "b", "--launcher-options", "partition", "x"]
    found = cli._parse([*words, "--launcher-options", "time", "3"])
    assert found.theta == {"celo2": Path("a"), "celo": Path("b")}
    assert found.launcher_options == {"partition": "x", "time": "3"}
    return "both are taken, also of `--theta` and `--launcher-options`"


@attack("`--options a 1 --options a 2`", "the first was dropped")
def an_option_twice(folder: Path) -> str:
    return command(*TRAIN, "--options", "eps", "1", "--options", "eps", "2").refused("eps is given twice")


@attack("`--options a=1`", '"Failed to parse key-value pairs!"')
def an_option_with_an_equals_sign(folder: Path) -> str:
    return command(*TRAIN, "--options", "eps=1").refused("--options NAME VALUE")


@attack("`--launcher-options account 0123 nodelist 1e3`", "123 and 1000.0")
def options_of_slurm(folder: Path) -> str:
    from rlopt.runs import launcher

    found = launcher._parsed({"account": "0123", "nodelist": "1e3", "timeout_min": "5"})
    assert found == {"account": "0123", "nodelist": "1e3", "timeout_min": 5}
    return "taken as they are written"


@attack("a finished run with a larger `--total-steps`, in the folder of before", "refused, without a reason")
def a_longer_run(folder: Path) -> str:
    finished(folder / "run")
    text = command(*TRAIN, "--total-steps", "640", "--out", folder / "run").refused(
        "hyper.total_steps: 320 there, 640 here"
    )
    assert "a run keeps its length" in text
    return text


@attack("the same run with another `--gamma`, in the folder of before", "two tables of settings, cut at 500 characters")
def another_setting(folder: Path) -> str:
    finished(folder / "run")
    done = command(*TRAIN, "--gamma", "0.5", "--hidden", "8", "--out", folder / "run")
    text = done.refused("hyper.gamma: 0.99 there, 0.5 here")
    assert "epochs" not in text
    return text
