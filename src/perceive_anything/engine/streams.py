"""Streams: events of an object, one storyboard each, captions that go on from each other.

Knows the order of the steps and absence, which is told without the teacher: it would make
something up. Refuses to know who the teacher is and where results go.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import numpy as np
from PIL import Image

from perceive_anything.data.schema import ClipRecord, TrackRecord
from perceive_anything.engine.answers import EventAnswer, SpansAnswer
from perceive_anything.engine.checks import (
    Subject,
    check_form,
    check_obedience,
    check_subject,
    first_fault,
)
from perceive_anything.engine.embedding import Similarity
from perceive_anything.engine.instructions import SYSTEM, event_text, spans_text
from perceive_anything.engine.jobs import Dropped, Job, Outcome, pixels_of
from perceive_anything.engine.marks import jpeg
from perceive_anything.engine.recipe import DataRecipe
from perceive_anything.engine.stories import Span, best_view, spans_of, story_of
from perceive_anything.engine.storyboard import box_on, key_frames, storyboard
from perceive_anything.engine.teacher import Facts, Request, Teacher, ask_checked
from perceive_anything.engine.videos import note_of, subject_of_track
from perceive_anything.sessions.boundaries import AutoBoundaries, Sight
from perceive_anything.tasks import ABSENT

BINS = 4  # of each colour in the histogram that tells a change of looks
SLACK_S = 0.6  # by which a teacher's times may miss the ends of the clip


@dataclass(frozen=True, slots=True)
class Event:
    """A part of a clip with its object: frames counted from the part's first."""

    clip: ClipRecord
    track: TrackRecord
    first: int
    visible: bool


def describe_stream(
    job: Job, recipe: DataRecipe, teacher: Teacher, alike: Similarity | None
) -> Outcome:
    """A clip for each event of one object, with its caption and the one before.

    Args:
        job: The object.
        recipe: What is wanted.
        teacher: Who writes.
        alike: Not used; captions of events need not repeat the source's name.

    Raises:
        TeacherError: The teacher gives no reply at all.
    """
    record, track = job.record, job.record.regions[job.index]
    assert isinstance(record, ClipRecord)
    assert isinstance(track, TrackRecord)
    spans = _events(record, track, recipe, teacher)
    if isinstance(spans, Dropped):
        return spans
    if not any(span.visible for span in spans):
        return Dropped("invisible", "no frame shows the object")
    previous: dict[str, str] = {}
    done = []
    for number, span in enumerate(spans):
        event = _cut(record, track, span)
        texts = _captions(event, previous, recipe, teacher)
        if isinstance(texts, Dropped):
            return replace(texts, detail=f"event {number}: {texts.detail}")
        done.append(_record(event, number, texts, previous, recipe.fps))
        previous = texts
    return tuple(done)


def find_events(record: ClipRecord, track: TrackRecord, recipe: DataRecipe) -> list[Span]:
    """Events by the boundary finder that live streams use; looks are histograms of colour.

    Args:
        record: The clip.
        track: The object.
        recipe: With the frame rate and the limits of events.
    """
    cuts = {span.first for span in spans_of(track, len(record.frames), recipe.fps)}
    finder = AutoBoundaries(recipe.events.min_s, recipe.events.max_s)
    for frame in range(len(record.frames)):
        reason = finder.update(_sight(record, track, frame, recipe.fps))
        near = any(abs(frame - cut) <= recipe.fps * recipe.events.min_s / 2 for cut in cuts)
        if reason in ("appearance", "motion", "length") and not near:
            cuts.add(frame)
    return _spans(sorted(cuts), track, len(record.frames))


def _events(
    record: ClipRecord, track: TrackRecord, recipe: DataRecipe, teacher: Teacher
) -> list[Span] | Dropped:
    found = find_events(record, track, recipe)
    frames = key_frames(record, track)
    if recipe.events.by == "change" or not frames:
        return found
    end_s = len(record.frames) / recipe.fps
    board = storyboard(record, track, frames, recipe.fps, recipe.marks.panel_px)
    times = tuple((s.first / recipe.fps, (s.last + 1) / recipe.fps) for s in found)
    request = Request(
        language="en", system=SYSTEM["en"], picture=jpeg(board, recipe.marks.quality),
        text=spans_text(note_of(track), len(frames), end_s), answer=SpansAnswer,
        facts=Facts(*best_view(record, track), spans=times),
    )  # fmt: skip

    def check(answer: SpansAnswer) -> Dropped | None:
        edges = [(each.start_s, each.end_s) for each in answer.events]
        whole = edges[0][0] <= SLACK_S and abs(edges[-1][1] - end_s) <= SLACK_S
        joined = all(abs(a[1] - b[0]) <= SLACK_S for a, b in pairwise(edges))
        if whole and joined and all(start < end for start, end in edges):
            return None
        return Dropped("times", f"the events do not cover 0 to {end_s:.1f} s without gaps.")

    answer = ask_checked(teacher, request, SpansAnswer, check, recipe.checks.tries)
    if isinstance(answer, Dropped):
        return answer
    starts = {round(each.start_s * recipe.fps) for each in answer.events[1:]}
    away = {span.first for span in spans_of(track, len(record.frames), recipe.fps)}
    return _spans(sorted({0, *starts, *away}), track, len(record.frames))


def _spans(cuts: list[int], track: TrackRecord, num_frames: int) -> list[Span]:
    starts = [cut for cut in cuts if cut < num_frames]
    ends = [*starts[1:], num_frames]
    seen = [box_on(track, frame) is not None for frame in range(num_frames)]
    return [
        Span(first, end - 1, 2 * sum(seen[first:end]) >= end - first)
        for first, end in zip(starts, ends, strict=True)
    ]


def _sight(record: ClipRecord, track: TrackRecord, frame: int, fps: float) -> Sight:
    box = box_on(track, frame)
    if box is None:
        return Sight(frame / fps, False, (0.0, 0.0), 1.0, np.zeros(BINS**3))
    x1, y1, x2, y2 = box
    image = Image.fromarray(pixels_of(record.frames[frame]))
    part = image.crop((int(x1), int(y1), max(int(x1) + 1, int(x2)), max(int(y1) + 1, int(y2))))
    cells = np.asarray(part.resize((32, 32)), np.int64) * BINS // 256
    index = (cells[..., 0] * BINS + cells[..., 1]) * BINS + cells[..., 2]
    counts = np.bincount(index.ravel(), minlength=BINS**3).astype(float)
    centre = ((x1 + x2) / 2, (y1 + y2) / 2)
    return Sight(frame / fps, True, centre, math.hypot(x2 - x1, y2 - y1), np.sqrt(counts))


def _cut(record: ClipRecord, track: TrackRecord, span: Span) -> Event:
    inside = range(span.first, span.last + 1)
    extra = dict(track.extra)
    if "annotated_frames" in extra:
        known = extra["annotated_frames"]
        extra["annotated_frames"] = tuple(f - span.first for f in known if f in inside)
    part = replace(
        track,
        extra=extra,
        boxes_xyxy={f - span.first: b for f, b in track.boxes_xyxy.items() if f in inside},
        points={f - span.first: p for f, p in track.points.items() if f in inside},
        rles={f - span.first: r for f, r in track.rles.items() if f in inside},
    )
    frames = record.frames[span.first : span.last + 1]
    return Event(replace(record, frames=frames, regions=(part,)), part, span.first, span.visible)


def _captions(
    event: Event, previous: dict[str, str], recipe: DataRecipe, teacher: Teacher
) -> dict[str, str] | Dropped:
    if not event.visible:
        return {language: ABSENT[language] for language in recipe.languages}
    start_s, count = event.first / recipe.fps, len(event.clip.frames)
    end_s = start_s + count / recipe.fps
    frames = key_frames(event.clip, event.track)
    board = storyboard(event.clip, event.track, frames, recipe.fps, recipe.marks.panel_px, start_s)
    story = story_of(event.track, count, event.clip.size_wh, recipe.fps, start_s)
    facts = Facts(*best_view(event.clip, event.track), story)
    picture, note = jpeg(board, recipe.marks.quality), note_of(event.track)
    texts: dict[str, str] = {}
    for language in recipe.languages:
        before = previous.get(language, "-")
        text = event_text(language, note, len(frames), start_s, end_s, before)
        request = Request(language, SYSTEM[language], text, picture, EventAnswer, facts)
        check = partial(_fault, language, before, subject_of_track(event.clip, event.track))
        answer = ask_checked(teacher, request, EventAnswer, check, recipe.checks.tries)
        if isinstance(answer, Dropped):
            return replace(answer, reason=answer.reason + ("_zh" if language == "zh" else ""))
        texts[language] = answer.caption
    return texts


def _fault(language: str, before: str, subject: Subject, answer: EventAnswer) -> Dropped | None:
    if answer.caption == before:
        return Dropped("repeated", "it repeats the caption before.")
    return first_fault(
        lambda: check_form(answer, language, story=True),
        lambda: check_obedience(answer, subject),
        lambda: _neighbour(answer.caption, language, subject),
    )


def _neighbour(caption: str, language: str, subject: Subject) -> Dropped | None:
    """A caption may say "it", but may not begin with another object."""
    if language == "zh":
        return None
    fault = check_subject(subject.note, (caption,), subject)
    return fault if fault and fault.reason == "neighbour" else None


def _record(
    event: Event, number: int, texts: dict[str, str], previous: dict[str, str], fps: float
) -> ClipRecord:
    start_s = event.first / fps
    told: dict[str, object] = {
        "first_frame": event.first, "visible": event.visible, "start_s": round(start_s, 3),
        "end_s": round(start_s + len(event.clip.frames) / fps, 3), "fps": fps,
    }  # fmt: skip
    for language, text in texts.items():
        suffix = "" if language == "en" else f"_{language}"
        told[f"caption{suffix}"] = text
        if language in previous:
            told[f"previous{suffix}"] = previous[language]
    if "caption" in event.track.extra:
        told["source_caption"] = event.track.extra["caption"]
    kept = {name: value for name, value in event.track.extra.items() if name != "turns"}
    track = replace(event.track, extra={**kept, **told})  # turns were about the whole clip
    return replace(event.clip, id=f"{event.clip.id}#{event.track.id}@{number}", regions=(track,))
