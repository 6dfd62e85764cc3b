"""Opens what a build wrote, or anything else that is records: by what lies at the path.

Knows files. Refuses to know recipes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from perceive_anything.data.jsonl import RECORDS, read_jsonl
from perceive_anything.data.shards import ShardedRecords
from perceive_anything.engine.jobs import Record
from perceive_anything.errors import DataError


def open_written(path: Path, report: Callable[[str], None] = print) -> Sequence[Record]:
    """The records at a path.

    Args:
        path: A JSONL file, a folder with one that a build wrote, or a folder of shards.
        report: Where lines about rows go that are left out.

    Raises:
        DataError: There are none.
    """
    if (path / RECORDS).is_file():
        path = path / RECORDS
    if path.is_file() and path.suffix == ".jsonl":
        return read_jsonl(path, report=report)
    if path.is_dir() and any(path.glob("*.tar")):
        return ShardedRecords(path, report=report)
    raise DataError(
        f'there are no records at "{path}".\n'
        f"  Give a {RECORDS}, the output folder of a build, or a folder of shards.",
        code="file_missing",
    )
