"""A study of Optuna in the folder of a sweep: what has been tried, what came of it, what is to be tried next.

The journal is Optuna's own, one study per optimizer, lines of JSON, so that Optuna's tools read it. A sampler has no
state that would have to be stored: a proposal is a function of the trials before it and of a seed of its own, and
enters the journal as one line. So a study that was killed is resumed with the trials that it would have had.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from celo2.files import size_of
from rlopt.training import trials
from rlopt.training.search import Part
from rlopt.training.trials import Trial

JOURNAL = "optuna.journal"
# Ten thousand trials.
JOURNAL_LIMIT = 256 << 20
# The first trials are drawn, as those of a random search are; as many as Optuna itself would draw.
STARTUP = 10
# Proposals that were tried already, after which trials are drawn; draws after which none are left.
PROPOSALS, DRAWS = 20, 1000
# What the study is of, among its attributes; what a trial of ours has among its own.
OF, BATCH, SIZE, FOLDER = "rlopt", "batch", "batch_size", "folder"


class Proposed(NamedTuple):
    """A trial of a study. number: in Optuna's study. told: what came of it is known there."""

    number: int
    trial: Trial
    told: bool


class Study:
    """The trials of one optimizer, in the order in which they were proposed.

    The process must hold the folder of the journal.
    """

    def __init__(self, storage: Any, name: str, part: Part):
        """Args:
        storage: as `opened`.
        name: of the study, the optimizer's in tables and folders.
        part: what is searched.

        Raises:
          ValueError: for a study of another space or seed, or one that was not begun here.
        """
        import optuna

        self._name, self._part = name, part
        if name in optuna.get_all_study_names(storage):  # else the journal would get a line for it each time
            self._study = optuna.load_study(study_name=name, storage=storage, sampler=_sampler(0))
        else:
            self._study = optuna.create_study(
                study_name=name, storage=storage, direction="maximize", sampler=_sampler(0)
            )
        space = {n: [part.search.space[n].kind, *part.search.space[n].values] for n in part.takes}
        ours = {"space": space, "seed": part.search.seed}
        theirs = self._study.user_attrs.get(OF)
        if theirs is None and not self._study.get_trials(deepcopy=False):
            self._study.set_user_attr(OF, ours)
        elif theirs is None:
            raise ValueError(f"study {name!r} in {JOURNAL} was not begun by rlopt; choose another --out")
        elif theirs != ours:
            raise ValueError(
                f"study {name!r} in {JOURNAL} is of another search: {_named(theirs)}, and asked for is {_named(ours)}; "
                "choose another --out, or ask for the same"
            )
        self._draws = part.search.draws(part.takes, STARTUP)
        self._space = distributions(part)

    @property
    def _mine(self) -> list[Any]:
        """Optuna's trials that were proposed here, in their order; not what somebody else put into the queue."""
        return [x for x in self._study.get_trials(deepcopy=False) if isinstance(x.user_attrs.get(BATCH), int)]

    @property
    def trials(self) -> list[Proposed]:
        """As many trials as the search asks for, or those that are known so far."""
        return [self._read(x) for x in self._mine[: self._part.search.number]]

    def batch(self) -> list[Proposed]:
        """The trials that are to be trained next, in one program; [] if as many as the search asks for are known.

        What was proposed and not yet told comes first. A batch that was being proposed when a process was killed is
        proposed to its end, with the same trials.

        Raises:
          ValueError: if the space has no more trials.
        """
        known, place, size = self._begun()
        for _ in range(len(known), size):
            self._propose({BATCH: place, SIZE: size})
        return [self._read(x) for x in self._mine if x.user_attrs[BATCH] == place]

    def sizes(self) -> list[int]:
        """Sizes of the batches that are left, the one that was begun included."""
        begun, _, size = self._begun()
        known, found = len(self._mine) - len(begun), []
        while size > 0:
            found.append(size)
            known += size
            size = min(self._part.search.size, self._part.search.number - known)
        return found

    def _begun(self) -> tuple[list[Any], int, int]:
        """Of the batch that comes next: what is in the journal of it, its number, its size, which may be 0."""
        mine, number = self._mine, self._part.search.number
        last = [x for x in mine if x.user_attrs[BATCH] == mine[-1].user_attrs[BATCH]]
        if all(x.state.is_finished() for x in last):
            place = mine[-1].user_attrs[BATCH] + 1 if mine else 0
            return [], place, max(0, min(self._part.search.size, number - len(mine)))
        # Fewer than were meant to be, where fewer trials are asked for by now: the space may have no more.
        size = min(last[-1].user_attrs[SIZE], number - len(mine) + len(last))
        return last, last[-1].user_attrs[BATCH], max(len(last), size)

    def tell(self, proposed: Proposed, value: float | None) -> None:
        """Notes what came of a trial; None: it has no result, and counts as the worst."""
        from optuna.trial import TrialState

        if not proposed.told:
            self._study.tell(proposed.number, value, state=TrialState.PRUNED if value is None else TrialState.COMPLETE)

    def _read(self, found: Any) -> Proposed:
        return Proposed(found.number, self._part.trial(found.params), found.state.is_finished())

    def _propose(self, attributes: Mapping[str, Any]) -> None:
        """Adds one trial to the journal, in one line."""
        from optuna.trial import TrialState, create_trial

        mine = self._mine
        drawn = self._new(mine)
        folder = f"{self._name}/{trials.folder_name(self._part.trial(drawn))}"
        self._study.add_trial(
            create_trial(
                state=TrialState.RUNNING,
                params=drawn,
                distributions=self._space,
                user_attrs={**attributes, FOLDER: folder},
            )
        )

    def _new(self, mine: Sequence[Any]) -> dict[str, float]:
        """A trial that none of those before is."""
        space, seed, place = self._part.search.space, self._part.search.seed, len(mine)
        tried = {trials.folder_name(self._part.trial(x.params)) for x in mine}
        first = self._draws[place : place + 1]
        for attempt in range(DRAWS):
            if attempt or not first:
                known = mine if attempt <= PROPOSALS else ()
                found = propose(known, self._space, [seed, place, attempt])
            else:
                found = first[0]
            drawn = {name: space[name].near(found[name]) for name in self._part.takes}
            if trials.folder_name(self._part.trial(drawn)) not in tried:
                return drawn
        raise ValueError(f"{self._name}: the space has no more trials than about {place}; ask for fewer --trials")


def propose(known: Sequence[Any], space: Mapping[str, Any], seed: Sequence[int]) -> dict[str, float]:
    """What Optuna would try after some trials: the tree-structured Parzen estimator, over all settings together.

    Args:
      known: Optuna's trials; of those that run the sampler takes the worst to come of them, and keeps away.
      space: distributions by name.
      seed: numbers of at least 0.

    Reference: Watanabe, "Tree-Structured Parzen Estimator", arXiv 2304.11127.
    """
    import optuna

    with quiet():
        study = optuna.create_study(direction="maximize", sampler=_sampler(seed))
        study.add_trials(known)
        return dict(study.ask(dict(space)).params)


def distributions(part: Part) -> dict[str, Any]:
    """The space as Optuna has it."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    found: dict[str, Any] = {}
    for name in part.takes:
        kind, values = part.search.space[name].kind, part.search.space[name].values
        if kind == "choice":
            found[name] = CategoricalDistribution(values)
        else:
            low, high = values
            found[name] = FloatDistribution(low, high, log=kind == "log")
    return found


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[Any]:
    """The storage of a sweep's studies, which this process must hold.

    Raises:
      ValueError: for a journal that cannot be read.
    """
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    path = folder / JOURNAL
    with quiet():
        try:
            if path.exists():
                _mend(path)
            held: Any = _Held()
            storage = JournalStorage(JournalFileBackend(str(path), lock_obj=held))
        except Exception as error:  # whatever a damaged file makes Optuna raise
            if isinstance(error, OSError):
                raise
            raise ValueError(f"{path} cannot be read as a journal of Optuna: {error!r}") from error
        yield storage


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Optuna says nothing but warnings: it would announce every study."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(max(before, optuna.logging.WARNING))
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


class _Held:
    """In place of Optuna's lock file, which a killed process would leave: the folder is held by `storage.run_lock`."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


def _mend(path: Path) -> None:
    """Takes away half a line at the end, as a kill leaves it: Optuna would append to it, and then not read the file."""
    if (size := size_of(path)) > JOURNAL_LIMIT:
        raise ValueError(f"it has {size:,} bytes; at most {JOURNAL_LIMIT:,} are read")
    with path.open("r+b") as file:
        data = file.read(JOURNAL_LIMIT)
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            file.truncate(whole)
            file.flush()
            os.fsync(file.fileno())


def _sampler(seed: int | Sequence[int]) -> Any:
    from optuna.samplers import TPESampler

    number = int(np.random.SeedSequence(seed).generate_state(1)[0])
    return TPESampler(seed=number, n_startup_trials=1, multivariate=True, constant_liar=True)


def _named(of: Mapping[str, Any]) -> str:
    space = " ".join(f"{name}={':'.join(map(str, words))}" for name, words in of["space"].items())
    return f"--space {space} --random-seed {of['seed']}"
