"""What comes while work goes on: regions found, pieces of text; events of a stream.

Plain values with thin methods over `export` and `draw`; makes no masks and no text itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from perceive_anything import export
from perceive_anything.masks import BoolMask, decode_rle
from perceive_anything.results import Region, title
from perceive_anything.tracks import CaptionSpan, Pixels, check_size


@dataclass(frozen=True, slots=True)
class TextChunk:
    """A piece of one text, given while others are still written.

    Args:
        region: Number of the region among those of the call.
        task: Which of its texts: "recognize", "explain", "caption" or "describe".
        text: What is new; the pieces of a text add up to it.
        final: Whether the text is complete now.
        log_probability: Of the final piece: mean of the logarithms of the probabilities of all
            tokens of the text, its end among them.
        label_confidence: Of the final piece of a label: how likely it is right, 0..1.
        uncertain: Of the final piece of a label: it is more likely wrong than right.
        num_tokens: Tokens that the piece is made of.
        cut: Of the final piece: whether the text ended because it had become too long.
    """

    region: int
    task: str
    text: str
    final: bool = False
    log_probability: float | None = None
    label_confidence: float | None = None
    uncertain: bool = False
    num_tokens: int = 0
    cut: bool = False


@dataclass(frozen=True, slots=True)
class RegionFound:
    """A region that nobody pointed at was found; its texts follow as `TextChunk`s of its number.

    Args:
        region: Mask, box and score, without texts; its prompt is its mask.
    """

    region: Region


@dataclass(frozen=True, slots=True)
class TrackedRegion:
    """What a stream sees of one region, `track`, on one frame; the rest is as in `TrackPoint`."""

    track: int
    box_xyxy: tuple[int, int, int, int]
    score: float
    visible: bool
    rle: Mapping[str, Any] = field(repr=False, hash=False)

    @property
    def mask(self) -> BoolMask:
        """Boolean (H, W), decoded anew each time."""
        return decode_rle(self.rle)


@dataclass(frozen=True, slots=True)
class FrameEvent:
    """A frame of a stream was seen.

    Args:
        time_s: Seconds since the start of the stream.
        frame: Number of the frame, from 0.
        size_wh: Width and height in pixels.
        tracks: What is seen of each region.
        dropped: Frames that were left out so far, to keep up with the source.
    """

    time_s: float
    frame: int
    size_wh: tuple[int, int]
    tracks: tuple[TrackedRegion, ...]
    dropped: int = 0

    def to_lines(self) -> list[dict[str, Any]]:
        """One line of `--jsonl` for each region; docs/event.schema.json describes them."""
        return [self._line(region) for region in self.tracks]

    def plot(
        self,
        image: Pixels,
        captions: Mapping[int, str] | None = None,
        labels: Mapping[int, str] | None = None,
    ) -> Pixels:
        """A copy of the frame with the regions drawn on it.

        Args:
            image: The frame, uint8 RGB (H, W, 3).
            captions: Text at the bottom by track id; none by default.
            labels: Text beside the region by track id; its number by default.

        Raises:
            OptionError: The picture is not of the stream's size.
        """
        from perceive_anything.draw import draw_video_frame

        check_size(image.shape[1::-1], self.size_wh)
        ids = [region.track for region in self.tracks]
        return draw_video_frame(
            image,
            masks=[region.mask for region in self.tracks],
            labels=[(labels or {}).get(track_id) or f"region {track_id}" for track_id in ids],
            captions=[(captions or {}).get(track_id) or "" for track_id in ids],
            color_ids=ids,
        )

    def _line(self, region: TrackedRegion) -> dict[str, Any]:
        seen = export.sighting_to_json(
            box_xyxy=region.box_xyxy, rle=region.rle, score=region.score, visible=region.visible
        )
        numbers = {"frame": self.frame, "track": region.track, "dropped": self.dropped}
        return export.event_line("frame", self.time_s, **numbers, **seen)


@dataclass(frozen=True, slots=True)
class CaptionEvent:
    """A stream describes what a region did; its time and text are as in `CaptionSpan`.

    `track` is the region's id. `reason` says why it is told now: "interval", "change", "absent"
    (the region was not there) or "end". `log_probability` is the mean over the tokens of the text;
    None if the model did not write it. `label`, `label_confidence` and `uncertain` are as in
    `Region`; a region gets its label with its first caption, and keeps it.
    """

    track: int
    start_s: float
    end_s: float
    start_frame: int
    end_frame: int
    text: str
    reason: str
    log_probability: float | None = None
    label: str | None = None
    label_confidence: float | None = None
    uncertain: bool = False

    @property
    def title(self) -> str:
        """What is written beside the region in pictures; as `Region.title`."""
        return title(self.track, self.label, uncertain=self.uncertain)

    @property
    def time_s(self) -> float:
        """When it is said: at the end of its span."""
        return self.end_s

    @property
    def span(self) -> CaptionSpan:
        """The part of the stream that the text tells of."""
        return CaptionSpan(self.start_s, self.end_s, self.start_frame, self.end_frame, self.text)

    def to_dict(self) -> dict[str, Any]:
        """The line of `--jsonl`; docs/event.schema.json describes it."""
        said = {"track": self.track, **self.span.to_json(), "reason": self.reason}
        if self.log_probability is not None:
            said["log_probability"] = self.log_probability
        if self.label is not None:
            said |= {"label": self.label, "uncertain": self.uncertain}
            said["label_confidence"] = self.label_confidence
        return export.event_line("caption", self.time_s, **said)

    def to_lines(self) -> list[dict[str, Any]]:
        """The one line, as `FrameEvent.to_lines` gives several."""
        return [self.to_dict()]


@dataclass(frozen=True, slots=True)
class EndEvent:
    """A stream has ended.

    Args:
        time_s: Seconds since its start.
        frames: Frames that were seen.
        dropped: Frames that were left out, to keep up with the source.
        reason: Why it ended: "source", "lost", "closed" or "interrupted".
    """

    time_s: float
    frames: int
    dropped: int
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """The line of `--jsonl`; docs/event.schema.json describes it."""
        ended = {"frames": self.frames, "dropped": self.dropped, "reason": self.reason}
        return export.event_line("end", self.time_s, **ended)

    def to_lines(self) -> list[dict[str, Any]]:
        """The one line, as `FrameEvent.to_lines` gives several."""
        return [self.to_dict()]
