"""Symbolic links in folders of strangers, through which a command would write elsewhere."""

from pathlib import Path

from attacks.base import FLAGS, TRAIN, attack, command, finished, settings


def _linked(folder: Path, name: str) -> tuple[Path, Path]:
    """A folder with a link in it, and where that leads."""
    theirs, elsewhere = folder / "theirs", folder / "elsewhere"
    (theirs / name).parent.mkdir(parents=True, exist_ok=True)
    elsewhere.mkdir()
    (theirs / name).symlink_to(elsewhere)
    return theirs, elsewhere


def _refused(folder: Path, name: str, *words: str) -> str:
    theirs, elsewhere = _linked(folder, name)
    done = command(*words, "--out", theirs)
    text = done.refused("is a symbolic link")
    assert not list(elsewhere.iterdir())
    return text


BENCHMARK = ("benchmark", "ppo", "--envs", "CartPole-v1", "--optimizers", "adam", "--seeds", "2", "--steps", "640")


@attack("`rlopt benchmark --out theirs` with a link `theirs/tuning`", "tuning runs were written elsewhere")
def tuning(folder: Path) -> str:
    return _refused(folder, "tuning", *BENCHMARK)


@attack("the same with a link `theirs/final/CartPole-v1`", "final runs were written elsewhere")
def final(folder: Path) -> str:
    return _refused(folder, "final/CartPole-v1", *BENCHMARK)


@attack("`rlopt compare --out theirs` with a link `theirs/sgd/plots`", "refused after Adam was trained")
def compare(folder: Path) -> str:
    from rlopt.runs import results

    results.write_config(folder / "theirs" / "sgd", settings(optimizer="sgd", learning_rate=None))
    return _refused(folder, "sgd/plots", "compare", "ppo", "--optimizers", "adam", "sgd", *FLAGS)


@attack("`rlopt sweep --out theirs` with a link `theirs/adam/rate-0.001/plots`", "refused")
def sweep(folder: Path) -> str:
    from rlopt.runs import results

    config = settings(learning_rate=None, rates=(1e-3,))
    results.write_config(folder / "theirs" / "adam", config)
    results.write_config(folder / "theirs" / "adam" / "rate-0.001", config.cells[0])
    words = ("sweep", "ppo", "--optimizers", "adam", "--learning-rates", "1e-3", *FLAGS)
    return _refused(folder, "adam/rate-0.001/plots", *words)


@attack("`rlopt train --out theirs` with a link `theirs/plots`", "refused")
def train(folder: Path) -> str:
    theirs, elsewhere = _linked(folder, "plots")
    from rlopt.runs import results

    results.write_config(theirs, settings())
    text = command(*TRAIN, "--out", theirs).refused("is a symbolic link")
    assert not list(elsewhere.iterdir())
    return text


@attack("`rlopt metatrain --out theirs` with a link `theirs/thetas`", "refused")
def metatrain(folder: Path) -> str:
    theirs, elsewhere = _linked(folder, "thetas")
    (theirs / "checkpoints").mkdir()
    words = ("--tasks-per-family", "1", "--families", "digits", "--hidden", "4")
    text = command("metatrain", "celo_adam", *words, "--out", theirs).refused("is a symbolic link")
    assert not list(elsewhere.iterdir())
    return text


@attack("`rlopt report theirs` with a link `theirs/report`", "the report was written elsewhere")
def report(folder: Path) -> str:
    theirs, elsewhere = _linked(folder, "report")
    finished(theirs / "run")
    text = command("report", theirs, "--no-timing").refused("is a symbolic link")
    assert not list(elsewhere.iterdir())
    return text


@attack("the same with a link `theirs/report/figures`", "figures were written elsewhere")
def figures(folder: Path) -> str:
    theirs, elsewhere = _linked(folder, "report/figures")
    finished(theirs / "run")
    text = command("report", theirs, "--no-timing").refused("is a symbolic link")
    assert not list(elsewhere.iterdir())
    return text


@attack("`rlopt resume theirs/adam` of a sweep with a link `theirs/plots`", "the plot was written elsewhere")
def resume(folder: Path) -> str:
    from rlopt.runs import experiment, results

    theirs, elsewhere = _linked(folder, "plots")
    config = settings(learning_rate=None, rates=(1e-3,))
    finished(theirs / "adam" / "rate-0.001")
    results.write_config(theirs / "adam", config)
    try:
        experiment._redraw_sweep(theirs)
    except ValueError as error:
        assert not list(elsewhere.iterdir())
        return f"refused: {error}"
    raise AssertionError("drawn")
