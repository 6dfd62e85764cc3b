"""The records of a build as files: JSONL, webdataset shards, rows of PAM-data; in order of sources.

Knows finished jobs and files; all are made anew and then put in place, so that a killed run leaves
the old ones or the new ones.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TextIO

from perceive_anything.data.bad_rows import BadRows
from perceive_anything.data.jsonl import RECORDS, jsonl_line
from perceive_anything.data.readers.pam_write import Texts, pam_rows
from perceive_anything.data.schema import ByteRange, ClipRecord, ImageRecord
from perceive_anything.data.shards import picture_file, write_shards
from perceive_anything.engine.jobs import Record, jobs_of, records_of_rows
from perceive_anything.engine.store import Store
from perceive_anything.errors import DataError

SHARDS, PICTURES, PAM_ROWS = "shards", "pictures", "pam_data.jsonl"
NO_ROW = "A row of PAM-data needs a text, and a box, click or mask."


@dataclass(slots=True)
class Counts:
    """What became of the regions.

    Attributes:
        records_in: Records read.
        records_out: Records written.
        regions: Regions read.
        kept: Regions with texts.
        open: Regions that the teacher failed to answer about; another run asks again.
        dropped: Others, by reason.
        details: An example of what was wrong, by reason.
    """

    records_in: int = 0
    records_out: int = 0
    regions: int = 0
    kept: int = 0
    open: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    details: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        """The counts as JSON."""
        return {each.name: getattr(self, each.name) for each in fields(self)}


def finished_records(
    records: Iterable[Record], salt: str, store: Store, counts: Counts
) -> Iterator[Record]:
    """The records that texts were written for, one after the other.

    Args:
        records: All records of the build.
        salt: Key of the recipe.
        store: With the ends of jobs.
        counts: Is counted up.
    """
    with store.first_times() as seen:
        for record in records:
            counts.records_in += 1
            done: dict[str, list[Record]] = {}
            for job in jobs_of(record, salt):
                counts.regions += 1
                end = store.finished(job.key)
                if end is None:
                    counts.open += 1
                elif end.reason or not seen.is_new(job.key):
                    counts.dropped[end.reason or "double"] += 1
                    counts.details.setdefault(end.reason or "double", end.content[:200])
                else:
                    counts.kept += 1
                    for written in records_of_rows(json.loads(end.content), record):
                        done.setdefault(written.id, []).append(written)
            for parts in done.values():
                counts.records_out += 1
                yield _merged(parts)


def write_outputs(
    records: Iterable[Record],
    folder: Path,
    per_shard: int,
    report: Callable[[str], None],
    pam_turns: Texts | None = None,
) -> None:
    """Write the JSONL, the shards and, if wanted, rows of PAM-data.

    Args:
        records: Taken one by one.
        folder: Output folder.
        per_shard: Records a shard.
        report: Where lines about unreadable pictures go.
        pam_turns: Questions and answers of a region for rows of PAM-data; None for no rows.

    Raises:
        DataError: There is no record.
    """
    names = [RECORDS, *([PAM_ROWS] if pam_turns else [])]
    unfinished = folder / f"{SHARDS}.new"
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        with ExitStack() as stack:
            files = [(folder / f"{name}.new").open("w", encoding="utf-8") for name in names]
            lines, *rows = map(stack.enter_context, files)
            filed = (_in_files(record, number, folder) for number, record in enumerate(records))
            written = _with_lines(filed, lines, folder)
            if pam_turns:
                written = _with_rows(written, rows[0], folder, pam_turns, report)
            _write_shards(written, unfinished, per_shard, report, lines)
        shutil.rmtree(folder / SHARDS, ignore_errors=True)
        unfinished.replace(folder / SHARDS)
        (folder / PAM_ROWS).unlink(missing_ok=True)
        for name in names:
            (folder / f"{name}.new").replace(folder / name)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        for name in names:
            (folder / f"{name}.new").unlink(missing_ok=True)


def _write_shards(
    records: Iterable[Record],
    shards: Path,
    per_shard: int,
    report: Callable[[str], None],
    lines: TextIO,
) -> None:
    try:
        write_shards(records, shards, per_shard, report=report)
    except DataError:
        if lines.tell():
            raise
        raise DataError(
            "no region was kept.\n"
            f'  The reasons are in "{shards.parent / "report.json"}"; mend source or recipe.',
            code="bad_record",
        ) from None


def _with_lines(records: Iterable[Record], lines: TextIO, folder: Path) -> Iterator[Record]:
    for record in records:
        lines.write(jsonl_line(record, folder.resolve()))
        yield record


def _with_rows(
    records: Iterable[Record],
    rows: TextIO,
    folder: Path,
    turns: Texts,
    report: Callable[[str], None],
) -> Iterator[Record]:
    bad = BadRows(sys.maxsize, lambda _: None)  # an absent object is no fault worth a line each
    for record in records:
        rows.writelines(pam_rows(record, folder, turns, bad))
        yield record
    if bad.num_bad:
        report(f"{PAM_ROWS}: {bad.num_bad} regions left out. {NO_ROW}")


def _in_files(record: Record, number: int, folder: Path) -> Record:
    """The record with each picture in a file of its own; those inside others are taken out."""
    if isinstance(record, ImageRecord):
        return replace(record, handle=_file(record.handle, f"{number:07d}", folder))
    frames = [
        _file(frame, f"{number:07d}/{place:05d}", folder)
        for place, frame in enumerate(record.frames)
    ]
    return replace(record, frames=tuple(frames))


def _file(handle: ByteRange, name: str, folder: Path) -> ByteRange:
    if type(handle) is ByteRange and not handle.offset and handle.size is None:
        return ByteRange(str(Path(handle.path).resolve()))
    kind, content = picture_file(handle)
    target = (folder / PICTURES / f"{name}.{kind}").resolve()
    if not target.exists() or target.read_bytes() != content:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return ByteRange(str(target))


def _merged(parts: list[Record]) -> Record:
    first = parts[0]
    if isinstance(first, ClipRecord):
        tracks = tuple(t for part in parts if isinstance(part, ClipRecord) for t in part.regions)
        return replace(first, regions=tracks)
    regions = tuple(r for part in parts if isinstance(part, ImageRecord) for r in part.regions)
    return replace(first, regions=regions)
