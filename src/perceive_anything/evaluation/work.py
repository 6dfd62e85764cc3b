"""Asking the model: what each kind of benchmark does with the samples of one image or clip.

Knows samples and `Perceiver`; everything goes through the same calls as a user's. Refuses to know
benchmarks, files and metrics.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

from perceive_anything.errors import MediaError
from perceive_anything.evaluation.clicks import click_masks
from perceive_anything.evaluation.samples import Answer, Media, Sample
from perceive_anything.events import CaptionEvent
from perceive_anything.masks import decode_rle, encode_rle
from perceive_anything.pipeline import Perceiver
from perceive_anything.sessions.regions import Writing
from perceive_anything.sessions.stream import Event
from perceive_anything.sessions.video import VideoSession
from perceive_anything.tasks import CAPTION, DESCRIBE, RECOGNIZE, SEGMENT, TASK_FIELD
from perceive_anything.tracks import Track
from perceive_anything.types import Frame
from perceive_anything.video import open_video

__all__ = ["CLICKS", "MAX_CLIP_FRAMES", "STREAM_FPS", "WORK", "Worker"]

CLICKS = (1, 3, 5)
MAX_CLIP_FRAMES = 64  # of a clip that is captioned: longer ones are thinned out evenly
STREAM_FPS = 4.0  # of a stream that is captioned; faster ones are thinned out

# (model, samples of one image or clip, language) -> an answer each.
Worker = Callable[[Perceiver, Sequence[Sample], str], list[Answer]]


def _write(task: str, pam: Perceiver, samples: Sequence[Sample], language: str) -> list[Answer]:
    session = pam.image(samples[0].media.load())
    prompts = [sample.prompt for sample in samples]
    regions = session.perceive(prompts, tasks=[task], language=language)
    return [Answer(text=getattr(region, TASK_FIELD[task]) or "") for region in regions]


def _segment(pam: Perceiver, samples: Sequence[Sample], language: str) -> list[Answer]:
    """The mask for the prompt, and those after 1, 3 and 5 clicks."""
    session = pam.image(samples[0].media.load())
    prompted = session.perceive([sample.prompt for sample in samples], tasks=[SEGMENT])
    answers = []
    for sample, region in zip(samples, prompted, strict=True):
        assert sample.truth.rle is not None
        clicked = click_masks(session, decode_rle(sample.truth.rle), CLICKS)
        masks = {"box": region.mask} | {f"click_{n}": mask for n, mask in clicked.items()}
        answers.append(Answer(masks={kind: encode_rle(mask) for kind, mask in masks.items()}))
    return answers


def _follow(pam: Perceiver, samples: Sequence[Sample], language: str) -> list[Answer]:
    """The masks of each object on every frame from the one that is pointed at."""
    session = pam.video([samples[0].media.load(i) for i in range(len(samples[0].media.files))])
    tracks = _tracked(session, samples, [sample.frame for sample in samples], None)
    empty = encode_rle(np.zeros(session.size_wh[::-1], bool))
    answers = []
    for sample, track in zip(samples, tracks, strict=True):
        seen = {point.frame: point.rle for point in track.points if point.frame >= sample.frame}
        frames = range(len(sample.media.files))
        answers.append(Answer(rles=tuple(seen.get(frame, empty) for frame in frames)))
    return answers


def _caption_clip(pam: Perceiver, samples: Sequence[Sample], language: str) -> list[Answer]:
    """The caption of each track of a clip."""
    session, numbers = _clip(pam, samples)
    writing = Writing.checked((CAPTION,), language, None, 0.0)
    return [Answer(text=t.caption or "") for t in _tracked(session, samples, numbers, writing)]


def _clip(pam: Perceiver, samples: Sequence[Sample]) -> tuple[VideoSession, list[int]]:
    """The clip, and in it the frame that each sample points at."""
    media, wanted = samples[0].media, [sample.frame for sample in samples]
    if media.video:
        return pam.video(media.video), wanted
    spread = np.linspace(0, len(media.files) - 1, min(len(media.files), MAX_CLIP_FRAMES))
    chosen = sorted({*spread.astype(int).tolist(), *wanted})
    frames = [media.load(index) for index in chosen]
    return pam.video(frames), [chosen.index(frame) for frame in wanted]


def _tracked(
    session: VideoSession,
    samples: Sequence[Sample],
    numbers: Sequence[int],
    writing: Writing | None,
) -> list[Track]:
    ids = [
        session.add(sample.prompt, frame=number)
        for sample, number in zip(samples, numbers, strict=True)
    ]
    for _ in session.propagate():
        pass
    return [session.track(track_id, writing) for track_id in ids]


def _caption_stream(pam: Perceiver, samples: Sequence[Sample], language: str) -> list[Answer]:
    """A caption at the end of each event, written while the frames go by."""
    return [_streamed(pam, sample, language) for sample in samples]


def _streamed(pam: Perceiver, sample: Sample, language: str) -> Answer:
    spans = sample.truth.spans
    ends = [span.end_s for span in spans]
    stream = pam.stream(caption_every=ends, language=language)
    stream.add(sample.prompt)
    texts, counts = [""] * len(spans), [0] * len(spans)

    def note(events: Sequence[Event], still_open: int) -> None:
        for event in events:
            if isinstance(event, CaptionEvent):
                number = bisect_right(ends, event.end_s) - 1 + still_open
                texts[number] = event.text
                counts[number] = event.end_frame - event.start_frame + 1

    for frame in _paced(sample.media, spans[0].start_s, ends[-1]):
        note(stream.push(frame.image, frame.time_s), 0)
    note(stream.close(), 1)  # the video ended before the event did
    if not any(counts):
        raise MediaError(
            f'"{sample.media.video}" has no frame in its events.\n'
            "  Compare their seconds with the length of the video.",
            code="frame_missing",
        )
    return Answer(texts=tuple(texts), frames=tuple(counts))


def _paced(media: Media, start_s: float, end_s: float) -> Iterator[Frame]:
    """Frames of a video file from one time to another, at most `STREAM_FPS` a second."""
    due = start_s
    for frame in open_video(media.video).frames():
        if frame.time_s < due:
            continue
        due = max(due, frame.time_s) + 1 / STREAM_FPS - 1e-6
        yield frame
        if frame.time_s >= end_s:
            return


WORK: dict[str, Worker] = {
    "recognize": partial(_write, RECOGNIZE),
    "caption": partial(_write, CAPTION),
    "describe": partial(_write, DESCRIBE),
    "segment": _segment,
    "follow": _follow,
    "caption a clip": _caption_clip,
    "caption a stream": _caption_stream,
}
