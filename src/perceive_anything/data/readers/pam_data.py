"""Reads PAM-data, the annotations released with PAM: rows in JSONL files or JSON lists.

Knows where rows and images lie. Rows of one image or clip become one record, so that training
encodes it once. Refuses to know what the records are for.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from perceive_anything.data.bad_rows import MALFORMED, BadRows
from perceive_anything.data.readers.job import Dataset, Job
from perceive_anything.data.readers.json_rows import json_rows
from perceive_anything.data.readers.pam_rows import (
    Prompted,
    frame_names,
    image_name,
    region_of,
    track_of,
    turns_of,
)
from perceive_anything.data.readers.pictures import UNREADABLE, Finder, picture_size_wh
from perceive_anything.data.schema import ByteRange, ClipRecord, ImageRecord
from perceive_anything.errors import DataError

__all__ = ["DATASETS", "read_pam_data"]

IMAGE_FOLDERS = (".", "images")
_EXPECTED = "Expected rows of PAM-data: type, image or frames, conversations, bbox or points."
_BAD = (*MALFORMED, *UNREADABLE)


def read_pam_data(
    path: str | Path, *, max_bad: int = 20, report: Callable[[str], None] = print
) -> list[ImageRecord | ClipRecord]:
    """Records of the rows of one file or of all `*.jsonl` and `*.json` below a folder.

    A question keeps everything behind the image marker, as "Previous caption: ...". Names carry
    no folder that is sure to exist here, so an image is looked for where its name says, then
    below the folder of the rows and the folders above it up to `path`, each also with `images/`;
    of a longer name the last parts, at least folder and file, are enough.

    Checked against the release's own training code (`llava/train/train.py` at 2fc36d3): the
    fields; that `bbox` is left, top, width, height for images and clips alike; that `points` are
    x, y with `labels` 1 or 0; that a clip has one bbox and one list of points for each of some
    frames, of which the first belongs to the first frame; that an unused prompt is null.
    Assumed, as that code does not read it: `masked_frames` tells those frames, by name, by the
    number in the name or by place; where the last two differ, the one that begins with the first
    frame counts. Without it a clip may have a prompt for the first frame or for each. Frames are
    of one size. Turns of one row are taken as questions that stand alone.

    Args:
        path: The file or folder.
        max_bad: Rows that may be unusable; each is reported and left out.
        report: Where lines about them go.

    Returns:
        One record an image or clip, in the order of the rows. Labels are empty, as rows have
        texts only (`extra["turns"]`); rows of one object and one prompt share a region. A region
        with clicks alone has the box around them and `extra["points_only"]`.

    Raises:
        DataError: No such file, no usable row, or too many bad ones.
    """
    records = list(_records(Path(path), "train", BadRows(max_bad, report, _EXPECTED)))
    if not records:
        raise DataError(f'no row of "{path}" can be used.\n  {_EXPECTED}', code="bad_record")
    return records


def _read(job: Job) -> Iterator[ImageRecord | ClipRecord]:
    return _records(job.root, job.split, job.bad)


def _records(root: Path, split: str, bad: BadRows) -> Iterator[ImageRecord | ClipRecord]:
    gathered = _Gathered(root)
    for file in _annotation_files(root):
        for place, written in json_rows(file):
            try:
                row = json.loads(written) if isinstance(written, bytes) else written
                gathered.add(row, file)
            except _BAD as error:
                bad.leave_out(place, error)
    yield from (draft.record(split) for draft in gathered.drafts.values())


class _Origin(NamedTuple):
    """What `pam_write` tells of the record that a row comes from; released rows say nothing."""

    id: str | None = None
    source: str | None = None
    license: str = ""
    split: str | None = None


@dataclass(slots=True)
class _Draft:
    """One image or clip while its rows are gathered; regions by what tells them apart."""

    id: str
    source: str
    origin: _Origin
    files: list[Path]
    size_wh: tuple[int, int]
    is_clip: bool
    regions: dict[object, Prompted] = field(default_factory=dict)

    def record(self, split: str) -> ImageRecord | ClipRecord:
        handles = tuple(ByteRange(str(file)) for file in self.files)
        head: dict[str, Any] = {"id": self.origin.id or self.id}
        head |= {"source": self.origin.source or self.source, "license": self.origin.license}
        head |= {"split": self.origin.split or split, "size_wh": self.size_wh}
        numbered = list(enumerate(self.regions.values()))
        if self.is_clip:
            tracks = tuple(prompted.track(number) for number, prompted in numbered)
            return ClipRecord(**head, frames=handles, regions=tracks)
        regions = tuple(prompted.region(number) for number, prompted in numbered)
        return ImageRecord(**head, captions=(), regions=regions, handle=handles[0])


class _Gathered:
    """What the rows of a file or folder speak of, so far."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.top = root.parent if root.is_file() else root
        self.drafts: dict[object, _Draft] = {}
        self.finders: dict[Path, Finder] = {}
        self.clips_of: Counter[Path] = Counter()

    def add(self, row: object, file: Path) -> None:
        """Put a row to the image or clip it speaks of; an error leaves nothing behind."""
        if not isinstance(row, dict):
            raise TypeError(f"it is {type(row).__name__}, not an object")
        kind = row.get("type") or ("video" if "frames" in row else "image")
        if kind not in ("image", "video"):
            raise ValueError(f"its type is {kind!r}, neither image nor video")
        turns = turns_of(row["conversations"])
        finder = self._finder(file.parent)
        names = frame_names(row) if kind == "video" else [image_name(row)]
        files = [finder.find(name) for name in names]
        origin = _Origin(**(row.get("record") or {}))
        key = (kind, origin.id, *files)
        known = self.drafts.get(key)
        draft = known or self._draft(files, file.stem, origin, kind == "video")
        prompted = track_of(row, draft.size_wh) if draft.is_clip else region_of(row, draft.size_wh)
        prompts = (*prompted.boxes.items(), *prompted.points.items())
        place = (json.dumps(prompted.extra.get("obj_id")), *prompts)
        draft.regions.setdefault(place, prompted).turns.update(dict.fromkeys(turns))
        if known is None:
            self.drafts[key] = draft
            self.clips_of[files[0].parent] += 1

    def _finder(self, folder: Path) -> Finder:
        if folder not in self.finders:
            above = [f for f in (folder, *folder.parents) if f == self.top or self.top in f.parents]
            places = [place / name for place in above for name in IMAGE_FOLDERS]
            self.finders[folder] = Finder(places)
        return self.finders[folder]

    def _draft(self, files: list[Path], source: str, origin: _Origin, is_clip: bool) -> _Draft:
        shown = files[0].parent if is_clip else files[0]
        name = (shown.relative_to(self.top) if self.top in shown.parents else shown).as_posix()
        if is_clip:
            name += f"#{self.clips_of[shown]}"
        return _Draft(name, source, origin, files, picture_size_wh(files[0]), is_clip)


def _annotation_files(root: Path) -> list[Path]:
    if root.is_file():
        return [root]
    found = sorted(path for path in root.rglob("*.json*") if path.suffix in (".json", ".jsonl"))
    if not found:
        raise DataError(
            f'there is no *.jsonl or *.json in "{root}".\n  {_EXPECTED}', code="file_missing"
        )
    return found


DATASETS = (
    Dataset(
        "pam",
        "PAM-data: the rows released with PAM; images, clips and streams with conversations",
        "*.jsonl or *.json with rows, and the pictures they name",
        "https://huggingface.co/datasets/Perceive-Anything/PAM-data",
        "the release's own training code, see `read_pam_data`; no real file was at hand",
        _read,
    ),
)
