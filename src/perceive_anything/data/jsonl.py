"""Records as lines of JSON: a line of a pack, with the files of its pictures.

Knows one file; pictures are named from its folder. What `perceive data build` writes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from perceive_anything.data.bad_rows import MALFORMED, BadRows
from perceive_anything.data.rows import clip_from_row, image_from_row, row_from_record
from perceive_anything.data.schema import ByteRange, ClipRecord, ImageRecord
from perceive_anything.errors import DataError

__all__ = ["RECORDS", "jsonl_line", "read_jsonl"]

RECORDS = "records.jsonl"  # its name in the folder of a build
_EXPECTED = "Expected lines as of a pack, with file, or files for a clip."


def read_jsonl(
    path: str | Path, *, max_bad: int = 20, report: Callable[[str], None] = print
) -> list[ImageRecord | ClipRecord]:
    """The records of a file.

    Args:
        path: The file.
        max_bad: Lines that may be unusable; each is reported and left out.
        report: Where lines about them go.

    Raises:
        DataError: It cannot be read, no line can be used, or too many are bad.
    """
    file, bad = Path(path), BadRows(max_bad, report, _EXPECTED)
    records: list[ImageRecord | ClipRecord] = []
    try:
        with file.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                try:
                    records.append(_record(json.loads(line), file.parent))
                except MALFORMED as error:
                    bad.leave_out(f"{file}:{number}", error)
    except OSError as error:
        raise DataError(
            f'"{file}" cannot be read: {error.strerror}.\n  {_EXPECTED}', code="file_unreadable"
        ) from error
    if not records:
        raise DataError(f'no line of "{file}" can be used.\n  {_EXPECTED}', code="bad_record")
    return records


def jsonl_line(record: ImageRecord | ClipRecord, folder: Path) -> str:
    """A record as a line, with its line end.

    Args:
        record: Its pictures are whole files.
        folder: That the line's file lies in.
    """
    row = row_from_record(record)
    if isinstance(record, ClipRecord):
        row["files"] = [_named(frame, folder) for frame in record.frames]
    else:
        row["file"] = _named(record.handle, folder)
    return json.dumps(row, ensure_ascii=False) + "\n"


def _named(handle: ByteRange, folder: Path) -> str:
    return Path(os.path.relpath(handle.path, folder)).as_posix()


def _record(row: dict[str, Any], folder: Path) -> ImageRecord | ClipRecord:
    if "files" in row:
        files = [ByteRange(os.path.normpath(folder / name)) for name in row.pop("files")]
        return clip_from_row(row, files)
    return image_from_row(row, ByteRange(os.path.normpath(folder / row.pop("file"))))
