"""Task families: what is trained on which images. Those of one task are stacked and run as one batch."""

from pathlib import Path
from typing import NamedTuple

from metatrain import datasets, problems, tasks

DEFAULT_NETWORK = tasks.NETWORKS[0]


class Group(NamedTuple):
    """Families with the same network and problem.

    Attributes:
      task: theirs.
      data: their sets, stacked.
      members: their places in the list of all families.
    """

    task: tasks.Task
    data: datasets.StackedDatasets
    members: tuple[int, ...]


def load(
    specs: tuple[str, ...], hidden: int, batch_size: int, split: str = "train", data_dir: Path | None = None
) -> list[Group]:
    """Reads the families `SET[/NETWORK[:HIDDEN]][@PROBLEM]` and groups those of one network and problem.

    Args:
      specs: families; their order is kept within a group, and groups come in the order of first appearance.
      hidden: units of the hidden layers of families that name no number.
      batch_size: images of a batch.
      split: see `datasets.load`.
      data_dir: see `datasets.load`.

    Raises:
      ValueError: for an unknown set, network or problem, a bad number of units, or a set with fewer images than a
        batch.
    """
    members: dict[tuple[str, str, int], list[int]] = {}
    sets = []
    for i, spec in enumerate(specs):
        described, at, problem = spec.partition("@")
        if at and not problem:
            raise ValueError(f"family {spec!r}: no problem after the @; there are {', '.join(problems.PROBLEMS)}")
        name, _, network = described.partition("/")
        network, _, units = network.partition(":")
        if units and not units.isdecimal():
            raise ValueError(f"family {spec!r}: {units!r} is no number of hidden units")
        members.setdefault((problem, network or DEFAULT_NETWORK, int(units or hidden)), []).append(i)
        sets.append(datasets.load(name, split, data_dir))
        if len(sets[-1].labels) < batch_size:
            raise ValueError(
                f"{name} has {len(sets[-1].labels)} images to train on, fewer than batch_size {batch_size}"
            )
    return [
        Group(
            problems.make(problem, network, units, batch_size), datasets.stack([sets[i] for i in places]), tuple(places)
        )
        for (problem, network, units), places in members.items()
    ]
