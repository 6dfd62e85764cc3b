"""Every dataset that can be read, by its name.

Knows which reader reads what; nothing of their formats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from difflib import get_close_matches
from pathlib import Path

from perceive_anything.data.bad_rows import BadRows
from perceive_anything.data.readers import (
    a2d,
    box_tracks,
    coco,
    dialogues,
    mask_folders,
    openimages,
    pam_data,
    referring,
    rexverse,
    rle_tracks,
    scene_text,
    visual_genome,
)
from perceive_anything.data.readers.job import Dataset, Job, Record
from perceive_anything.errors import DataError, OptionError

__all__ = ["DATASETS", "find_dataset", "read_dataset"]

_MODULES = (
    coco, openimages, referring, visual_genome, rexverse, scene_text, dialogues, mask_folders,
    rle_tracks, box_tracks, a2d, pam_data,
)  # fmt: skip
DATASETS: dict[str, Dataset] = {
    dataset.name: dataset for module in _MODULES for dataset in module.DATASETS
}


def find_dataset(name: str) -> Dataset:
    """The dataset of a name.

    Raises:
        OptionError: There is none; the message lists the names.
    """
    if name in DATASETS:
        return DATASETS[name]
    near = get_close_matches(name, DATASETS, n=1)
    hint = f' Did you mean "{near[0]}"?' if near else ""
    raise OptionError(
        f'there is no dataset "{name}".{hint}\n  Known are {", ".join(sorted(DATASETS))}.',
        code="unknown_option",
    )


def read_dataset(
    name: str,
    root: str | Path,
    split: str = "train",
    *,
    max_bad: int = 20,
    report: Callable[[str], None] = print,
) -> Iterator[Record]:
    """Iterate the records of a dataset, in the order of its files.

    Pictures are opened when a record is asked for them; annotation files of any size are read
    item by item. To draw records in any order, write them as shards (`data.shards`) first.

    Args:
        name: One of `DATASETS`.
        root: Its folder, or its annotation file.
        split: Which part; of a set without parts, what its records are to be called.
        max_bad: Rows that may be unusable; each is reported and left out.
        report: Where lines about them go, and at the end how many there were.

    Yields:
        One record an image or clip.

    Raises:
        OptionError: No such dataset or split.
        DataError: The files are not as expected, no row is usable, or too many are bad.

    Example:
        >>> records = read_dataset("davis17", "DAVIS", "val")
        >>> next(records).regions[0].rles[0]["size"]
        [480, 854]
    """
    dataset = find_dataset(name)
    if dataset.splits and split not in dataset.splits:
        raise OptionError(
            f'{name} has no split "{split}".\n  It has {", ".join(dataset.splits)}.',
            code="unknown_option",
        )
    if not Path(root).exists():
        raise DataError(
            f'there is no "{root}".\n  Give the folder of {name}: {dataset.layout}.',
            code="file_missing",
        )
    return _counted(Job(dataset, Path(root), split, BadRows(max_bad, report)), report)


def _counted(job: Job, report: Callable[[str], None]) -> Iterator[Record]:
    count = 0
    for record in job.dataset.read(job):
        count += 1
        yield record
    if job.bad.num_bad:
        report(f"{job.dataset.name}: {count} records, {job.bad.num_bad} rows left out")
    if not count:
        raise DataError(
            f'no row of "{job.root}" can be used as {job.dataset.name}, split "{job.split}".\n'
            f"  Expected {job.dataset.layout}. The set is described at {job.dataset.home}.",
            code="bad_record",
        )
