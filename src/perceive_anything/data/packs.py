"""Reads packs: uncompressed tars with `images/*` and one `annotations.jsonl` (one image a line).

Knows the layout of the tar and of an annotation line. Refuses to know what the records are for:
no augmentation, no texts, no tensors. Nothing is unpacked; records point into the tar.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from perceive_anything.data.schema import ByteRange, ImageRecord, RegionRecord
from perceive_anything.errors import DataError

__all__ = ["ANNOTATIONS", "list_packs", "read_pack", "read_packs"]

ANNOTATIONS = "annotations.jsonl"
_REGION_FIELDS = frozenset({"id", "label", "label_zh", "box", "mask", "kind"})


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
    folder: str | Path, names: Iterable[str] | None = None, split: str | None = None
) -> Iterator[ImageRecord]:
    """Iterate the records of the packs of a folder, pack by pack in the order of the annotations.

    Args:
        folder: Folder with the packs.
        names: Pack names without ".tar" (default: all packs of the folder, sorted).
        split: "train" or "val"; None reads both.

    Yields:
        One record an image; pixels are read only by `ImageRecord.load`.

    Raises:
        DataError: A pack is missing or malformed.
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
    for name in wanted:
        yield from read_pack(packs[name], split)


def read_pack(path: str | Path, split: str | None = None) -> Iterator[ImageRecord]:
    """Iterate the records of one pack.

    Args:
        path: The tar.
        split: "train" or "val"; None reads both.

    Yields:
        One record an image.

    Raises:
        DataError: The tar or one of its lines is malformed.
    """
    ranges = _index(Path(path))
    lines = ranges.pop(ANNOTATIONS).read().decode("utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = _image_record(json.loads(line), ranges)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{path}:{ANNOTATIONS}:{number} is not a valid record: {error!r}.\n"
                "  Expected id, file, width, height, split and regions with label and box.",
                code="bad_record",
            ) from error
        if split is None or record.split == split:
            yield record


def _index(path: Path) -> dict[str, ByteRange]:
    try:
        with tarfile.open(path, "r:") as tar:
            members = [m for m in tar.getmembers() if m.isfile()]
    except (OSError, tarfile.TarError) as error:
        raise DataError(
            f'pack "{path}" cannot be read as an uncompressed tar: {error}.\n'
            "  Give the folder with the packs: --data DIR.",
            code="bad_record",
        ) from error
    ranges = {m.name: ByteRange(str(path), m.offset_data, m.size) for m in members}
    if ANNOTATIONS not in ranges:
        raise DataError(
            f'pack "{path}" holds no {ANNOTATIONS}.\n'
            "  A pack is a tar with images/* and that file.",
            code="bad_record",
        )
    return ranges


def _image_record(row: Mapping[str, Any], ranges: Mapping[str, ByteRange]) -> ImageRecord:
    return ImageRecord(
        id=str(row["id"]),
        source=str(row.get("source", "")),
        license=str(row.get("license", "")),
        split=str(row["split"]),
        size_wh=(int(row["width"]), int(row["height"])),
        captions=tuple(row.get("captions") or ()),
        regions=tuple(_region_record(region) for region in row["regions"]),
        handle=ranges[row["file"]],
    )


def _region_record(row: Mapping[str, Any]) -> RegionRecord:
    x1, y1, x2, y2 = (float(value) for value in row["box"])
    return RegionRecord(
        id=int(row["id"]),
        label=str(row["label"]),
        label_zh=row.get("label_zh"),
        box_xyxy=(x1, y1, x2, y2),
        rle=row.get("mask"),
        kind=str(row.get("kind", "instance")),
        extra={key: value for key, value in row.items() if key not in _REGION_FIELDS},
    )
