"""Lanes of a video's regions: where each is visible, and what is said of it when, as HTML.

Knows values by frame; nothing of sessions. Texts are escaped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perceive_anything.tracks import CaptionSpan

HERE = Path(__file__).parent
HTML = (HERE / "timeline.html").read_text("utf-8")
JS = (HERE / "timeline.js").read_text("utf-8")


@dataclass(frozen=True, slots=True)
class Lane:
    """One region in time.

    Args:
        name: Its label, or its number.
        color: As "#rrggbb".
        visible: Whether it is there, by number of the frame; frames that were not seen are missing.
        marks: Frames that were pointed at.
        spans: What it does when.
    """

    name: str
    color: str
    visible: Mapping[int, bool]
    marks: Sequence[int] = ()
    spans: Sequence[CaptionSpan] = ()


def runs(visible: Mapping[int, bool]) -> list[tuple[int, int, bool]]:
    """Stretches of frames on which a region is there, or is not.

    Example:
        >>> runs({0: True, 1: True, 2: False, 5: False})
        [(0, 1, True), (2, 2, False), (5, 5, False)]
    """
    ordered = enumerate(sorted(visible))
    # The number of a frame minus its rank is the same along a stretch without a gap.
    grouped = groupby(ordered, key=lambda item: (item[1] - item[0], visible[item[1]]))
    found = [([frame for _, frame in items], key[1]) for key, items in grouped]
    return [(frames[0], frames[-1], there) for frames, there in found]


def lanes_html(lanes: Sequence[Lane], num_frames: int) -> str:
    """One lane a region, the frames from left to right.

    Args:
        lanes: In the order of the regions.
        num_frames: Frames of the video.
    """
    return "".join(_lane(lane, max(1, num_frames)) for lane in lanes)


def _lane(lane: Lane, num_frames: int) -> str:
    bars = [
        f'<rect class="{"pa-seen" if there else "pa-absent"}" x="{first}" y="{0 if there else 6}" '
        f'width="{last - first + 1}" height="{14 if there else 2}" fill="{lane.color}" '
        f'fill-opacity="{1 if there else 0.5}"><title>{_title(first, last, there)}</title></rect>'
        for first, last, there in runs(lane.visible)
    ]
    for frame in lane.marks:
        bars.append(f'<path class="pa-mark" d="M{frame + 0.5} 0V14"/>')
    return (
        f'<div class="pa-lane" style="--region: {lane.color}"><p><i class="pa-dot"></i>'
        f"<b>{escape(lane.name)}</b></p>"
        f'<svg viewBox="0 0 {num_frames} 14" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(_summary(lane))}">{"".join(bars)}</svg>'
        f"{_captions(lane, num_frames)}</div>"
    )


def _captions(lane: Lane, num_frames: int) -> str:
    """Buttons under the bar, each as long as its caption's part of the video."""
    if not lane.spans:
        return ""
    items = "".join(_caption(span, num_frames) for span in lane.spans)
    return f'<ol class="pa-spans" aria-label="Captions of {escape(lane.name)}">{items}</ol>'


def _caption(span: CaptionSpan, num_frames: int) -> str:
    left, end = span.start_frame / num_frames, (span.end_frame + 1) / num_frames
    when, text = f"{span.start_s:.1f}–{span.end_s:.1f} s", escape(span.text)
    return (
        f'<li><button type="button" data-from="{span.start_frame}" data-to="{span.end_frame}" '
        f'aria-label="{when}: {text}" style="left: {left:.2%}; width: {end - left:.2%}">{text}'
        f'</button><p aria-hidden="true"><time>{when}</time>{text}</p></li>'
    )


def _title(first: int, last: int, there: bool) -> str:
    return f"{'visible' if there else 'absent'}, frames {first} to {last}"


def _summary(lane: Lane) -> str:
    said = "; ".join(_title(*run) for run in runs(lane.visible))
    return f"{lane.name}: {said or 'not followed yet'}"
