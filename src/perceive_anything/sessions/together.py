"""Prompts of several images answered as one batch: their texts are decoded together.

Knows image sessions and the model's text path; who asked, and in which request, is the caller's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING

import torch

from perceive_anything.events import TextChunk
from perceive_anything.results import Region
from perceive_anything.sessions.batches import in_batches, regions_at_once
from perceive_anything.sessions.regions import Writing, iter_texts, texts_of

if TYPE_CHECKING:
    from perceive_anything.sessions.image import ImageSession
    from perceive_anything.types import Prompt

# Masks of a batch at the size of their images: float32 on the way, so four bytes a pixel.
MASK_PIXELS = 128_000_000


@dataclass(frozen=True, slots=True)
class Question:
    """One region that somebody asks about.

    Attributes:
        session: The image; all of a batch are of one model.
        prompt: In its pixels, which it fits.
        region_id: Id of the region in the answer.
    """

    session: ImageSession
    prompt: Prompt
    region_id: int


@dataclass(frozen=True, slots=True)
class Seen:
    """A region is segmented; its texts are still to be written."""

    region: Region


Answer = Seen | TextChunk | Region


def answer_together(
    questions: Sequence[Question], writing: Writing, wanted: Callable[[int], bool] | None = None
) -> Iterator[tuple[int, Seen | TextChunk | Region]]:
    """Answers as they are made; the same as those of `ImageSession.perceive`.

    Args:
        questions: Those about one image stand together.
        writing: Which texts, of all of them.
        wanted: Whether somebody still waits for the answer to a question, by its number; is asked
            again before every token.

    Yields:
        Number of the question, and `Seen` once its mask is known, each `TextChunk` as it is
        written, and the whole `Region` when its last text is complete.

    Raises:
        ModelError: The memory is too small.
    """
    model = questions[0].session.model
    pixels = max(one.session.size_wh[0] * one.session.size_wh[1] for one in questions)
    at_once = min(regions_at_once(model, len(writing.texts)), max(1, MASK_PIXELS // pixels))
    return in_batches(questions, at_once, partial(_answer, writing, wanted))


def _answer(
    writing: Writing,
    wanted: Callable[[int], bool] | None,
    questions: Sequence[Question],
    first: int,
) -> Iterator[tuple[int, Seen | TextChunk | Region]]:
    regions: list[Region] = []
    rows = []
    for _, own in groupby(questions, key=lambda one: id(one.session)):
        asked = list(own)
        session = asked[0].session
        features, found = session.look([one.prompt for one in asked])
        regions += [
            replace(region, id=one.region_id) for region, one in zip(found, asked, strict=True)
        ]
        if writing.texts:
            with torch.inference_mode():
                rows.append(session.model.visual_rows(features))
    for number, region in enumerate(regions):
        yield first + number, Seen(region) if writing.texts else region
    if not writing.texts:
        return
    session = questions[0].session
    told_s = dict.fromkeys((id(one.session) for one in questions), time.perf_counter())
    waiting: list[list[TextChunk]] = [[] for _ in regions]
    chunks = iter_texts(
        session.model, session.processor, torch.cat(rows), writing.texts, writing,
        wanted=wanted and (lambda region: wanted(first + region)),
    )  # fmt: skip
    for chunk in chunks:
        written = waiting[chunk.region]
        written.append(chunk)
        yield first + chunk.region, chunk
        if sum(one.final for one in written) == len(writing.texts):
            _count_time(questions[chunk.region].session, told_s)
            said = texts_of(written)
            yield first + chunk.region, replace(regions[chunk.region], **said)


def _count_time(session: ImageSession, told_s: dict[int, float]) -> None:
    """Add to a session's clock what passed since its last region was complete."""
    now_s = time.perf_counter()
    session.timing_s["text"] += now_s - told_s[id(session)]
    told_s[id(session)] = now_s
