"""A2D Sentences: sentences about actors of clips, with masks on a few frames.

Knows its tables, and what its MATLAB files hold; those of the release are HDF5.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from perceive_anything.data.bad_rows import MALFORMED
from perceive_anything.data.readers.job import Dataset, Job
from perceive_anything.data.readers.matlab import read_matlab
from perceive_anything.data.readers.pictures import UNREADABLE, Films
from perceive_anything.data.readers.regions import clip, said, track
from perceive_anything.data.schema import ClipRecord, TrackRecord
from perceive_anything.masks import encode_rle

__all__ = ["DATASETS"]

_SPLITS = {"train": "0", "test": "1"}


def _read(job: Job) -> Iterator[ClipRecord]:
    sets = job.file("Release/videoset.csv", "videoset.csv")
    table = job.file("text_annotations/a2d_annotation.txt", "Release/a2d_annotation.txt",
                     "a2d_annotation.txt")  # fmt: skip
    masks = job.place(*(f"{folder}a2d_annotation_with_instances"
                        for folder in ("text_annotations/", "Release/", "")))  # fmt: skip
    with sets.open(encoding="utf-8-sig", newline="") as stream:
        rows = csv.reader(stream)
        wanted = {row[0] for row in rows if row and row[-1].strip() == _SPLITS[job.split]}
    films = Films(job.folder)
    for name, sentences in _sentences(job, table).items():
        try:
            if name in wanted:
                yield _clip(job, name, masks / name, sentences, films)
        except (*MALFORMED, *UNREADABLE) as error:
            job.bad.leave_out(f"{masks / name}", error)


def _sentences(job: Job, table: Path) -> dict[str, dict[int, list[str]]]:
    """Sentences by clip and actor."""
    found: dict[str, dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
    with table.open(encoding="utf-8-sig", newline="") as stream:
        for row in csv.DictReader(stream):
            try:
                found[row["video_id"]][int(row["instance_id"])].append(row["query"])
            except MALFORMED as error:
                job.bad.leave_out(f"{table}: {row}", error)
    return found


def _clip(
    job: Job, name: str, masks: Path, sentences: dict[int, list[str]], films: Films
) -> ClipRecord:
    film = films.open(name)
    outlines: dict[int, dict[int, dict]] = defaultdict(dict)
    frames = []
    for file in sorted((*masks.glob("*.h5"), *masks.glob("*.mat"))):
        frame = int(file.stem) - 1  # files count from 1
        try:
            actors = _actors(file)
        except (*MALFORMED, OSError) as error:
            job.bad.leave_out(str(file), error)
            continue
        frames.append(frame)
        for number, mask in zip(actors.numbers, actors.masks, strict=True):
            outlines[number][frame] = encode_rle(mask)
    tracks: list[TrackRecord] = []
    for number, said_of in sentences.items():
        extra = {"object": str(number), "phrases": said(said_of), "annotated_frames": tuple(frames)}
        found = outlines.get(number, {})
        tracks.append(track(len(tracks), "", film.size_wh, outlines=found, extra=extra))
    return clip(name, job.dataset.name, job.split, film.size_wh, film.frames, tracks)


class _Actors(NamedTuple):
    """The actors of a frame: their numbers and masks, bool (N, H, W)."""

    numbers: list[int]
    masks: np.ndarray


def _actors(file: Path) -> _Actors:
    """Masks are (H, W, N), or (H, W) of a single actor."""
    content = read_matlab(file, ("instance", "reMask"))
    masks = content["reMask"]
    stacked = masks[..., None] if masks.ndim == 2 else masks
    numbers = [int(number) for number in np.ravel(content["instance"])]
    return _Actors(numbers, np.moveaxis(stacked, -1, 0) > 0)


DATASETS = (
    Dataset(
        "a2d",
        "A2D Sentences: sentences about actors and what they do, masks on 3 to 5 frames of a clip",
        "Release/videoset.csv, text_annotations/a2d_annotation.txt and"
        " a2d_annotation_with_instances/CLIP/*.h5 (or *.mat), and CLIP.mp4 or a folder CLIP of"
        " frames at any depth",
        "https://kgavrilyuk.github.io/publication/actor_action/",
        "datasets/a2d_sentences of mttr2021/MTTR; no real file was at hand",
        _read,
        ("train", "test"),
    ),
)
