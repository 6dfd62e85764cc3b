"""ActivityNet Captions as a stream: one region of a video, described after each event.

`val_1.json` (by video: duration, timestamps, sentences) and the videos, as published with dense
captioning (arXiv 1705.00754). `regions.json` says where to look: by video the box x1, y1, x2, y2 on
the first frame of its first event. PAM's paper chose and marked 400 videos; where no box is given,
the whole frame is the region.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from perceive_anything.data.rows import xyxy_inside
from perceive_anything.errors import MediaError
from perceive_anything.evaluation.benchmarks.source import UNUSABLE, Source
from perceive_anything.evaluation.samples import Media, Sample, Span, Truth
from perceive_anything.types import Box
from perceive_anything.video import open_video

__all__ = ["load"]

VIDEO_KINDS = (".mp4", ".mkv", ".webm")


def load(source: Source) -> Iterator[Sample]:
    """One sample a video with events; without `regions.json` all videos, else those it names."""
    path = source.file("val_1.json", "captions/val_1.json", "*.json")
    rows, boxes_file = source.json(path), path.with_name("regions.json")
    boxes = source.json(boxes_file) if boxes_file.is_file() else None
    for name in sorted(rows if boxes is None else boxes):
        try:
            media = Media(video=str(source.picture(*(name + kind for kind in VIDEO_KINDS))))
            spans, texts = _events(rows[name])
            width, height = open_video(media.video).size_wh
            x1, y1, x2, y2 = boxes[name] if boxes else (0, 0, width, height)
            box = Box(*xyxy_inside((x1, y1, x2 - x1, y2 - y1), (width, height)))
            group = "marked region" if boxes else "whole frame"
            yield Sample(name, media, box, Truth(texts=texts, spans=spans), group)
        except (*UNUSABLE, MediaError) as error:
            source.bad.leave_out(f"{path.name}: {name}", error)


def _events(row: Mapping[str, Any]) -> tuple[tuple[Span, ...], tuple[str, ...]]:
    """Events in order of time; one that begins before the last one ends begins where that ends.

    Raises:
        ValueError: There is none, or one lies within the one before.
    """
    pairs = zip(row["timestamps"], row["sentences"], strict=True)
    found: list[tuple[Span, str]] = []
    for (start, end), sentence in sorted(pairs, key=lambda pair: pair[0][1]):
        begin = max(float(start), found[-1][0].end_s if found else 0.0)
        text = str(sentence).strip()
        if text and float(end) > begin:
            found.append((Span(begin, float(end)), text))
    if not found:
        raise ValueError("it has no event")
    return tuple(span for span, _ in found), tuple(text for _, text in found)
