"""Clips whose masks are PNG files, one a frame: DAVIS, YouTube-VOS, and SA-V's val and test.

Knows their folders, names and expressions. In a PNG each object has its number, or its own PNG.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from perceive_anything.data.bad_rows import MALFORMED
from perceive_anything.data.readers.job import Dataset, Job
from perceive_anything.data.readers.json_rows import json_of
from perceive_anything.data.readers.pictures import UNREADABLE, Film, film_of_folder, pictures_below
from perceive_anything.data.readers.regions import clip, said, track
from perceive_anything.data.schema import ClipRecord, TrackRecord
from perceive_anything.masks import encode_rle

__all__ = ["DATASETS"]

VOID = 255  # not decided; no object
_DAVIS_TEXT = re.compile(r'\s*(\S+)\s+(\d+)\s+"?(.*?)"?\s*')


@dataclass(slots=True)
class Names:
    """What is known of an object besides its masks."""

    label: str = ""
    phrases: list[str] = field(default_factory=list)


OfObject = Mapping[str, Names]


@dataclass(frozen=True, slots=True)
class Form:
    """Where a set has its files; each is the first of its names that exists.

    Args:
        frames: Folder with a folder of frames a clip.
        masks: Folder with a folder of PNG files a clip.
        lists: File with the names of the split's clips; all with masks, where there is none.
        names: Reads what is known of objects, by clip and number.
        per_object: Each object of a clip has a folder of PNG files.
    """

    frames: tuple[str, ...]
    masks: tuple[str, ...]
    lists: tuple[str, ...] = ()
    names: Callable[[Job], Mapping[str, OfObject]] | None = None
    per_object: bool = False


def _read(job: Job, form: Form) -> Iterator[ClipRecord]:
    frames, masks = job.place(*form.frames), job.place(*form.masks)
    known = form.names(job) if form.names else {}
    for name in _clips(job, form, masks):
        try:
            film = film_of_folder(frames / name)
            outlines = _Outlines(film, job, masks / name)
            files = pictures_below(masks / name)
            if not files:
                raise ValueError(f"there is no mask in {masks / name}")
            for file in files:
                outlines.add(file, file.parent.name if form.per_object else None)
            tracks = tuple(outlines.tracks(known.get(name, {})))
            if tracks:
                yield clip(name, job.dataset.name, job.split, film.size_wh, film.frames, tracks)
        except (*MALFORMED, *UNREADABLE) as error:
            job.bad.leave_out(str(masks / name), error)


def _clips(job: Job, form: Form, masks: Path) -> list[str]:
    for path in job.paths(*form.lists):
        if path.is_file():
            return [line.strip() for line in path.read_text().splitlines() if line.strip()]
    return sorted(path.name for path in masks.iterdir() if path.is_dir())


class _Outlines:
    """The masks of a clip, by object and frame."""

    def __init__(self, film: Film, job: Job, place: Path) -> None:
        self.film, self.job, self.place = film, job, place
        self.rles: dict[str, dict[int, dict]] = defaultdict(dict)
        self.looked_at: dict[str | None, list[int]] = defaultdict(list)

    def add(self, file: Path, owner: str | None) -> None:
        """Take in a PNG of one object, or of all."""
        try:
            frame = self.film.number(file.stem)
            numbers = _numbers(file, self.film.size_wh)
        except (*MALFORMED, *UNREADABLE) as error:
            self.job.bad.leave_out(str(file), error)
            return
        self.looked_at[owner].append(frame)
        if owner is not None:
            numbers = numbers > 0
        for value in np.unique(numbers):
            if value and (owner is not None or value != VOID):
                self.rles[owner or str(value)][frame] = encode_rle(numbers == value)

    def tracks(self, known: OfObject) -> Iterator[TrackRecord]:
        """The objects in order of their numbers."""
        for place, name in enumerate(sorted(self.rles, key=int)):
            names = known.get(name) or known.get(str(int(name))) or Names()
            frames = self.looked_at.get(name, self.looked_at.get(None, []))
            extra = {
                "object": name,
                "phrases": said(names.phrases),
                "annotated_frames": tuple(sorted(frames)),
            }
            size_wh = self.film.size_wh
            yield track(place, names.label, size_wh, outlines=self.rles[name], extra=extra)


def _numbers(file: Path, size_wh: tuple[int, int]) -> np.ndarray:
    """Which object each pixel belongs to, (H, W)."""
    with Image.open(file) as image:
        if image.mode not in ("P", "L", "1", "I;16"):
            raise ValueError(f"its pixels are {image.mode}, not numbers of objects")
        if image.size != size_wh:
            raise ValueError(f"it is of {image.size}, its frame of {size_wh}")
        return np.asarray(image)


def _davis_names(job: Job) -> dict[str, dict[str, Names]]:
    """Expressions of the referring annotations, where they are: clip, object, "text" in a line."""
    known: dict[str, dict[str, Names]] = defaultdict(lambda: defaultdict(Names))
    for path in sorted(job.folder.rglob("Davis17_annot*.txt")):
        lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
        for number, line in enumerate(lines, start=1):
            match = _DAVIS_TEXT.fullmatch(line)
            if match:
                known[match[1]][match[2]].phrases.append(match[3])
            elif line.strip():
                job.bad.leave_out(f"{path}:{number}", "it is not: clip, object, text")
    return known


def _youtube_names(job: Job) -> dict[str, dict[str, Names]]:
    """Categories of `meta.json`, and expressions of the referring annotations where they are."""
    known: dict[str, dict[str, Names]] = defaultdict(lambda: defaultdict(Names))
    for path in job.paths("{split}/meta.json", "meta.json"):
        if path.is_file():
            for name, video in json_of(path)["videos"].items():
                for number, each in video["objects"].items():
                    known[name][number].label = str(each["category"]).replace("_", " ")
            break
    for path in job.paths("meta_expressions/{split}/meta_expressions.json"):
        if path.is_file():
            for name, video in json_of(path)["videos"].items():
                for each in video["expressions"].values():
                    known[name][str(each["obj_id"])].phrases.append(each["exp"])
    return known


_DAVIS = Form(
    ("JPEGImages/480p", "JPEGImages/Full-Resolution"),
    ("Annotations/480p", "Annotations/Full-Resolution"),
    ("ImageSets/2017/{split}.txt",),
    _davis_names,
)
_YOUTUBE = Form(
    ("{split}/JPEGImages", "JPEGImages"), ("{split}/Annotations", "Annotations"),
    names=_youtube_names,
)  # fmt: skip
_SA_V = Form(
    ("sav_{split}/JPEGImages_24fps", "JPEGImages_24fps"),
    ("sav_{split}/Annotations_6fps", "Annotations_6fps"),
    ("sav_{split}/sav_{split}.txt", "sav_{split}.txt"),
    per_object=True,
)

DATASETS = (
    Dataset(
        "davis17",
        "DAVIS 2017: objects of clips with masks on every frame, some with expressions",
        "JPEGImages/480p/CLIP/*.jpg, Annotations/480p/CLIP/*.png, ImageSets/2017/train.txt",
        "https://davischallenge.org/davis2017/code.html",
        "how other loaders read it; no real file was at hand",
        partial(_read, form=_DAVIS),
        ("train", "val", "test-dev"),
    ),
    Dataset(
        "youtube_vos",
        "YouTube-VOS: objects of clips with categories, masks on every fifth frame, expressions",
        "train/JPEGImages/CLIP/*.jpg, train/Annotations/CLIP/*.png, train/meta.json, and"
        " meta_expressions/train/meta_expressions.json",
        "https://youtube-vos.org/dataset/",
        "how other loaders read it; no real file was at hand",
        partial(_read, form=_YOUTUBE),
        ("train", "valid", "test"),
    ),
    Dataset(
        "sa_v_val",
        "SA-V val and test: objects and parts of clips, masks on every fourth frame",
        "sav_val/JPEGImages_24fps/CLIP/*.jpg, sav_val/Annotations_6fps/CLIP/OBJECT/*.png",
        "https://github.com/facebookresearch/sam2/tree/main/sav_dataset",
        "the readme there; no real file was at hand",
        partial(_read, form=_SA_V),
        ("val", "test"),
    ),
)
