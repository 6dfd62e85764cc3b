"""Jobs: one region of one record, found again by the hash of what it is.

Knows records and keys. Refuses to know what is done with a job.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from perceive_anything.data.rows import clip_from_row, image_from_row, row_from_record
from perceive_anything.data.schema import ByteRange, ClipRecord, ImageRecord
from perceive_anything.media import load_image

Record = ImageRecord | ClipRecord


@dataclass(frozen=True, slots=True)
class Dropped:
    """A region that is left out.

    Attributes:
        reason: One word, which the report counts.
        detail: What exactly was wrong.
    """

    reason: str
    detail: str = ""


Outcome = tuple[Record, ...] | Dropped
Pipeline = Callable[["Job"], Outcome]


@dataclass(frozen=True, slots=True)
class Job:
    """One region to be described.

    Attributes:
        key: Hash of the record's annotation, the region and the recipe.
        record: The record.
        index: Which of its regions.
    """

    key: str
    record: Record
    index: int

    def alone(self) -> Record:
        """The record with this region only."""
        return replace(self.record, regions=(self.record.regions[self.index],))  # type: ignore[arg-type]


def jobs_of(record: Record, salt: str) -> Iterator[Job]:
    """The jobs of a record.

    Args:
        record: An image or a clip.
        salt: Key of the recipe.
    """
    row = row_from_record(record)
    regions = row.pop("regions")
    files = record.frames if isinstance(record, ClipRecord) else (record.handle,)
    places = [(file.offset, file.size) for file in files]
    head = _digest([salt, row, places, len(regions)])
    for index, region in enumerate(regions):
        yield Job(_digest([head, index, region]), record, index)


def outcome_rows(outcome: tuple[Record, ...]) -> list[dict[str, Any]]:
    """Records of an outcome as JSON; pixels are those of the job's record."""
    return [row_from_record(record) for record in outcome]


def records_of_rows(rows: list[dict[str, Any]], source: Record) -> list[Record]:
    """What `outcome_rows` wrote, as records again.

    Args:
        rows: The JSON.
        source: The record of the job; `first_frame` of a region tells where in it a clip begins.
    """
    if isinstance(source, ImageRecord):
        return [image_from_row(row, source.handle) for row in rows]
    records: list[Record] = []
    for row in rows:
        first = int(row["regions"][0].get("first_frame", 0))
        records.append(clip_from_row(row, source.frames[first : first + row["frames"]]))
    return records


@lru_cache(maxsize=8)
def pixels_of(handle: ByteRange) -> np.ndarray:
    """A picture as uint8 RGB (H, W, 3); the last few are kept, as jobs of one follow each other."""
    return load_image(handle.read())


def _digest(value: object) -> str:
    told = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()[:32]
