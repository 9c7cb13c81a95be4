"""What the commands do: train one population, compare several, sweep learning rates; with plots."""

import warnings
from collections.abc import Sequence
from pathlib import Path

from celo2.files import leftovers
from rlopt import drawing
from rlopt.runs import folders, kept, labels, plots, results, search_plot, searched, study
from rlopt.storage import run_lock
from rlopt.tracking import session
from rlopt.training import checkpoint, loop, shown
from rlopt.training.config import TrainConfig

SENSITIVITY, SEARCH = "sensitivity.png", "search.png"
NOT_EVALUATED = "trained without --eval-every, or given up before the first evaluation"


def run(
    config: TrainConfig,
    folder: Path | None = None,
    progress: bool = True,
    tracker: session.Session | None = None,
) -> results.Run:
    """Trains a population into a run folder (default: a new one under runs/) and draws its learning curve.

    A folder with a run of the same settings is resumed; a finished one is read.

    Raises:
      ValueError: for bad settings, before the folder is made, or for a folder that holds anything else.
      Unfinished: as `loop.train`.
    """
    if config.has_cells:
        raise ValueError("several learning rates or trials are for a sweep")
    config.monitor.check_not_halving()
    loop.check(config)
    if folder is not None:
        folders.check(folder, config)
    folder = folder or results.new_folder(f"{config.agent}-{config.env}-{results.safe_name(config.title)}")
    on_screen = shown.of(progress)
    on_screen.say(f"run folder: {folder}")
    (finished,) = folders.train(folder, config, on_screen, tracker=tracker)
    return finished


def resume(
    folder: Path, progress: bool = True, trust: bool = False, tracker: session.Session | None = None
) -> list[results.Run]:
    """Resumes an unfinished run, or one optimizer's part of a sweep, whose plot is drawn anew.

    Args:
      folder: of the run.
      progress: show a progress bar.
      trust: as `results.check_trusted`.

    Raises:
      ValueError: for a folder without one, one that is not trusted, or one in use.
      Unfinished: as `loop.train`.
    """
    config = results.read_config(folder)
    if checkpoint.exists(folder.parent) and (folder.parent / results.CONFIG).is_file():
        raise ValueError(f"{folder} is part of an unfinished sweep; resume {folder.parent}")
    if folders.is_finished(folder, config):
        folders.remove_checkpoint(folder)
        raise ValueError(f"{folder} holds a finished run")
    results.check_trusted(folder, config, trust)
    runs = folders.train(folder, config, progress, tracker=tracker)
    _redraw_sweep(folder.absolute().parent)
    return runs


def compare(
    configs: Sequence[TrainConfig],
    folder: Path | None = None,
    progress: bool = True,
    tracker: session.Session | None = None,
    launch: folders.Launch | None = None,
) -> list[results.Run]:
    """Trains one population per configuration, each in a folder of its own, and draws them together.

    What a folder given holds of the same comparison is not done again: finished runs are taken, others resumed.
    launch: trains the populations elsewhere; None: here.

    Raises:
      ValueError: as `run`, for every configuration before the first is trained; and for an optimizer named twice.
      Unfinished: as `loop.train`.
    """
    for config in configs:
        config.monitor.check_not_halving()
    folder, runs = _train_all(configs, folder, "compare", progress, tracker, launch)
    plots.learning_curves(runs, folder / results.PLOTS / "learning_curves.png")
    plots.evaluation_curves(runs, folder / results.PLOTS / "evaluation_curves.png")
    return runs


def sweep(
    configs: Sequence[TrainConfig],
    folder: Path | None = None,
    progress: bool = True,
    tracker: session.Session | None = None,
    launch: folders.Launch | None = None,
) -> tuple[list[results.Run], Path]:
    """Trains every learning rate or trial of every configuration, and draws final returns over what differs.

    All of an optimizer are one program; each rate or trial leaves a run folder of its own. What a folder given
    holds of the same sweep is not done again, also if some, or optimizers, have been added since. launch: as `compare`.

    Returns:
      The runs, and where the plot lies.

    Raises: as `compare`.
    """
    folder, runs = _train_all(configs, folder, "sweep", progress, tracker, launch)
    return runs, draw_sweep(folder, runs, any(config.trials for config in configs))


def draw(folders: Sequence[Path], plot: Path, evaluations: bool = False) -> list[results.Run]:
    """Draws the learning curves of finished runs together, whichever commands made them.

    evaluations: those of the evaluations during training, in place of the training episodes.

    Returns:
      The runs that were drawn, as `labels.tell_apart`.

    Warns:
      RuntimeWarning: naming runs without evaluations, where others have some.

    Raises:
      ValueError: for folders without a finished run, or with runs of different agents or environments, or without
        evaluations; for a picture of another kind than `drawing.KINDS`.
    """
    drawing.kind(plot)
    runs = results.find_runs(folders)
    kinds = {(run.summary["agent"], run.summary["env_id"]): run.folder for run in runs}
    if len(kinds) != 1:
        found = "; ".join(f"{agent} on {env} ({folder})" for (agent, env), folder in kinds.items())
        raise ValueError(
            f"only runs of one agent on one environment go into one plot, got {found or 'no finished run'}"
        )
    runs = labels.tell_apart(runs)
    if not evaluations:
        plots.learning_curves(runs, plot)
        return runs
    whole = [run for run in runs if kept.evaluated(run) is not None]
    without = ", ".join(str(run.folder) for run in runs if kept.evaluated(run) is None)
    if not whole:
        raise ValueError(f"{without}: {NOT_EVALUATED}, so there are no evaluations to draw")
    if without:
        warnings.warn(f"{without}: {NOT_EVALUATED}, and left out", RuntimeWarning, stacklevel=2)
    plots.evaluation_curves(runs, plot)
    return whole


def begin(configs: Sequence[TrainConfig], folder: Path | None, kind: str) -> tuple[list[str], Path]:
    """The folders of some populations within that of all, which is made if none is given: names, and the latter.

    kind: for the name of a new folder.

    Raises:
      ValueError: as `run`, for every configuration, before any folder is made; and for an optimizer named twice.
    """
    names = [results.safe_name(config.title) for config in configs]
    if len(set(names)) != len(names) or not names:
        raise ValueError(f"each optimizer may be named once, and at least one, got {', '.join(names) or 'none'}")
    for name, config in zip(names, configs, strict=True):
        loop.check(config)
        if folder is not None:
            folders.check(folder / name, config)
    if folder is not None:
        run_lock.check_links(folder)
    folder = folder or results.new_folder(f"{kind}-{configs[0].agent}-{configs[0].env}")
    for path in leftovers(folder / results.PLOTS):  # of a process that was killed while it drew
        path.unlink(missing_ok=True)
    return names, folder


def _train_all(
    configs: Sequence[TrainConfig],
    folder: Path | None,
    kind: str,
    progress: bool,
    tracker: session.Session | None,
    launch: folders.Launch | None,
) -> tuple[Path, list[results.Run]]:
    """Trains what is missing of several configurations, after every check that needs no training; folder and runs."""
    names, folder = begin(configs, folder, kind)
    if launch is not None:
        launch(folder, {folder / name: config for name, config in zip(names, configs, strict=True)})
    runs: list[results.Run] = []
    with shown.of(progress).plan() as on_screen:
        on_screen.say(f"run folder: {folder}")
        for config in configs:
            on_screen.expect(config)
        for name, config in zip(names, configs, strict=True):
            runs += folders.train(folder / name, config, on_screen, tracker=tracker, root=folder)
    return folder, runs


def _redraw_sweep(folder: Path) -> None:
    """Draws final returns over what differs, if a folder holds a sweep that is complete or was drawn before.

    Not of one that Optuna guides: the next trials are still to be proposed, and only the journal has their order.
    """
    parts: dict[Path, TrainConfig] = {}
    if (folder / study.JOURNAL).is_file():
        return
    for path in sorted(folder.glob(f"*/{results.CONFIG}")):
        try:
            config = results.read_config(path.parent)
        except ValueError:
            return  # no sweep of this version, and what was to be trained is
        if path.parent.name != results.safe_name(config.title):
            return  # some folder of runs
        parts[path.parent] = config
    if len({(config.agent, config.env) for config in parts.values()}) != 1:
        return
    of_trials = any(config.trials for config in parts.values())
    plot = folder / results.PLOTS / (SEARCH if of_trials else SENSITIVITY)
    run_lock.check_links(folder, plot)
    complete = any(config.has_cells for config in parts.values()) and all(
        folders.is_finished(*part) for part in parts.items()
    )
    # A benchmark's folders look alike, and it draws other plots.
    in_benchmark = any((parent / results.BENCHMARK).is_file() for parent in folder.parents)
    if (complete or plot.is_file()) and not in_benchmark:
        draw_sweep(folder, results.find_runs(list(parts)), of_trials)


def draw_sweep(folder: Path, runs: Sequence[results.Run], of_trials: bool, guided: bool = False) -> Path:
    """Draws final returns over what differs, of trials or of learning rates; where the plot lies.

    guided: as `search_plot.draw`; the runs are in the order of the search.
    """
    plot = folder / results.PLOTS / (SEARCH if of_trials else SENSITIVITY)
    if of_trials:
        search_plot.draw(searched.read(runs), plot, guided)
    else:
        plots.sensitivity(runs, plot)
    return plot
