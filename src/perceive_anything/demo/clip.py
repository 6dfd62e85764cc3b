"""One video of a visitor: point at regions on any frame, follow them, look at each frame again.

Knows the video session, frames and the board. Every call of the model holds the lock, and none is
held while a caller waits for the next frame.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perceive_anything.demo.board import Board, Entry
from perceive_anything.demo.models import stepwise
from perceive_anything.demo.photo import Photo, ShownMask, board_view, region_view, view_of
from perceive_anything.demo.pictures import color_hex, label_xy, mask_uri, photo_uri
from perceive_anything.demo.timeline import Lane
from perceive_anything.errors import MediaError, PromptError
from perceive_anything.results import Region
from perceive_anything.sessions.regions import Writing
from perceive_anything.tasks import TASK_FIELD
from perceive_anything.tracks import CaptionSpan, VideoResult
from perceive_anything.types import Mask
from perceive_anything.video import open_video

if TYPE_CHECKING:
    from perceive_anything.pipeline import Perceiver
    from perceive_anything.sessions.video import VideoSession
    from perceive_anything.tracks import Track, TrackPoint
    from perceive_anything.video import FrameList, VideoFile

MAX_FRAMES, MAX_VIDEO_PX = 900, 2560 * 1440


class Clip:
    """A video with its regions.

    Args:
        perceiver: The model.
        lock: Around all calls of models.
        path: The file; deleted when the clip is closed.
        name: For results and messages.

    Attributes:
        board: Regions that were pointed at.
        index: Number of the frame that is shown.
        frame_uri: That frame, for the browser.
        progress: Share of the frames that were followed, while they are; else None.

    Raises:
        MediaError: It is no video, or too long or large for the demo.
    """

    def __init__(
        self, perceiver: Perceiver, lock: threading.Lock, path: Path, name: str = "video"
    ) -> None:
        self._perceiver, self._lock, self._path, self.name = perceiver, lock, path, name
        self.video = open_video(path)
        self.num_frames = _checked_length(self.video, name)
        self.board = Board()
        self.progress: float | None = None
        self._seen: dict[int, dict[int, TrackPoint]] = {}
        self._followed: dict[int, Entry] = {}
        self._tracks: dict[int, Track] = {}
        self._stopped, self._language, self._teller = False, "en", object()
        self._session: VideoSession | None = None
        self._ids: dict[int, int] = {}
        self.seek(0)

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.video.size_wh

    @property
    def is_followed(self) -> bool:
        """Whether there is a result to save."""
        return bool(self._tracks)

    def seek(self, index: int) -> None:
        """Show another frame; numbers outside the video are taken to its ends."""
        self.index = min(max(index, 0), self.num_frames - 1)
        self._array = self.video.frame(self.index).image
        self.frame_uri = photo_uri(self._array)
        self._photo: Photo | None = None

    def use(self, perceiver: Perceiver) -> None:
        """Answer with another model from now on."""
        if perceiver is not self._perceiver:
            self._perceiver, self._photo = perceiver, None

    def point(self, data: object, language: str) -> None:
        """Make or correct a region on the frame that is shown; see `Photo.point`."""
        self._open_frame().point(data, language, frame=self.index, seen=self._as_seen())

    def everything(self, most: int, language: str) -> int:
        """Find regions on the frame that is shown; gives their number."""
        return self._open_frame().everything(most, language, frame=self.index)

    def stop(self) -> None:
        """Follow no further."""
        self._stopped = True

    def follow(self, tasks: Sequence[str], language: str) -> Iterator[None]:
        """Follow all regions through the video, then write their texts.

        Args:
            tasks: Which texts.
            language: "en" or "zh".

        Yields:
            After each frame and each text.

        Raises:
            PromptError: There is no region, or the regions are being followed.
        """
        if not self.board.entries or self.progress is not None:
            raise PromptError(
                "there is nothing new to follow.\n  Point at something on a frame first.",
                code="prompt_missing",
            )
        self._stopped, self.progress, self._language = False, 0.0, language
        entries = self.board.entries
        self._seen = {entry.id: {} for entry in entries}
        self._tracks, self._followed = {}, {entry.id: entry for entry in entries}
        self._teller = object()
        try:
            self._session = session = self._perceiver.video(self._path)
            self._ids = {_add(session, entry): entry.id for entry in entries}
            yield from self._propagate(session, self._ids)
            wanted = () if self._stopped else tuple(tasks)
            yield from self._describe(session, wanted, language)
        finally:
            self.progress = None

    def retell(self, tasks: Sequence[str], language: str) -> Iterator[None]:
        """Write other texts of what was followed to its end; a later call ends this one.

        Args:
            tasks: Which texts.
            language: "en" or "zh".

        Yields:
            After each region.
        """
        there = [self._followed[entry_id].answer for entry_id in self._tracks]
        told = not tasks or all(
            answer.language == language and answer.finished >= {*tasks} for answer in there
        )
        if self._session is None or self.progress is not None or self._stopped or told:
            return
        self._teller = teller = object()
        self._language = language
        for _ in self._describe(self._session, tuple(tasks), language):
            if self._teller is not teller:
                return
            yield

    def view(self) -> dict[str, Any]:
        """What the canvas shows over the frame."""
        shown = board_view(self.board, self.size_wh, {}, self.index)
        pointed = {region["id"] for region in shown["regions"]}
        regions = shown["regions"]
        for position, entry in enumerate(self.board.entries):
            point = self._seen.get(entry.id, {}).get(self.index)
            if point is not None and point.visible and entry.id not in pointed:
                mask = point.mask
                shown_mask = ShownMask(None, mask_uri(mask), label_xy(mask))
                regions.append(region_view(entry, position, shown_mask))
        return view_of(self.board, self.size_wh, regions)

    def lanes(self) -> list[Lane]:
        """The regions in time."""
        return [
            Lane(
                name=entry.label or f"Region {position + 1}",
                color=color_hex(position),
                visible={i: p.visible for i, p in self._seen.get(entry.id, {}).items()},
                marks=tuple(entry.marks),
                spans=self._spans(entry),
            )
            for position, entry in enumerate(self.board.entries)
        ]

    def result(self) -> VideoResult:
        """The tracks of the regions that are still there.

        Raises:
            PromptError: Nothing was followed yet.
        """
        tracks = tuple(
            replace(self._tracks[entry.id], id=position)
            for position, entry in enumerate(self.board.entries)
            if entry.id in self._tracks
        )
        if not tracks:
            raise PromptError(
                "no region was followed yet.\n  Point at something and press Follow.",
                code="prompt_missing",
            )
        return VideoResult(
            source=self.name,
            size_wh=self.size_wh,
            fps=self.video.fps,
            num_frames=self.num_frames,
            model=self._perceiver.model_name,
            language=self._language,
            tracks=tracks,
        )

    def close(self) -> None:
        """Stop, and delete the file."""
        self.stop()
        self._path.unlink(missing_ok=True)

    def _spans(self, entry: Entry) -> tuple[CaptionSpan, ...]:
        """What is said when; a caption of the whole video belongs to where the region is seen."""
        track = self._tracks.get(entry.id)
        if track is None or self._followed[entry.id] is not entry:  # it was corrected since
            return ()
        seen = [point for point in track.points if point.visible]
        if track.spans or not track.caption or not seen:
            return track.spans
        first, last = seen[0], seen[-1]
        return (CaptionSpan(first.time_s, last.time_s, first.frame, last.frame, track.caption),)

    def _open_frame(self) -> Photo:
        """The frame that is shown, encoded when it is first pointed at."""
        if self._photo is None:
            self._photo = Photo(self._perceiver, self._lock, self._array, self.name, self.board)
        return self._photo

    def _as_seen(self) -> Region | None:
        """What of the selected region was followed to this frame, to be corrected there."""
        point = self._seen.get(self.board.selected or 0, {}).get(self.index)
        if self.board.selected is None or point is None or not point.visible:
            return None
        mask = point.mask
        return Region(self.board.selected, Mask(mask), mask, point.box_xyxy, point.score)

    def _propagate(self, session: VideoSession, ids: dict[int, int]) -> Iterator[None]:
        first = min(min(entry.marks) for entry in self._followed.values())
        last = max(min(entry.marks) for entry in self._followed.values())
        total = self.num_frames - first + last
        try:
            steps = stepwise(session.propagate(), self._lock)
            for number, (_, points) in enumerate(steps, start=1):
                for track_id, point in points.items():
                    self._seen[ids[track_id]][point.frame] = point
                self.progress = min(1.0, number / total)
                yield
                if self._stopped:
                    return
        except MediaError as error:
            if error.code != "video_truncated":
                raise

    def _describe(
        self, session: VideoSession, tasks: tuple[str, ...], language: str
    ) -> Iterator[None]:
        writing = Writing.checked(tasks, language, None, 0.0) if tasks else None
        for track_id, entry_id in self._ids.items():
            if not self._seen.get(entry_id):  # stopped before it began
                continue
            with self._lock:
                track = session.track(track_id, writing)
            self._tracks[entry_id] = track
            answer = self._followed[entry_id].answer
            answer.language = language
            for task in tasks:
                answer.texts[task] = getattr(track, TASK_FIELD[task]) or ""
            answer.started.update(tasks)
            answer.finished.update(tasks)
            answer.confidence = track.label_confidence
            answer.uncertain = track.uncertain
            yield


def _add(session: VideoSession, entry: Entry) -> int:
    """A region of the board in a session; gives its number there."""
    (first, mark), *others = sorted(entry.marks.items())
    track_id = session.add(mark.prompt, frame=first)
    for frame, region in others:
        session.refine(track_id, region.prompt, frame=frame)
    return track_id


def _checked_length(video: VideoFile | FrameList, name: str) -> int:
    """Frames of a video, counted.

    Raises:
        MediaError: It is too long or too large for the demo.
    """
    width, height = video.size_wh
    if width * height > MAX_VIDEO_PX:
        raise _too_much(name, f"{width}x{height} pixels", f"{MAX_VIDEO_PX} pixels a frame")
    count = 0
    try:
        for _ in video.frames():
            count += 1
            if max(count, video.num_frames or 0) > MAX_FRAMES:
                raise _too_much(name, "too many frames", f"{MAX_FRAMES} frames")
    except MediaError as error:
        if error.code != "video_truncated":
            raise
    return count


def _too_much(name: str, got: str, most: str) -> MediaError:
    return MediaError(
        f'the video "{name}" has {got}.\n'
        f"  The demo takes up to {most}; cut or scale it, or use perceive video.",
        code="image_size",
    )
