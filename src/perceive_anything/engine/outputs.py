"""The records of a build as files: one JSONL and webdataset shards, in the order of the sources.

Knows finished jobs and files; both are made anew and then put in place, so that a killed run leaves
the old ones or the new ones.
"""

from __future__ import annotations

import io
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from PIL import Image

from perceive_anything.data.jsonl import jsonl_line
from perceive_anything.data.schema import ByteRange, ClipRecord, ImageRecord
from perceive_anything.data.shards import write_shards
from perceive_anything.engine.jobs import Record, jobs_of, records_of_rows
from perceive_anything.engine.store import Store
from perceive_anything.errors import DataError

RECORDS, SHARDS, PICTURES = "records.jsonl", "shards", "pictures"


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
    records: Iterable[Record], folder: Path, per_shard: int, report: Callable[[str], None]
) -> None:
    """Write the JSONL and the shards.

    Args:
        records: Taken one by one.
        folder: Output folder.
        per_shard: Records a shard.
        report: Where lines about unreadable pictures go.

    Raises:
        DataError: There is no record.
    """
    lines, shards = folder / f"{RECORDS}.new", folder / f"{SHARDS}.new"
    shutil.rmtree(shards, ignore_errors=True)
    with lines.open("w", encoding="utf-8") as stream:
        written = _written(records, stream, folder)
        try:
            write_shards(written, shards, per_shard, report=report)
        except DataError:
            if stream.tell():
                raise
            raise DataError(
                "no region was kept.\n"
                f'  Look at the reasons in "{folder / "report.json"}" and mend source or recipe.',
                code="bad_record",
            ) from None
    shutil.rmtree(folder / SHARDS, ignore_errors=True)
    shards.replace(folder / SHARDS)
    lines.replace(folder / RECORDS)


def _written(records: Iterable[Record], stream: io.TextIOBase, folder: Path) -> Iterator[Record]:
    for number, record in enumerate(records):
        stream.write(jsonl_line(_in_files(record, number, folder), folder.resolve()))
        yield record


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
    content = handle.read()
    with Image.open(io.BytesIO(content)) as image:
        suffix = (image.format or "png").lower()
    target = (folder / PICTURES / f"{name}.{suffix}").resolve()
    if not target.exists() or target.stat().st_size != len(content):
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
