"""Reads PAM-data, the annotations released with PAM: rows in JSONL files or JSON lists.

Knows where rows and images lie. Rows of one image or clip become one record, so that training
encodes it once. Refuses to know what the records are for.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image

from perceive_anything.data.bad_rows import MALFORMED, BadRows
from perceive_anything.data.pam_rows import (
    Prompted,
    frame_names,
    image_name,
    region_of,
    track_of,
    turns_of,
)
from perceive_anything.data.schema import ByteRange, ClipRecord, ImageRecord
from perceive_anything.errors import DataError

__all__ = ["read_pam_data"]

IMAGE_FOLDERS = (".", "images")
_EXPECTED = "Expected rows of PAM-data: type, image or frames, conversations, bbox or points."
_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)  # EXIF: the picture is shown on its side
_BAD = (*MALFORMED, OSError, Image.DecompressionBombError)


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
    bad = BadRows(max_bad, report, _EXPECTED)
    gathered = _Gathered(Path(path))
    for file in _annotation_files(gathered.root):
        for place, written in _rows(file):
            try:
                row = json.loads(written) if isinstance(written, bytes) else written
                gathered.add(row, file)
            except _BAD as error:
                bad.leave_out(place, error)
    if not gathered.drafts:
        raise DataError(f'no row of "{path}" can be used.\n  {_EXPECTED}', code="bad_record")
    return [draft.record() for draft in gathered.drafts.values()]


@dataclass(slots=True)
class _Draft:
    """One image or clip while its rows are gathered; regions by what tells them apart."""

    id: str
    source: str
    files: list[Path]
    size_wh: tuple[int, int]
    is_clip: bool
    regions: dict[object, Prompted] = field(default_factory=dict)

    def record(self) -> ImageRecord | ClipRecord:
        handles = tuple(ByteRange(str(file)) for file in self.files)
        head: dict[str, Any] = {"id": self.id, "source": self.source, "license": ""}
        head |= {"split": "train", "size_wh": self.size_wh}
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
        self.finders: dict[Path, _Finder] = {}
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
        key = (kind, *files)
        known = self.drafts.get(key)
        draft = known or self._draft(files, file.stem, kind == "video")
        prompted = track_of(row, draft.size_wh) if draft.is_clip else region_of(row, draft.size_wh)
        prompts = (*prompted.boxes.items(), *prompted.points.items())
        place = (json.dumps(prompted.extra.get("obj_id")), *prompts)
        draft.regions.setdefault(place, prompted).turns.update(dict.fromkeys(turns))
        if known is None:
            self.drafts[key] = draft
            self.clips_of[files[0].parent] += 1

    def _finder(self, folder: Path) -> _Finder:
        if folder not in self.finders:
            above = [f for f in (folder, *folder.parents) if f == self.top or self.top in f.parents]
            places = [place / name for place in above for name in IMAGE_FOLDERS]
            self.finders[folder] = _Finder(places)
        return self.finders[folder]

    def _draft(self, files: list[Path], source: str, is_clip: bool) -> _Draft:
        shown = files[0].parent if is_clip else files[0]
        name = (shown.relative_to(self.top) if self.top in shown.parents else shown).as_posix()
        if is_clip:
            name += f"#{self.clips_of[shown]}"
        return _Draft(name, source, files, _size_wh(files[0]), is_clip)


class _Finder:
    """Finds the files that rows name; keeps where the folder of a name was found."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = folders
        self.known: dict[PurePosixPath, Path] = {}

    def find(self, name: str) -> Path:
        """The file of a name.

        Raises:
            ValueError: There is none.
        """
        path = PurePosixPath(name)
        if path.parent in self.known and (file := self.known[path.parent] / path.name).is_file():
            return file
        for folder in self.folders:
            for start in range(max(1, len(path.parts) - 1)):
                file = folder.joinpath(*path.parts[start:])
                if file.is_file():
                    self.known[path.parent] = file.parent
                    return file
        raise ValueError(f"there is no file {name}")


def _annotation_files(root: Path) -> list[Path]:
    if root.is_file():
        return [root]
    found = sorted(path for path in root.rglob("*.json*") if path.suffix in (".json", ".jsonl"))
    if not found:
        raise DataError(
            f'there is no *.jsonl or *.json in "{root}".\n  {_EXPECTED}', code="file_missing"
        )
    return found


def _rows(file: Path) -> Iterator[tuple[str, object]]:
    """Places and rows; a line of JSONL as bytes, to be parsed where an error can be told."""
    if file.suffix == ".jsonl":
        with file.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                if line.strip():
                    yield f"{file}:{number}", line
        return
    try:
        rows = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(
            f'"{file}" cannot be read: {error}.\n  {_EXPECTED}', code="bad_record"
        ) from error
    if not isinstance(rows, list):
        raise DataError(f'"{file}" holds no list of rows.\n  {_EXPECTED}', code="bad_record")
    yield from ((f"{file}: rows[{number}]", row) for number, row in enumerate(rows))


def _size_wh(path: Path) -> tuple[int, int]:
    """Size as `ImageRecord.load` shows it, read from the head of the file."""
    with Image.open(path) as image:
        width, height = image.size
        turned = "exif" in image.info and image.getexif().get(_ORIENTATION) in _TURNED
    return (height, width) if turned else (width, height)
