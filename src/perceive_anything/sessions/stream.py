"""A live stream: regions are followed as frames arrive and described event by event.

Knows the tracker, boundaries and the model's text path. What is kept does not grow with the
stream's length, and no frame is encoded twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from perceive_anything.errors import MediaError, OptionError, PromptError
from perceive_anything.events import CaptionEvent, EndEvent, FrameEvent, TrackedRegion
from perceive_anything.masks import encode_rle, mask_to_box_xyxy
from perceive_anything.modeling.processing import CLIP_FRAMES
from perceive_anything.modeling.tracking import Tracker
from perceive_anything.sessions.boundaries import (
    AutoBoundaries,
    GivenBoundaries,
    IntervalBoundaries,
    Sight,
)
from perceive_anything.sessions.clips import ClipFeatures
from perceive_anything.sessions.queueing import DROP_OLDEST, WAIT, FrameQueue
from perceive_anything.sessions.regions import (
    Writing,
    best_frame,
    masks_and_scores,
    write_caption,
    write_texts,
)
from perceive_anything.tasks import ABSENT, CAPTION, RECOGNIZE
from perceive_anything.types import Frame, Prompt

if TYPE_CHECKING:
    from perceive_anything.modeling import PamForConditionalGeneration
    from perceive_anything.modeling.processing import PamProcessor
    from perceive_anything.modeling.segmenter import RegionFeatures

Event = FrameEvent | CaptionEvent | EndEvent
Boundaries = IntervalBoundaries | AutoBoundaries | GivenBoundaries
# Seconds between captions, "auto", the seconds at which events end, or None for no captions.
CaptionEvery = float | str | Sequence[float] | None
AUTO = "auto"


@dataclass(slots=True)
class _Live:
    """One region of the stream and its current event."""

    prompt: Prompt
    boundaries: Boundaries | None
    start_s: float = 0.0
    start_frame: int = 0
    num_frames: int = 0
    seen: int = 0
    clip: ClipFeatures = field(default_factory=ClipFeatures)
    shared: RegionFeatures | None = None
    last: RegionFeatures | None = None
    previous: str | None = None
    name: dict[str, Any] = field(default_factory=dict)  # label, label_confidence, uncertain


class StreamSession:
    """Frames in, events out; made by `Perceiver.stream`.

    Push frames yourself, or give a source and iterate over the events.

    Args:
        model: Any PAM.
        processor: Its processor.
        frames: Source for iteration, opened when it begins; None if frames are pushed.
        live: The source does not wait, so the oldest waiting frames are dropped.
        caption_every: Seconds between captions, "auto" (when the region changes for good), a list
            of the seconds at which events end, or None for no captions.
        language: "en" or "zh".
        name: Of the stream, for messages.

    Attributes:
        frame: The newest frame, with its pixels.
    """

    def __init__(
        self,
        model: PamForConditionalGeneration,
        processor: PamProcessor,
        frames: Callable[[], Iterator[Frame]] | None = None,
        *,
        live: bool = False,
        caption_every: CaptionEvery = AUTO,
        language: str = "en",
        name: str = "stream",
    ) -> None:
        self._model, self._processor = model, processor
        self._frames, self._policy = frames, DROP_OLDEST if live else WAIT
        self._caption_every = _check_interval(caption_every)
        self._writing = Writing.checked((CAPTION,), language, None, 0.0)
        self.name = name
        self._tracker = Tracker(model.sam)
        self._regions: dict[int, _Live] = {}
        self._next_id, self._next_frame, self._time_s = 0, 0, 0.0
        self._size_wh: tuple[int, int] | None = None
        self._waiting: list[int] = []
        self._queue: FrameQueue | None = None
        self._ended = False
        self.frame: Frame | None = None

    @property
    def dropped(self) -> int:
        """Frames that were dropped because the model was slower than the source."""
        return self._queue.dropped if self._queue is not None else 0

    def add(self, prompt: Prompt) -> int:
        """Point at a region on the next frame.

        Returns:
            The id of its track; ids are never used again.

        Raises:
            PromptError: The prompt lies outside the picture (of the next frame, if none has come).
        """
        if self._size_wh is not None:
            prompt.validate_for(self._size_wh, self.name)
        track_id, self._next_id = self._next_id, self._next_id + 1
        self._regions[track_id] = _Live(prompt, self._new_boundaries())
        self._waiting.append(track_id)
        return track_id

    def remove(self, track_id: int) -> None:
        """Stop following a region.

        Raises:
            PromptError: There is no such region.
        """
        if track_id not in self._regions:
            raise PromptError(
                f'there is no region {track_id} in "{self.name}".\n'
                f"  Regions here: {', '.join(map(str, self._regions)) or 'none; add() one first'}.",
                code="unknown_option",
            )
        del self._regions[track_id]
        if track_id in self._waiting:
            self._waiting.remove(track_id)
        else:
            self._tracker.remove(track_id)

    def push(self, array: np.ndarray, time_s: float | None = None) -> list[Event]:
        """The next frame -> what is seen on it, and captions of the events that it ends.

        Args:
            array: uint8 (H, W, 3), of one size throughout.
            time_s: When it was taken, rising; 1/25 s after the last one by default.

        Raises:
            PromptError: A waiting prompt lies outside the picture; the prompt is forgotten.
            OptionError: The frame is of another size than those before it.
        """
        if time_s is None:
            time_s = self._time_s + 0.04 if self._next_frame else 0.0
        return self._push(Frame(array, time_s, self._next_frame))

    def __iter__(self) -> Iterator[Event]:
        """Events of the source, a frame's at once; the last one says why the stream ended.

        Raises:
            OptionError: The session has no source.
            MediaError: The source cannot be opened or is lost; the open captions come first.
        """
        if self._frames is None:
            raise OptionError(
                f'"{self.name}" has no source.\n  Use push(frame), or give stream() a source.',
                code="unknown_option",
            )
        self._queue = FrameQueue(self._frames(), self._policy)
        lost = None
        try:
            for frame in self._queue:
                yield from self._push(frame)
        except MediaError as error:
            lost = error
        finally:
            self._queue.stop()
        yield from self.close("source" if lost is None else "lost")
        if lost is not None:
            raise lost

    def close(self, reason: str = "closed") -> list[Event]:
        """Captions of the events that are open, and the end; a second call gives nothing."""
        if self._ended:
            return []
        self._ended = True
        if self._queue is not None:
            self._queue.stop()
        events: list[Event] = []
        for track_id, region in self._regions.items():
            if region.num_frames and region.boundaries is not None:
                events.append(self._caption(track_id, region, "end"))
        return [*events, EndEvent(self._time_s, self._next_frame, self.dropped, reason)]

    def _push(self, frame: Frame) -> list[Event]:
        height, width = frame.image.shape[:2]
        if self._size_wh not in (None, (width, height)):
            raise OptionError(
                f'frame {frame.index} of "{self.name}" is {width}x{height}, expected '
                f"{self._size_wh[0]}x{self._size_wh[1]} as before.\n"
                "  Start a new stream when the picture's size changes.",
                code="image_size",
            )
        self._size_wh, self.frame = (width, height), frame
        index, self._next_frame, self._time_s = self._next_frame, self._next_frame + 1, frame.time_s
        self._start_waiting(index, frame.time_s, (width, height))
        seen: dict[int, RegionFeatures] = {}
        if self._regions:
            seen = self._tracker.push(index, self._processor.pixel_values([frame.image]))
        regions, captions = [], []
        for track_id, features in seen.items():
            region = self._regions[track_id]
            tracked, sight = _look(
                track_id, region, features, frame.time_s, (width, height),
                self._model.config.min_mask_part,
            )  # fmt: skip
            regions.append(tracked)
            reason = self._advance(region, features, sight, index)
            if reason is not None:
                captions.append(self._caption(track_id, region, reason))
        size_wh = (width, height)
        event = FrameEvent(frame.time_s, index, size_wh, tuple(regions), self.dropped)
        return [event, *captions]

    def _start_waiting(self, index: int, time_s: float, size_wh: tuple[int, int]) -> None:
        while self._waiting:
            track_id = self._waiting.pop(0)
            region = self._regions[track_id]
            try:
                region.prompt.validate_for(size_wh, self.name)
            except PromptError:
                del self._regions[track_id]
                raise
            region.clip, region.start_s, region.start_frame = ClipFeatures(index), time_s, index
            tensors = self._processor.prompt_tensors([region.prompt], [size_wh])
            self._tracker.add(track_id, index, tensors)

    def _advance(
        self, region: _Live, features: RegionFeatures, sight: Sight, index: int
    ) -> str | None:
        """Add a frame to the region's event; the reason if the event ends with it."""
        region.clip.add(index, features)
        region.num_frames = index - region.start_frame + 1
        region.seen += sight.visible
        region.last = features
        return region.boundaries.update(sight) if region.boundaries is not None else None

    @torch.inference_mode()
    def _caption(self, track_id: int, region: _Live, reason: str) -> CaptionEvent:
        """Close the region's event: text from the last caption, the shared frame and this clip."""
        sure = None
        if not region.seen:
            text, reason = ABSENT[self._writing.language], "absent"
        else:
            frames = region.clip.sample(region.num_frames)
            if region.shared is not None:
                frames = [region.shared, *frames[-(CLIP_FRAMES - 1) :]]
            said = write_caption(
                self._model, self._processor, frames, self._writing, region.previous
            )
            text, sure = said.text, said.log_probability
            region.previous = text
            region.name = region.name or self._name(frames)
        end_frame = region.start_frame + region.num_frames - 1
        event = CaptionEvent(
            track_id, region.start_s, self._time_s, region.start_frame, end_frame, text, reason,
            sure, **region.name,
        )  # fmt: skip
        region.shared, region.clip = region.last, ClipFeatures(end_frame + 1)
        region.start_s, region.start_frame = self._time_s, end_frame + 1
        region.num_frames = region.seen = 0
        return event

    def _name(self, frames: list[RegionFeatures]) -> dict[str, Any]:
        """The label of a region, which is written once, with its first caption."""
        rows = self._model.visual_rows(best_frame(frames))
        writing = Writing((RECOGNIZE,), self._writing.language)
        (found,) = write_texts(self._model, self._processor, rows, writing)
        return {key: found[key] for key in ("label", "label_confidence", "uncertain")}

    def _new_boundaries(self) -> Boundaries | None:
        if self._caption_every is None:
            return None
        if self._caption_every == AUTO:
            return AutoBoundaries()
        if isinstance(self._caption_every, Sequence):
            return GivenBoundaries([float(end) for end in self._caption_every])
        return IntervalBoundaries(float(self._caption_every))


def _look(
    track_id: int,
    region: _Live,
    features: RegionFeatures,
    time_s: float,
    size_wh: tuple[int, int],
    min_part: float,
) -> tuple[TrackedRegion, Sight]:
    """A region on a frame, for the user and for the boundaries of its events."""
    prompt = region.prompt if region.last is None else None
    masks, scores = masks_and_scores(features, size_wh, [prompt], min_part)
    box = mask_to_box_xyxy(masks[0])
    x1, y1, x2, y2 = box or (0, 0, 0, 0)
    sight = Sight(
        time_s,
        box is not None,
        ((x1 + x2) / 2, (y1 + y2) / 2),
        float(np.hypot(x2 - x1, y2 - y1)),
        features.mask_tokens[0, 1].float().cpu().numpy(),
    )
    rle = encode_rle(masks[0])
    return TrackedRegion(track_id, (x1, y1, x2, y2), scores[0], box is not None, rle), sight


def _check_interval(caption_every: CaptionEvery) -> CaptionEvery:
    if caption_every is None or caption_every == AUTO:
        return caption_every
    given: Sequence[object] = (
        caption_every if isinstance(caption_every, (list, tuple)) else [caption_every]
    )
    ends = [end for end in given if isinstance(end, (int, float)) and 0 < end < 86_400]
    if len(ends) == len(given) and ends == sorted(ends):
        return caption_every
    raise OptionError(
        f"caption_every is {caption_every!r}.\n"
        '  Expected seconds above 0, "auto", rising seconds at which events end, or None.',
        code="unknown_option",
    )
