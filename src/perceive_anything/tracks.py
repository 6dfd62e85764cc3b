"""What a perceived video gives back: Track and VideoResult.

Plain values with thin methods over `export` and `draw`; makes no masks and no text itself. Masks
are kept as run lengths, because videos are long.
"""

from __future__ import annotations

import warnings
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, overload

import numpy as np
import numpy.typing as npt

from perceive_anything import export
from perceive_anything.errors import MediaError, OptionError
from perceive_anything.export.files import unwritable, write_json_file
from perceive_anything.masks import BoolMask, decode_rle, encode_rle, mask_to_box_xyxy
from perceive_anything.results import Region, check_target, title

if TYPE_CHECKING:
    from perceive_anything.types import Frame, Prompt

Pixels = npt.NDArray[np.uint8]


class _FrameSource(Protocol):
    """A video that tracks can be drawn on, such as `VideoSession.source`."""

    @property
    def fps(self) -> float: ...
    @property
    def size_wh(self) -> tuple[int, int]: ...
    def frames(self, start: int = 0) -> Iterator[Frame]: ...


@dataclass(frozen=True, slots=True)
class TrackPoint:
    """What is seen of a region on one frame.

    Args:
        frame: Number of the frame, from 0.
        time_s: Seconds since the start of the video.
        box_xyxy: Box of the mask in pixels, x2 and y2 exclusive; zeros if the region is absent.
        score: How sure the model is, 0..1.
        visible: Whether the region is on the frame.
        rle: COCO RLE of the mask, counts as str; of an empty mask if the region is absent.
    """

    frame: int
    time_s: float
    box_xyxy: tuple[int, int, int, int]
    score: float
    visible: bool
    rle: Mapping[str, Any] = field(repr=False, hash=False)

    @classmethod
    def from_mask(cls, frame: int, time_s: float, mask: BoolMask, score: float) -> TrackPoint:
        """The point of a mask, bool (H, W); an empty mask says that the region is absent.

        Example:
            >>> mask = np.zeros((4, 6), bool)
            >>> TrackPoint.from_mask(3, 0.12, mask, 0.5).visible
            False
        """
        box_xyxy = mask_to_box_xyxy(mask)
        return cls(
            frame=int(frame),
            time_s=float(time_s),
            box_xyxy=box_xyxy or (0, 0, 0, 0),
            score=float(score),
            visible=box_xyxy is not None,
            rle=encode_rle(mask),
        )

    @property
    def mask(self) -> BoolMask:
        """Boolean (H, W), decoded anew each time."""
        return decode_rle(self.rle)

    def to_json(self) -> dict[str, Any]:
        """This frame as one entry of "track" in the result JSON."""
        seen = export.sighting_to_json(
            box_xyxy=self.box_xyxy, rle=self.rle, score=self.score, visible=self.visible
        )
        return {"frame": self.frame, "time_s": round(self.time_s, 4), **seen}


@dataclass(frozen=True, slots=True)
class CaptionSpan:
    """What a region does during a part of the video.

    Args:
        start_s: Seconds at which it begins.
        end_s: Seconds at which it ends.
        start_frame: First frame.
        end_frame: Last frame, inclusive.
        text: The caption.
    """

    start_s: float
    end_s: float
    start_frame: int
    end_frame: int
    text: str

    def to_json(self) -> dict[str, Any]:
        """This span as one entry of "spans" in the result JSON."""
        return {
            "start_s": round(float(self.start_s), 4),
            "end_s": round(float(self.end_s), 4),
            "start_frame": int(self.start_frame),
            "end_frame": int(self.end_frame),
            "text": self.text,
        }


class TrackMasks(Sequence[BoolMask]):
    """The masks of a track, decoded one by one when they are asked for."""

    def __init__(self, points: Sequence[TrackPoint]) -> None:
        self._points = points

    def __len__(self) -> int:
        return len(self._points)

    @overload
    def __getitem__(self, index: int) -> BoolMask: ...
    @overload
    def __getitem__(self, index: slice) -> TrackMasks: ...
    def __getitem__(self, index: int | slice) -> BoolMask | TrackMasks:
        if isinstance(index, slice):
            return TrackMasks(self._points[index])
        return self._points[index].mask


@dataclass(frozen=True, slots=True)
class Track:
    """One region followed through a video, with the texts that were asked for.

    Args:
        id: Number of the track in its video.
        prompt: The prompt that made it.
        prompt_frame: Number of the frame that was pointed at.
        size_wh: Width and height of the video in pixels.
        fps: Frames a second.
        points: What is seen on each followed frame, in time order; the prompted frame among them.
        label: What it is; None if not asked for, like the texts below.
        explanation: What such a thing is, and its part in the prompted frame.
        caption: What it does in the video, in one concise sentence.
        description: A detailed caption.
        spans: Captions of parts of the video, in time order; there need not be any.
        label_confidence: How likely the label is right, 0..1; None without a label.
        uncertain: As in `Region`.
        log_probabilities: As in `Region`.

    Raises:
        ValueError: The points are not in time order or lack the prompted frame.
    """

    id: int
    prompt: Prompt
    prompt_frame: int
    size_wh: tuple[int, int]
    fps: float
    points: tuple[TrackPoint, ...]
    label: str | None = None
    explanation: str | None = None
    caption: str | None = None
    description: str | None = None
    spans: tuple[CaptionSpan, ...] = ()
    label_confidence: float | None = None
    uncertain: bool = False
    log_probabilities: Mapping[str, float] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        """Check the points."""
        numbers = [point.frame for point in self.points]
        if any(first >= second for first, second in pairwise(numbers)):
            raise ValueError(f"the points of track {self.id} are not in time order")
        if self.prompt_frame not in numbers:
            raise ValueError(f"track {self.id} lacks its prompted frame {self.prompt_frame}")

    @property
    def masks(self) -> TrackMasks:
        """Boolean (H, W) of each frame; a sequence that decodes when it is indexed."""
        return TrackMasks(self.points)

    @property
    def boxes_xyxy(self) -> npt.NDArray[np.int_]:
        """Boxes (T, 4) in pixels, x2 and y2 exclusive; zeros where the region is absent."""
        return np.array([point.box_xyxy for point in self.points], dtype=int)

    @property
    def scores(self) -> npt.NDArray[np.float64]:
        """Scores (T,), 0..1."""
        return np.array([point.score for point in self.points], dtype=float)

    @property
    def visible(self) -> npt.NDArray[np.bool_]:
        """Whether the region is on each frame, (T,)."""
        return np.array([point.visible for point in self.points], dtype=bool)

    @property
    def times_s(self) -> npt.NDArray[np.float64]:
        """Seconds since the start of the video, (T,)."""
        return np.array([point.time_s for point in self.points], dtype=float)

    @property
    def frames(self) -> npt.NDArray[np.int_]:
        """Numbers of the frames, (T,)."""
        return np.array([point.frame for point in self.points], dtype=int)

    @property
    def texts(self) -> dict[str, str | None]:
        """The four texts by field name."""
        return {name: getattr(self, name) for name in export.TEXT_FIELDS}

    @property
    def title(self) -> str:
        """What is written beside it in pictures; as `Region.title`."""
        return title(self.id, self.label, uncertain=self.uncertain)

    def __repr__(self) -> str:
        """Short: the frames are counted, not listed."""
        width, height = self.size_wh
        return (
            f"Track(id={self.id}, label={self.label!r}, video={width}x{height}, "
            f"frames={self.points[0].frame}..{self.points[-1].frame}, "
            f"visible={int(self.visible.sum())}/{len(self.points)})"
        )

    def region(self, frame: int) -> Region:
        """The region as it is on one frame, with the texts of the track.

        Args:
            frame: Number of the frame.

        Raises:
            OptionError: The track has no such frame.
        """
        point = self._point(frame)
        if point is None:
            raise OptionError(
                f"track {self.id} has no frame {frame}.\n"
                f"  Its frames go from {self.points[0].frame} to {self.points[-1].frame}.",
                code="unknown_option",
            )
        return Region(
            id=self.id,
            prompt=self.prompt,
            mask=point.mask,
            box_xyxy=point.box_xyxy,
            score=point.score,
            **self.texts,
            label_confidence=self.label_confidence,
            uncertain=self.uncertain,
            log_probabilities=self.log_probabilities,
        )

    def caption_at(self, frame: int) -> str | None:
        """The caption that is current on a frame: its span's, or the track's if it has no spans."""
        if not self.spans:
            return self.caption
        current = [span for span in self.spans if span.start_frame <= frame <= span.end_frame]
        return current[-1].text if current else None

    def to_json(self) -> dict[str, Any]:
        """This track as one entry of "regions" in the result JSON.

        Box, mask and score are those of the prompted frame; "track" holds all frames.
        """
        entry = self.region(self.prompt_frame).to_json()
        entry["prompt_frame"] = self.prompt_frame
        entry["track"] = [point.to_json() for point in self.points]
        if self.spans:
            entry["spans"] = [span.to_json() for span in self.spans]
        return entry

    to_dict = to_json

    def to_coco(self, source: str = "video", num_frames: int | None = None) -> dict[str, Any]:
        """This track as a data set in the form of YouTube-VIS, which is COCO for videos.

        Args:
            source: Name of the video.
            num_frames: Frames of the video; by default it ends with the track.

        Returns:
            A dict with "videos", "annotations" and "categories". "segmentations" has COCO RLE for
            each frame of the video, None where the region is absent; so have "bboxes" (exclusive
            xywh) and "areas".
        """
        return _to_ytvis((self,), source, self.size_wh, num_frames)

    def plot(self, image: Pixels, frame: int) -> Pixels:
        """A copy of a frame with the region, its label and the current caption drawn on it.

        Args:
            image: The frame, uint8 RGB (H, W, 3).
            frame: Its number; a frame that was not followed stays plain.

        Raises:
            OptionError: The picture is not of the video's size.
        """
        return _plot((self,), image, frame)

    def save(self, path: str | Path, source: _FrameSource | None = None) -> Path:
        """Write the track: `.json`, or the video with the region drawn on each frame.

        Args:
            path: Ends in .json, .mp4, .m4v or .mov; folders are made.
            source: The followed video, if it is drawn. Frames outside the track stay plain.

        Returns:
            The path written.

        Raises:
            OptionError: Another ending, or the video is missing, of another size or `path` itself.
            MediaError: The video cannot be read (one that ends too early only warns) or written.
        """
        return _save(self, path, source)

    def _point(self, frame: int) -> TrackPoint | None:
        index = bisect_left(self.points, frame, key=lambda point: point.frame)
        found = index < len(self.points) and self.points[index].frame == frame
        return self.points[index] if found else None


@dataclass(frozen=True, slots=True, eq=False)
class VideoResult:
    """All tracks of one video with what is needed to read them later.

    Args:
        source: Where the video came from.
        size_wh: Width and height in pixels.
        fps: Frames a second.
        num_frames: Frames of the video; None if it is not known, and then counted up to the last
            one that was followed.
        model: Name of the model that answered.
        language: "en" or "zh".
        tracks: In the order of the prompts.
        timing_s: Seconds by stage.
    """

    source: str
    size_wh: tuple[int, int]
    fps: float
    num_frames: int | None
    model: str
    language: str
    tracks: tuple[Track, ...]
    timing_s: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The object of `--json`; docs/result.schema.json describes it."""
        return export.video_to_json(
            source=self.source,
            size_wh=self.size_wh,
            fps=self.fps,
            num_frames=_num_frames(self.tracks, self.num_frames),
            model=self.model,
            language=self.language,
            regions=[track.to_json() for track in self.tracks],
            timing_s=self.timing_s,
        )

    to_dict = to_json

    def to_coco(self) -> dict[str, Any]:
        """All tracks as a data set in the form of YouTube-VIS; see `Track.to_coco`."""
        return _to_ytvis(self.tracks, self.source, self.size_wh, self.num_frames)

    def plot(self, image: Pixels, frame: int) -> Pixels:
        """A copy of a frame with every track drawn on it, each in its colour; see `Track.plot`."""
        return _plot(self.tracks, image, frame)

    def save(self, path: str | Path, source: _FrameSource | None = None) -> Path:
        """Write `.json`, or the video with all tracks and current captions; see `Track.save`."""
        return _save(self, path, source)


def _num_frames(tracks: Sequence[Track], num_frames: int | None) -> int:
    """Frames of the video; what was followed is part of it."""
    return max([num_frames or 0, *(track.points[-1].frame + 1 for track in tracks)])


def _to_ytvis(
    tracks: Sequence[Track], source: str, size_wh: tuple[int, int], num_frames: int | None
) -> dict[str, Any]:
    length = _num_frames(tracks, num_frames)
    annotations = [
        export.track_to_ytvis(
            track_id=track.id,
            rles={point.frame: point.rle for point in track.points if point.visible},
            boxes_xyxy={point.frame: point.box_xyxy for point in track.points},
            size_wh=size_wh,
            num_frames=length,
            score=float(track.scores[track.visible].mean()) if track.visible.any() else 0.0,
            texts=track.texts,
        )
        for track in tracks
    ]
    return export.ytvis_dataset(
        source=source, size_wh=size_wh, num_frames=length, annotations=annotations
    )


def check_size(found_wh: tuple[int, ...], size_wh: tuple[int, int]) -> None:
    """See that a picture is one of the video.

    Raises:
        OptionError: It is of another size.
    """
    if tuple(found_wh) != tuple(size_wh):
        raise OptionError(
            f"the frames are {found_wh[0]}x{found_wh[1]} but the tracks are of a "
            f"{size_wh[0]}x{size_wh[1]} video.\n  Draw on the video that was followed.",
            code="mask_size",
        )


def _plot(tracks: Sequence[Track], image: Pixels, frame: int) -> Pixels:
    from perceive_anything.draw import draw_video_frame

    shown = [(track, track._point(frame)) for track in tracks]
    present = [(track, point) for track, point in shown if point is not None]
    for track, _ in present:
        check_size(image.shape[1::-1], track.size_wh)
    return draw_video_frame(
        image,
        masks=[point.mask for _, point in present],
        labels=[track.title for track, _ in present],
        captions=[track.caption_at(frame) or "" for track, _ in present],
        color_ids=[track.id for track, _ in present],
    )


def _save(answer: Track | VideoResult, path: str | Path, source: _FrameSource | None) -> Path:
    from perceive_anything.video_writer import SUFFIXES

    target = check_target(path, (".json", *SUFFIXES))
    if target.suffix.lower() == ".json":
        return write_json_file(answer.to_json(), target)
    if source is None:
        raise _undrawable(target, "without the video the tracks belong to", "source=session.source")
    origin = Path(str(getattr(source, "source", "")))
    if origin.is_file() and target.exists() and target.samefile(origin):
        raise _undrawable(target, "over the video that is read", "another path")
    check_size(source.size_wh, answer.size_wh)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _draw_video(answer, target, source)
    except OSError as error:
        raise unwritable(target, error) from error
    return target


def _undrawable(target: Path, why: str, wanted: str) -> OptionError:
    return OptionError(
        f'cannot draw "{target}" {why}.\n  Pass {wanted}, or save as .json.', code="out_unwritable"
    )


def _draw_video(answer: Track | VideoResult, target: Path, source: _FrameSource) -> None:
    from perceive_anything.video import VideoWriter

    with VideoWriter(target, source.fps, source.size_wh) as writer:
        try:
            for frame in source.frames():
                writer.write(answer.plot(frame.image, frame.index), time_s=frame.time_s)
        except MediaError as error:
            if error.code != "video_truncated":
                raise
            warnings.warn(str(error), stacklevel=4)  # what could be read is drawn
