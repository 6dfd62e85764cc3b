"""Text in pictures: COCO-Text, TextOCR, Total-Text and the ICDAR sets.

Knows their files; each becomes regions named "text" with a `transcription`, or `legible` False.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from perceive_anything.data.bad_rows import MALFORMED
from perceive_anything.data.readers.job import Dataset, Job
from perceive_anything.data.readers.json_rows import RowIndex, json_items
from perceive_anything.data.readers.matlab import read_matlab
from perceive_anything.data.readers.pictures import (
    UNREADABLE,
    Finder,
    picture_size_wh,
    pictures_below,
)
from perceive_anything.data.readers.regions import region
from perceive_anything.data.schema import ByteRange, ImageRecord, RegionRecord

__all__ = ["DATASETS"]

ILLEGIBLE = frozenset({"", "###", "#", "."})
_SCRIPTS = frozenset({
    "Arabic", "Latin", "Chinese", "Japanese", "Korean", "Bangla", "Hindi", "Symbols", "Mixed",
    "None",
})  # fmt: skip
_TOTAL_TEXT = re.compile(
    r"x:\s*\[\[(?P<x>[^\]]*)\]\],\s*y:\s*\[\[(?P<y>[^\]]*)\]\],\s*"
    r"ornt:\s*\[.*?\],\s*transcriptions:\s*\[u?(?P<quote>['\"])(?P<text>.*)(?P=quote)\]\s*",
    re.DOTALL,
)
_PLAIN_TEXT = re.compile(r"(?:\S+[ ,]+){4}.*")


class Word(NamedTuple):
    """A piece of text: its outline as x, y, x, y, ..., what it says, and its script."""

    polygon: Sequence[float]
    text: str
    script: str = ""


def _read_json(job: Job, files: tuple[str, ...], folders: tuple[str, ...]) -> Iterator[ImageRecord]:
    path = job.file(*files)
    words = RowIndex(path)
    for item in json_items(path):
        if item.section == "anns" and isinstance(item.value, dict):
            words.add(item.value.get("image_id"), item)
    finder = Finder([job.folder, *job.paths("images", *folders)])
    for item in json_items(path):
        if item.section != "imgs" or item.value.get("set", job.split) != job.split:
            continue
        image, rows = item.value, words.rows(item.value.get("id", item.name))
        try:
            size_wh = (int(image["width"]), int(image["height"]))
            name = str(image["file_name"])  # the folder in it may be called otherwise
            file = finder.find(name, name.rpartition("/")[2]) if rows else None
        except MALFORMED as error:
            job.bad.leave_out(f"{path}: imgs[{item.name}]", error)
            continue
        places = [(f"{path}: anns[{row.get('id')}]", row) for row in rows]
        regions = job.bad.usable(places, partial(_of_json, size_wh=size_wh))
        if regions:
            yield ImageRecord(
                str(image["id"]), job.dataset.name, "", job.split, size_wh, (), regions,
                ByteRange(str(file)),
            )  # fmt: skip


def _of_json(number: int, row: Mapping[str, Any], size_wh: tuple[int, int]) -> RegionRecord:
    polygon = row.get("points") or row.get("mask") or row.get("polygon") or ()
    text = "" if row.get("legibility") == "illegible" else str(row.get("utf8_string", ""))
    extra = {"language": row.get("language"), "text_class": row.get("class")}
    return _region(number, Word(polygon, text), size_wh, row["bbox"], extra)


def _of_file(number: int, word: Word | Exception, size_wh: tuple[int, int]) -> RegionRecord:
    if isinstance(word, Exception):
        raise word
    return _region(number, word, size_wh)


def _region(
    number: int,
    word: Word,
    size_wh: tuple[int, int],
    xywh: Sequence[float] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> RegionRecord:
    text = word.text.strip()
    told = {"legible": False} if text in ILLEGIBLE else {"transcription": text}
    outline = [list(word.polygon)] if len(word.polygon) else None
    more = {**(extra or {}), **told, "script": word.script}
    return region(number, "text", size_wh, xywh=xywh, outline=outline, extra=more)


def _read_files(
    job: Job, kinds: tuple[str, ...], words: Callable[[Path], Iterator[Word | Exception]]
) -> Iterator[ImageRecord]:
    """Sets with one file of annotations a picture, whose name is that of the picture after gt_."""
    files = [job.root] if job.root.is_file() else sorted(job.root.rglob("*gt_*"))
    files = [file for file in files if file.suffix in kinds and _of_split(job, file)]
    if not files:
        raise job.missing(f"file *gt_*{kinds[0]} of {job.split}")
    of_stem = {file.stem: file for file in pictures_below(job.folder) if _of_split(job, file)}
    for file in files:
        stem = file.stem.rpartition("gt_")[2]
        try:
            if stem not in of_stem:
                raise ValueError(f"there is no picture {stem}")
            size_wh = picture_size_wh(of_stem[stem])
            found = [(str(file), word) for word in words(file)]
        except (*MALFORMED, *UNREADABLE) as error:
            job.bad.leave_out(str(file), error)
            continue
        regions = job.bad.usable(found, partial(_of_file, size_wh=size_wh))
        if regions:
            yield ImageRecord(
                stem, job.dataset.name, "", job.split, size_wh, (), regions,
                ByteRange(str(of_stem[stem])),
            )  # fmt: skip


def _of_split(job: Job, file: Path) -> bool:
    """Whether a path speaks of the split; where it speaks of none, it belongs to all."""
    folders = "/".join(file.relative_to(job.folder).parts[:-1]).lower()
    spoken = [split for split in job.dataset.splits if split in folders]
    return not spoken or job.split in spoken


def _total_text(path: Path) -> Iterator[Word | Exception]:
    if path.suffix == ".mat":
        yield from _total_text_mat(path)
        return
    for part in re.split(r"(?=\bx:\s*\[\[)", path.read_text(encoding="utf-8-sig")):
        if not part.strip():
            continue
        match = _TOTAL_TEXT.fullmatch(part)
        if match is None:
            yield ValueError(f"{part.strip()[:60]!r} is not of the form x, y, ornt, transcriptions")
            continue
        xs, ys = match["x"].split(), match["y"].split()
        yield _word(xs, ys, match["text"])


def _total_text_mat(path: Path) -> Iterator[Word | Exception]:
    content = read_matlab(path, ("polygt", "gt"))
    rows = content["polygt"] if "polygt" in content else content["gt"]
    for row in rows:
        xs, ys = np.ravel(row[1]).tolist(), np.ravel(row[3]).tolist()
        yield _word(xs, ys, str(np.ravel(row[4])[0]) if np.size(row[4]) else "")


def _word(xs: Sequence[Any], ys: Sequence[Any], text: str) -> Word | Exception:
    try:
        pairs = zip(map(float, xs), map(float, ys), strict=True)
        return Word([value for pair in pairs for value in pair], text)
    except ValueError as error:
        return error


def _icdar(path: Path) -> Iterator[Word | Exception]:
    for line in path.read_text(encoding="utf-8-sig", errors="replace").splitlines():
        if line.strip():
            yield _icdar_word(line)


def _icdar_word(line: str) -> Word | Exception:
    """8 numbers of a quadrangle, or 4 of a box (of 2013, also between blanks), and the text."""
    cells = line.split(",")
    if len(cells) < 5 and _PLAIN_TEXT.fullmatch(line):
        cells = line.split(maxsplit=4)
    count = 0
    while count < min(8, len(cells) - 1) and _is_number(cells[count]):
        count += 1
    if count not in (4, 8):  # a box whose text begins with numbers has some between
        if count < 4:
            return ValueError(f"{line[:60]!r} does not begin with 4 or 8 numbers")
        count = 4
    numbers = [float(cell) for cell in cells[:count]]
    if count == 4:
        x1, y1, x2, y2 = numbers
        numbers = [x1, y1, x2, y1, x2, y2, x1, y2]
    script = cells[count].strip() if len(cells) > count + 1 else ""
    known = script in _SCRIPTS
    text = ",".join(cells[count + known :]).strip()
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1]
    return Word(numbers, text, script if known else "")


def _is_number(cell: str) -> bool:
    return re.fullmatch(r"\s*-?\d+(\.\d+)?\s*", cell) is not None


_PARTS = ("train", "val", "test")

DATASETS = (
    Dataset(
        "coco_text",
        "COCO-Text: words in pictures of COCO, also illegible ones",
        "cocotext.v2.json (or COCO_Text.json) and train2014/",
        "https://bgshih.github.io/cocotext/",
        "how other loaders read it; no real file was at hand",
        partial(
            _read_json,
            files=("cocotext.v2.json", "COCO_Text.json"),
            folders=("train2014", "images/train2014"),
        ),
        _PARTS,
    ),
    Dataset(
        "textocr",
        "TextOCR: a million words with outlines, on pictures of OpenImages",
        "TextOCR_0.1_train.json and train_images/ (or train/)",
        "https://textvqa.org/textocr/dataset/",
        "the set's description of its fields; no real file was at hand",
        partial(
            _read_json,
            files=("TextOCR_0.1_{split}.json",),
            folders=("train_images", "train_val_images", "train", "test_images"),
        ),
        _PARTS,
    ),
    Dataset(
        "total_text",
        "Total-Text: curved words with outlines",
        "poly_gt_img1.txt or poly_gt_img1.mat and img1.jpg, in folders that name Train or Test",
        "https://github.com/cs-chan/Total-Text-Dataset",
        "text files of the real set; its .mat files as other loaders read them",
        partial(_read_files, kinds=(".txt", ".mat"), words=_total_text),
        ("train", "test"),
    ),
    Dataset(
        "icdar",
        "ICDAR 2013, 2015 and MLT: words with quadrangles or boxes",
        "gt_img_1.txt and img_1.jpg, in folders whose names hold train or test",
        "https://rrc.cvc.uab.es/",
        "how other loaders read it; no real file was at hand",
        partial(_read_files, kinds=(".txt",), words=_icdar),
        ("train", "test", "val"),
    ),
)
