"""Reads packs: uncompressed tars with `images/*` and one `annotations.jsonl` (one image a line).

Knows the layout of the tar and of an annotation line. Refuses to know what the records are for:
no augmentation, no texts, no tensors. Nothing is unpacked; records point into the tar.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from perceive_anything.data.bad_rows import MALFORMED, BadRows
from perceive_anything.data.rows import image_from_row
from perceive_anything.data.schema import ByteRange, ImageRecord
from perceive_anything.errors import DataError

__all__ = ["ANNOTATIONS", "index_tar", "list_packs", "read_pack", "read_packs"]

ANNOTATIONS = "annotations.jsonl"
_EXPECTED = "Expected id, file, width, height, split and regions with label and box."


def list_packs(folder: str | Path) -> list[Path]:
    """The packs of a folder, sorted by name.

    Args:
        folder: Folder with `*.tar` files.

    Raises:
        DataError: The folder does not exist or holds no tar.
    """
    root = Path(folder)
    packs = sorted(root.glob("*.tar")) if root.is_dir() else []
    if not packs:
        reason = "holds no *.tar" if root.is_dir() else "is not a folder"
        raise DataError(
            f'data folder "{root}" {reason}.\n  Give the folder with the packs: --data DIR.',
            code="file_missing",
        )
    return packs


def read_packs(
    folder: str | Path,
    names: Iterable[str] | None = None,
    split: str | None = None,
    *,
    max_bad: int = 0,
    report: Callable[[str], None] = print,
) -> Iterator[ImageRecord]:
    """Iterate the records of the packs of a folder, pack by pack in the order of the annotations.

    Args:
        folder: Folder with the packs.
        names: Pack names without ".tar" (default: all packs of the folder, sorted).
        split: "train" or "val"; None reads both.
        max_bad: Lines of all packs together that may be unusable; each is reported and left out.
        report: Where lines about them go.

    Yields:
        One record an image; pixels are read only by `ImageRecord.load`.

    Raises:
        DataError: A pack is missing or no tar, or too many lines are unusable.
    """
    packs = {path.stem: path for path in list_packs(folder)}
    wanted = list(packs) if names is None else list(names)
    missing = [name for name in wanted if name not in packs]
    if missing:
        raise DataError(
            f"no pack named {', '.join(missing)} in {folder}.\n"
            f"  Packs there: {', '.join(sorted(packs))}.",
            code="file_missing",
        )
    bad = BadRows(max_bad, report, _EXPECTED)
    for name in wanted:
        yield from _records(packs[name], split, bad)


def read_pack(
    path: str | Path,
    split: str | None = None,
    *,
    max_bad: int = 0,
    report: Callable[[str], None] = print,
) -> Iterator[ImageRecord]:
    """Iterate the records of one pack.

    Args:
        path: The tar.
        split: "train" or "val"; None reads both.
        max_bad: Lines that may be unusable; each is reported and left out.
        report: Where lines about them go.

    Yields:
        One record an image.

    Raises:
        DataError: The file is no pack, or too many lines are unusable.
    """
    yield from _records(Path(path), split, BadRows(max_bad, report, _EXPECTED))


def index_tar(path: str | Path) -> dict[str, ByteRange]:
    """Where the files of an uncompressed tar lie, by name, in the order of the tar.

    Raises:
        DataError: It cannot be read as such.
    """
    try:
        with tarfile.open(path, "r:") as tar:
            members = [m for m in tar.getmembers() if m.isfile()]
    except (OSError, tarfile.TarError) as error:
        raise DataError(
            f'"{path}" cannot be read as an uncompressed tar: {error}.\n'
            "  It may be incomplete, or compressed; copy it again or unpack and tar it.",
            code="bad_record",
        ) from error
    return {m.name: ByteRange(str(path), m.offset_data, m.size) for m in members}


def _records(path: Path, split: str | None, bad: BadRows) -> Iterator[ImageRecord]:
    ranges = index_tar(path)
    if ANNOTATIONS not in ranges:
        raise DataError(
            f'pack "{path}" holds no {ANNOTATIONS}.\n'
            "  A pack is a tar with images/* and that file.",
            code="bad_record",
        )
    lines = ranges.pop(ANNOTATIONS).read().split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            record = image_from_row(row, ranges[row["file"]])
        except MALFORMED as error:
            bad.leave_out(f"{path}:{ANNOTATIONS}:{number}", error)
            continue
        if split is None or record.split == split:
            yield record
