"""Training data by name of its format: what a recipe writes down becomes records.

Knows which reader reads what, and tells two states of the data apart. Refuses to know what the
records are for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from perceive_anything.config import Settings
from perceive_anything.data.jsonl import read_jsonl
from perceive_anything.data.packs import read_pack, read_packs
from perceive_anything.data.readers.registry import find_dataset, read_dataset
from perceive_anything.data.rows import row_from_record
from perceive_anything.data.schema import ClipRecord, ImageRecord
from perceive_anything.data.shards import ShardedRecords
from perceive_anything.errors import DataError, OptionError

__all__ = ["DataSource", "fingerprint", "read_source"]

Record = ImageRecord | ClipRecord
_OURS = ("packs", "shards", "jsonl")


def _known(name: str) -> str:
    try:
        return name if name in _OURS else find_dataset(name).name
    except OptionError as error:
        raise ValueError(f"{error} Besides them there are {' and '.join(_OURS)}.") from error


class DataSource(Settings):
    """One source of training data.

    Attributes:
        path: File or folder, from the folder of all data.
        format: "packs" a folder of packs or one, "shards" a folder of webdataset shards,
            "jsonl" a file that `perceive data build` wrote, or a
            dataset of `data.readers.registry`, such as "pam" (rows of PAM-data) or "coco" (also a
            folder with one COCO or LVIS file, or that file).
        weight: How often it is drawn, against the other sources.
        split: Which records; of sets that have no splits of their own, such as "pam", all
            records count as this one.
        max_bad: Rows that may be unusable; each is reported and left out.
    """

    path: str
    format: Annotated[str, AfterValidator(_known)]
    weight: float = Field(default=1.0, gt=0)
    split: str = "train"
    max_bad: int = Field(default=20, ge=0)


def read_source(
    source: DataSource, root: str | Path, report: Callable[[str], None] = print
) -> Sequence[Record]:
    """The records of a source.

    Args:
        source: What to read.
        root: Folder that its path starts from.
        report: Where lines about rows go that are left out.

    Returns:
        A list, or, for shards, a sequence that parses records when they are asked for.

    Raises:
        DataError: It is missing, holds no record of the split, or has too many bad rows.
    """
    path = Path(root) / source.path
    if not path.exists():
        raise DataError(
            f'there is no "{path}".\n  Give a path from the folder of the data, "{root}".',
            code="file_missing",
        )
    records = _read(source, path, report)
    if not records:
        raise DataError(
            f'"{path}" holds no record of the split "{source.split}".\n'
            "  Give another split, or the path of other data.",
            code="bad_record",
        )
    return records


def fingerprint(records: Iterable[Record]) -> str:
    """A short key of what the data is; equal for the same data in another folder.

    It is made from the records as JSON and from the place and size of their bytes; of lazy shards
    from names and sizes alone, so that they need not be parsed.
    """
    key = hashlib.sha256()
    if isinstance(records, ShardedRecords):
        names = [Path(shard).name for shard in records.shards]
        told = json.dumps([records.split, len(records), names, records.num_bytes])
        key.update(told.encode())
        return key.hexdigest()[:16]
    for record in records:
        files = record.frames if isinstance(record, ClipRecord) else (record.handle,)
        places = [(file.offset, file.size) for file in files]
        told = json.dumps([row_from_record(record), places], sort_keys=True, default=str)
        key.update(told.encode())
    return key.hexdigest()[:16]


def _read(source: DataSource, path: Path, report: Callable[[str], None]) -> Sequence[Record]:
    split, max_bad = source.split, source.max_bad
    if source.format == "shards":
        return ShardedRecords(path, split, max_bad=max_bad, report=report)
    if source.format == "jsonl":
        lines = read_jsonl(path, max_bad=max_bad, report=report)
        return [record for record in lines if record.split == split]
    if source.format == "packs" and path.is_file():
        return list(read_pack(path, split, max_bad=max_bad, report=report))
    if source.format == "packs":
        return list(read_packs(path, None, split, max_bad=max_bad, report=report))
    return list(read_dataset(source.format, path, split, max_bad=max_bad, report=report))
