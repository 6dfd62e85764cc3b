"""One video: point at regions on any frame, follow them both ways, describe them.

Knows the tracker, frame sources and the model's text path. Frames are read when they are needed and
not kept; of each region the masks stay (as RLE) and the features of the frames that texts are
written from.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, overload

import torch

from perceive_anything.errors import MediaError, PromptError
from perceive_anything.modeling.tracking import Tracker
from perceive_anything.sessions.clips import ClipFeatures
from perceive_anything.sessions.image import ImageSession
from perceive_anything.sessions.regions import (
    Writing,
    as_batch,
    masks_and_scores,
    write_caption,
    write_texts,
)
from perceive_anything.tasks import ALL_TASKS, CAPTION, SEGMENT, TASK_FIELD
from perceive_anything.tracks import Track, TrackPoint
from perceive_anything.types import Frame, Prompt

if TYPE_CHECKING:
    from perceive_anything.modeling import PamForConditionalGeneration
    from perceive_anything.modeling.processing import PamProcessor
    from perceive_anything.modeling.segmenter import RegionFeatures
    from perceive_anything.video import FrameList, VideoFile


@dataclass(slots=True)
class _Followed:
    """One region: what was asked, what was seen."""

    prompts: dict[int, Prompt]
    points: dict[int, TrackPoint] = field(default_factory=dict)
    clip: ClipFeatures = field(default_factory=ClipFeatures)
    prompted: RegionFeatures | None = None
    current: bool = False

    @property
    def first(self) -> int:
        return min(self.prompts)


class VideoSession:
    """A video whose regions can be followed; made by `Perceiver.video`.

    Attributes:
        source: Where the frames come from.
        name: Of the video, for messages and results.
        timing_s: Seconds spent so far in "track" and "text".
    """

    def __init__(
        self,
        model: PamForConditionalGeneration,
        processor: PamProcessor,
        source: VideoFile | FrameList,
        name: str = "video",
    ) -> None:
        self._model, self._processor = model, processor
        self.source, self.name = source, name
        self.timing_s = {"track": 0.0, "text": 0.0}
        self._regions: dict[int, _Followed] = {}
        self._next_id = 0
        self._num_frames = source.num_frames

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height in pixels, as displayed."""
        return self.source.size_wh

    @property
    def num_frames(self) -> int | None:
        """Frames of the video; counted once it was read to its end, before that as it says."""
        return self._num_frames

    @property
    def track_ids(self) -> list[int]:
        """Ids of the regions, in the order they were added."""
        return list(self._regions)

    def add(self, prompt: Prompt, *, frame: int = 0) -> int:
        """Point at a new region.

        Args:
            prompt: In pixels of the video.
            frame: Number of the frame that is pointed at.

        Returns:
            The id of its track; ids are never used again.

        Raises:
            PromptError: The prompt lies outside the picture, or there is no such frame.
        """
        self._check(prompt, frame)
        track_id, self._next_id = self._next_id, self._next_id + 1
        self._regions[track_id] = _Followed({frame: prompt})
        return track_id

    def add_everything(
        self, *, frame: int = 0, max_regions: int = 8, **generation: float
    ) -> list[int]:
        """Find regions on a frame without any prompt, as `ImageSession.everything` does.

        Args:
            frame: Number of the frame that is looked at.
            max_regions: Most regions; each takes its time on every frame.
            **generation: As there.

        Returns:
            The ids of their tracks, the largest region first; there may be none.

        Raises:
            PromptError: There is no such frame.
            OptionError: A setting is unknown or out of range.
            MediaError: The video cannot be read up to that frame.
        """
        self._check_frame(frame)
        picture = self.source.frame(frame).image
        image = ImageSession(self._model, self._processor, picture, self.name)
        how: dict[str, Any] = {"max_regions": max_regions, **generation}
        found = image.everything(tasks=[SEGMENT], stream=False, **how)
        return [self.add(region.prompt, frame=frame) for region in found]

    def refine(self, track_id: int, prompt: Prompt, *, frame: int) -> None:
        """Correct a region on another frame (or anew on the same); the next pass follows both.

        Args:
            track_id: From `add`.
            prompt: In pixels of the video.
            frame: Number of the frame that is pointed at.

        Raises:
            PromptError: There is no such region or frame, or the prompt lies outside the picture.
        """
        self._check(prompt, frame)
        region = self._region(track_id)
        self._regions[track_id] = _Followed(region.prompts | {frame: prompt})

    def remove(self, track_id: int) -> None:
        """Forget a region.

        Raises:
            PromptError: There is no such region.
        """
        self._region(track_id)
        del self._regions[track_id]

    def propagate(self) -> Iterator[tuple[Frame, dict[int, TrackPoint]]]:
        """Follow all regions that are new or refined through the whole video.

        Frames come forward from the first prompt, then backward from the last first prompt; stop
        consuming to cancel, what was seen until then is kept.

        Yields:
            A frame and what is seen of regions there, by id. Each region comes once with each
            frame; a frame comes twice only if it lies after the first prompt of one region and
            before that of another.

        Raises:
            MediaError: The video cannot be read to its end; what came before it is kept.
        """
        waiting = {i: r for i, r in self._regions.items() if not r.current}
        if not waiting:
            return
        for region in waiting.values():
            region.clip = ClipFeatures(0, self._num_frames)
        begin = min(region.first for region in waiting.values())
        broken, end = None, begin
        try:
            for frame, points in self._follow(
                waiting, self.source.frames(begin), Tracker(self._model.sam)
            ):
                end = frame.index + 1
                yield frame, points
        except MediaError as error:  # the frames before the first prompt are still to come
            broken = error
        self._num_frames = end
        before = max(region.first for region in waiting.values())
        if before > 0:
            tracker = Tracker(self._model.sam, reverse=True)
            for frame, points in self._follow(
                waiting, self.source.frames_backward(before), tracker
            ):
                new = {i: p for i, p in points.items() if not frame.index == waiting[i].first < end}
                if new:
                    yield frame, new
        for region in waiting.values():
            region.current = True
        if broken is not None:
            raise broken

    def _follow(
        self, waiting: dict[int, _Followed], frames: Iterator[Frame], tracker: Tracker
    ) -> Iterator[tuple[Frame, dict[int, TrackPoint]]]:
        """One pass in one direction; backward, a region is followed from its first prompt down."""
        for frame in frames:
            start = time.perf_counter()
            for track_id, region in waiting.items():
                prompt = region.prompts.get(frame.index)
                if prompt is not None and (not tracker.reverse or frame.index == region.first):
                    tensors = self._processor.prompt_tensors([prompt], [self.size_wh])
                    tracker.add(track_id, frame.index, tensors)
            if not tracker.object_ids:
                continue
            pixels = self._processor.pixel_values([frame.image])
            seen = tracker.push(frame.index, pixels)
            points = {i: self._record(waiting[i], frame, seen[i]) for i in seen}
            self.timing_s["track"] += time.perf_counter() - start
            yield frame, points

    def _record(self, region: _Followed, frame: Frame, features: RegionFeatures) -> TrackPoint:
        prompt = region.prompts.get(frame.index)
        masks, scores = masks_and_scores(
            features, self.size_wh, [prompt], self._model.config.min_mask_part
        )
        point = TrackPoint.from_mask(frame.index, frame.time_s, masks[0], scores[0])
        region.points[frame.index] = point
        region.clip.add(frame.index, features)
        if frame.index == region.first:
            region.prompted = features
        return point

    def track(self, track_id: int, writing: Writing | None = None) -> Track:
        """What is known of a region; call `propagate` first.

        Args:
            track_id: From `add`.
            writing: Which texts to write; none by default.

        Raises:
            PromptError: There is no such region, or it was not followed yet.
        """
        region = self._region(track_id)
        if region.prompted is None:
            raise PromptError(
                f'region {track_id} of "{self.name}" was not followed yet.\n'
                "  Run through propagate() first, or use perceive().",
                code="unknown_option",
            )
        texts: dict[str, Any] = {}
        if writing is not None:
            texts = self._texts(region, region.prompted, writing)
        return Track(
            id=track_id,
            prompt=region.prompts[region.first],
            prompt_frame=region.first,
            size_wh=self.size_wh,
            fps=self.source.fps,
            points=tuple(region.points[index] for index in sorted(region.points)),
            **texts,
        )

    @torch.inference_mode()
    def _texts(
        self, region: _Followed, prompted: RegionFeatures, writing: Writing
    ) -> dict[str, Any]:
        """The caption from sampled frames; the other texts from the frame that was pointed at.

        The model was trained so: one prompt for videos, a caption; the rest on images.
        """
        start = time.perf_counter()
        others = tuple(task for task in writing.tasks if task not in (SEGMENT, CAPTION))
        found: dict[str, Any] = {}
        if others:
            rows = self._model.visual_rows(prompted)
            still = Writing(others, writing.language, writing.max_new_tokens, writing.temperature)
            (found,) = write_texts(self._model, self._processor, rows, still)
        if CAPTION in writing.tasks:
            frames = region.clip.sample(len(region.points))
            said = write_caption(self._model, self._processor, frames, writing)
            name = TASK_FIELD[CAPTION]
            found[name] = said.text
            found.setdefault("log_probabilities", {})[name] = said.log_probability
        self.timing_s["text"] += time.perf_counter() - start
        return found

    @overload
    def perceive(
        self, prompts: Prompt, *, frame: int = ..., tasks: Sequence[str] = ...,
        language: str = ..., max_new_tokens: int | None = ..., temperature: float = ...,
    ) -> Track: ...  # fmt: skip
    @overload
    def perceive(
        self, prompts: Sequence[Prompt], *, frame: int = ..., tasks: Sequence[str] = ...,
        language: str = ..., max_new_tokens: int | None = ..., temperature: float = ...,
    ) -> list[Track]: ...  # fmt: skip
    def perceive(
        self,
        prompts: Prompt | Sequence[Prompt],
        *,
        frame: int = 0,
        tasks: Sequence[str] = ALL_TASKS,
        language: str = "en",
        max_new_tokens: int | None = None,
        temperature: float = 0.0,
    ) -> Track | list[Track]:
        """Follow regions through the whole video and describe them.

        Args:
            prompts: One prompt (`Box`, `Points`, `Mask`; pixels of the video) or a list.
            frame: Number of the frame that is pointed at.
            tasks: Which texts to write. The caption tells of the video, the others of the frame
                that is pointed at.
            language: "en" or "zh".
            max_new_tokens: Upper bound for each text; by default the model's.
            temperature: 0 writes the likeliest words; above 0 samples.

        Returns:
            One `Track` for one prompt, a list in the order of the prompts for a list.

        Raises:
            PromptError: A prompt lies outside the picture, there is none, or no such frame.
            OptionError: An unknown task or language.
            MediaError: The video cannot be read. One that ends too early only warns.
        """
        writing = Writing.checked(tasks, language, max_new_tokens, temperature)
        batch, several = as_batch(prompts, self.name)
        tracks = self._followed([self.add(prompt, frame=frame) for prompt in batch], writing)
        return tracks if several else tracks[0]

    def everything(
        self,
        *,
        frame: int = 0,
        max_regions: int = 8,
        tasks: Sequence[str] = ALL_TASKS,
        language: str = "en",
        max_new_tokens: int | None = None,
        temperature: float = 0.0,
        **generation: float,
    ) -> list[Track]:
        """Find regions on a frame without any prompt, then follow and describe each.

        What only appears on other frames is not found.

        Args:
            frame: Number of the frame that is looked at.
            max_regions: Most regions; each takes its time on every frame.
            tasks: As in `perceive`.
            language: As there.
            max_new_tokens: As there.
            temperature: As there.
            **generation: How masks are found and chosen, as in `ImageSession.everything`.

        Returns:
            Tracks, the largest region first; there may be none.

        Raises:
            PromptError: There is no such frame.
            OptionError: An unknown task or language, or a setting out of range.
            MediaError: The video cannot be read. One that ends too early only warns.
        """
        writing = Writing.checked(tasks, language, max_new_tokens, temperature)
        ids = self.add_everything(frame=frame, max_regions=max_regions, **generation)
        return self._followed(ids, writing)

    def _followed(self, track_ids: Sequence[int], writing: Writing) -> list[Track]:
        """Run through the video, then say what is known of the regions."""
        try:
            for _ in self.propagate():
                pass
        except MediaError as error:
            if error.code != "video_truncated":
                raise
            warnings.warn(str(error), stacklevel=3)
        return [self.track(track_id, writing) for track_id in track_ids]

    def _region(self, track_id: int) -> _Followed:
        if track_id in self._regions:
            return self._regions[track_id]
        raise PromptError(
            f'there is no region {track_id} in "{self.name}".\n'
            f"  Regions here: {', '.join(map(str, self._regions)) or 'none; add() one first'}.",
            code="unknown_option",
        )

    def _check(self, prompt: Prompt, frame: int) -> None:
        prompt.validate_for(self.size_wh, self.name)
        self._check_frame(frame)

    def _check_frame(self, frame: int) -> None:
        end = self._num_frames
        if frame < 0 or (end is not None and frame >= end):
            raise PromptError(
                f'there is no frame {frame} in "{self.name}".\n'
                f"  Frames count from 0{f' to {end - 1}' if end is not None else ''}.",
                code="unknown_option",
            )
