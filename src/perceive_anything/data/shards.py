"""Shards of large sets: webdataset tars, one sample a record, read in any order.

A sample is KEY.json, as a line of a pack, and KEY.jpg (png, webp), or KEY.0000.jpg and so on for
a clip. An index is kept beside each shard; records are parsed only when they are asked for.
"""

from __future__ import annotations

import copy
import io
import json
import os
import re
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from perceive_anything.data.bad_rows import MALFORMED, BadRows, reason_of
from perceive_anything.data.lazy import LazyRecords, Record
from perceive_anything.data.packs import index_tar
from perceive_anything.data.rows import clip_from_row, image_from_row, row_from_record
from perceive_anything.data.schema import ByteRange, ClipRecord, ImageRecord
from perceive_anything.errors import DataError, require_package

__all__ = ["ShardedRecords", "picture_file", "write_shards"]

KINDS = {"JPEG": "jpg", "MPO": "jpg", "PNG": "png", "WEBP": "webp"}
INDEX_VERSION = 1
_EXPECTED = "Expected KEY.json and KEY.jpg, or KEY.0000.jpg and so on."
_UNREADABLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)
_IMAGE = re.compile(r"(?:(\d+)\.)?(?:jpg|jpeg|png|webp)")
_MEMBER = re.compile(r"((?:.*/)?[^./]+)\.([^/]+)")  # as webdataset: the first dot ends the key


def write_shards(
    records: Iterable[Record],
    folder: str | Path,
    per_shard: int = 1000,
    *,
    max_bad: int = 0,
    report: Callable[[str], None] = print,
) -> list[Path]:
    """Write records as shards; the same records make the same bytes.

    Images are copied as they are; other kinds than JPEG, PNG and WebP become PNG.

    Args:
        records: What to write; taken one by one.
        folder: Made if missing; must hold no tar.
        per_shard: Records a shard.
        max_bad: Records whose images may be unreadable; each is reported and left out.
        report: Where lines about them go.

    Returns:
        The shards.

    Raises:
        DataError: The folder holds a tar, no record can be written, or too many are bad.
        MissingExtraError: webdataset is not installed.
    """
    webdataset = require_package("webdataset", extra="train")
    root = Path(folder).resolve()
    root.mkdir(parents=True, exist_ok=True)
    if any(root.glob("*.tar")):
        raise DataError(
            f'"{root}" holds tars already.\n  Give a new folder, or remove them.',
            code="out_unwritable",
        )
    bad, written = BadRows(max_bad, report, "Expected readable images."), 0
    pattern = str(root).replace("%", "%%") + "/shard-%06d.tar"
    options = {"maxcount": per_shard, "encoder": False, "mtime": 0, "verbose": 0}
    with webdataset.ShardWriter(pattern, **options) as writer:
        for number, record in enumerate(records):
            try:
                sample = _sample(record)
            except (*MALFORMED, OSError, Image.DecompressionBombError) as error:
                bad.leave_out(f'record "{record.id}"', error)
                continue
            writer.write({"__key__": f"{number:09d}", **sample})
            written += 1
    shards = sorted(root.glob("*.tar"))
    if not written:
        shards[0].unlink()
        raise DataError("there is no record to write.\n  Give at least one.", code="bad_record")
    return shards


class ShardedRecords(LazyRecords):
    """The records of a folder of shards, in the order of the shards; lazy and picklable.

    Of each sample only numbers are held: some 50 bytes a record and 16 an image. Broken samples
    are found when a shard is indexed, which is at the first opening and after a change of it.

    Args:
        folder: Folder with `*.tar`.
        split: "train" or "val"; None takes both.
        max_bad: Samples that may be broken; each is reported and left out.
        report: Where lines about them go.

    Raises:
        DataError: There is no shard, one is no tar, or too many samples are broken.
    """

    def __init__(
        self,
        folder: str | Path,
        split: str | None = None,
        *,
        max_bad: int = 20,
        report: Callable[[str], None] = print,
    ) -> None:
        paths, bad = sorted(Path(folder).glob("*.tar")), BadRows(max_bad, report, _EXPECTED)
        if not paths:
            raise DataError(
                f'"{folder}" holds no *.tar.\n  Give a folder with shards.', code="file_missing"
            )
        self.shards, self.split = [str(path) for path in paths], split
        self.num_bytes = [path.stat().st_size for path in paths]
        parts, num_files = [], 0
        for number, path in enumerate(paths):
            index = _load_index(path, report)
            for key, reason in index.bad:
                bad.leave_out(f"{path}: {key}", str(reason))
            wanted = np.full(len(index.splits), True) if split is None else index.splits == split
            samples = np.pad(index.samples, ((0, 0), (1, 0)), constant_values=number)
            samples[:, 3] += num_files
            parts.append((samples[wanted], index.files))
            num_files += len(index.files)
        # the columns of `_Index`, with the shard's number before those of samples
        self._samples, self._files = (np.concatenate(tables) for tables in zip(*parts, strict=True))

    def only(self, *, clips: bool) -> ShardedRecords:
        """The clips of these records, or the images; nothing is read."""
        kept = copy.copy(self)
        kept._samples = self._samples[self._samples[:, -1] == clips]
        return kept

    def __len__(self) -> int:
        return len(self._samples)

    def record(self, number: int) -> Record:
        """The record of a number, parsed now."""
        shard, offset, num_bytes, first, count, _ = self._samples[number].tolist()
        path, files = self.shards[shard], self._files[first : first + count].tolist()
        try:
            return _record(ByteRange(path, offset, num_bytes), [ByteRange(path, *f) for f in files])
        except (*MALFORMED, OSError) as error:
            raise DataError(
                f'"{path}" is not as it was when it was indexed: {reason_of(error)}.\n'
                "  Start again with shards that nothing writes to.",
                code="bad_record",
            ) from error


class _Index(NamedTuple):
    """Where the samples of one shard lie, as arrays that NumPy stores.

    Attributes:
        samples: (N, 5) offset and size of the JSON, first of its files, number of them, 1 for
            a clip.
        files: (M, 2) offset and size.
        splits: (N,) split of each.
        bad: (K, 2) key and what is wrong.
    """

    samples: np.ndarray
    files: np.ndarray
    splits: np.ndarray
    bad: np.ndarray


def _load_index(shard: Path, report: Callable[[str], None]) -> _Index:
    """The index beside a shard, made anew where it is missing or of another state of the shard."""
    cache, state = shard.with_suffix(".index.npz"), shard.stat()
    stamp = np.array([INDEX_VERSION, state.st_size, state.st_mtime_ns])
    with suppress(*_UNREADABLE), np.load(cache, allow_pickle=False) as held:
        if np.array_equal(held["stamp"], stamp):
            return _Index(*(held[name] for name in _Index._fields))
    index = _build_index(shard)
    unfinished = cache.with_name(f"{cache.name}.{os.getpid()}")
    try:
        with unfinished.open("wb") as stream:
            np.savez(stream, stamp=stamp, **index._asdict())
        unfinished.replace(cache)
    except OSError as error:
        report(f"{cache} cannot be written ({error}); the shard is indexed at every start")
    return index


def _build_index(shard: Path) -> _Index:
    members: dict[str, dict[str, ByteRange]] = defaultdict(dict)
    for name, place in index_tar(shard).items():
        if match := _MEMBER.fullmatch(name):
            members[match[1]][match[2].lower()] = place
    files: list[tuple[int, int | None]] = []
    samples, splits, bad = [], [], []
    for key, sample in members.items():
        try:
            images = _images(sample)
            record = _record(sample["json"], images)
        except MALFORMED as error:
            bad.append((key, reason_of(error)))
            continue
        row, is_clip = sample["json"], isinstance(record, ClipRecord)
        samples.append((row.offset, row.size, len(files), len(images), is_clip))
        splits.append(record.split)
        files += [(image.offset, image.size) for image in images]
    return _Index(
        np.array(samples, np.int64).reshape(-1, 5),
        np.array(files, np.int64).reshape(-1, 2),
        np.array(splits, str),
        np.array(bad, str).reshape(-1, 2),
    )


def _images(sample: Mapping[str, ByteRange]) -> list[ByteRange]:
    """The images of a sample, by number."""
    numbered = [
        (int(match[1] or 0), place)
        for kind, place in sample.items()
        if (match := _IMAGE.fullmatch(kind))
    ]
    if any(not place.size for _, place in numbered):
        raise ValueError("one of its images is empty")
    return [place for _, place in sorted(numbered, key=itemgetter(0))]


def _record(place: ByteRange, images: Sequence[ByteRange]) -> Record:
    row = json.loads(place.read())
    if "frames" in row:
        return clip_from_row(row, images)
    if len(images) != 1:
        raise ValueError(f"it has {len(images)} images and is no clip")
    return image_from_row(row, images[0])


def _sample(record: Record) -> dict[str, bytes]:
    """The files of a record, by what follows the key."""
    row = json.dumps(row_from_record(record), ensure_ascii=False).encode()
    if isinstance(record, ImageRecord):
        kind, content = picture_file(record.handle)
        return {"json": row, kind: content}
    files = {}
    for number, frame in enumerate(record.frames):
        kind, content = picture_file(frame)
        files[f"{number:04d}.{kind}"] = content
    return {"json": row, **files}


def picture_file(handle: ByteRange) -> tuple[str, bytes]:
    """Kind and bytes of an image as it is written: JPEG, PNG and WebP as they are, others as PNG.

    Args:
        handle: Where it lies.
    """
    content = handle.read()
    with Image.open(io.BytesIO(content)) as image:
        if image.format in KINDS:
            return KINDS[image.format], content
        stream = io.BytesIO()
        ImageOps.exif_transpose(image).convert("RGBA").save(stream, "PNG")
        return "png", stream.getvalue()
