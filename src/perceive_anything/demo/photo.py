"""One picture of a visitor: encoded once, masks at once, texts while they are written.

Knows the image session and the board. Every call of the model holds the lock, and none is held
while a caller waits for the next piece.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from perceive_anything.demo.board import Answer, Board, Entry
from perceive_anything.demo.gestures import Click, begins_new, prompt_of, read_gesture
from perceive_anything.demo.pictures import color_hex, label_xy, mask_uri, photo_uri
from perceive_anything.export import prompt_to_json
from perceive_anything.results import ImageResult
from perceive_anything.tasks import RECOGNIZE, SEGMENT
from perceive_anything.types import Box, Points

if TYPE_CHECKING:
    from perceive_anything.events import TextChunk
    from perceive_anything.media import Pixels
    from perceive_anything.pipeline import Perceiver
    from perceive_anything.results import Region
    from perceive_anything.types import Prompt

    MaskCache = dict[int, "ShownMask"]

TICKS = itertools.count(1)  # a page shows no view that is older than the one it has
PIECE_S = 0.06  # texts reach the browser about this often


@dataclass(frozen=True, slots=True)
class ShownMask:
    """A region's mask as the browser gets it, made once."""

    region: Region | None
    uri: str
    label_xy: tuple[int, int]

    @classmethod
    def of(cls, region: Region) -> ShownMask:
        """Of a region."""
        return cls(region, mask_uri(region.mask), label_xy(region.mask))


@dataclass(slots=True)
class _Written:
    """Texts of some regions that are being written as one batch."""

    answers: list[Answer]
    tasks: tuple[str, ...]
    chunks: Iterator[TextChunk]


class Photo:
    """A picture with its regions.

    Args:
        perceiver: The model.
        lock: Around all calls of models.
        array: uint8 (H, W, 3).
        name: For results.
        board: Regions that are there already; a new board by default.

    Attributes:
        array: The picture.
        board: Its regions.
        preview: What the browser shows, a data URI.
    """

    def __init__(
        self,
        perceiver: Perceiver,
        lock: threading.Lock,
        array: Pixels,
        name: str = "image",
        board: Board | None = None,
    ) -> None:
        self._perceiver, self._lock = perceiver, lock
        self.array, self.name = array, name
        self.board = board or Board()
        self.preview = photo_uri(array)
        with lock:
            self._session = perceiver.image(array)
        self._written: list[_Written] = []
        self._writer = object()
        self._masks: MaskCache = {}

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height of the original in pixels."""
        return self._session.size_wh

    def with_model(self, perceiver: Perceiver, language: str) -> Photo:
        """The same picture and prompts, seen by another model."""
        if perceiver is self._perceiver:
            return self
        other = Photo(perceiver, self._lock, self.array, self.name)
        prompts = [entry.region.prompt for entry in self.board.entries]
        if prompts:
            with self._lock:
                regions = other._session.perceive(prompts, tasks=[SEGMENT])
            other.board.add(regions, language)
        self.close()
        return other

    def point(
        self, data: object, language: str, *, frame: int = 0, seen: Region | None = None
    ) -> None:
        """Do what a gesture says: make a region, or correct the selected one.

        Args:
            data: The gesture as the browser sends it.
            language: Of the texts to come.
            frame: Number of this picture in its video.
            seen: The selected region as it was followed to this frame, if it was.

        Raises:
            PromptError: The gesture is malformed or has nothing to act on.
        """
        gesture = read_gesture(data, self.size_wh)
        current = self.board.current
        selected = current.marks.get(frame, seen) if current is not None else None
        prompt = prompt_of(gesture, selected, self.size_wh)
        with self._lock:
            region = self._session.perceive(prompt, tasks=[SEGMENT])
        joins = isinstance(gesture, Click) and gesture.join
        if current is None or (begins_new(gesture, selected, self.size_wh) and not joins):
            self.board.add([region], language, frame=frame)
        else:
            self.board.correct(current, region, language, frame=frame)

    def everything(self, most: int, language: str, *, frame: int = 0) -> int:
        """Find regions without pointing; gives their number."""
        with self._lock:
            regions = self._session.everything(max_regions=most, tasks=[SEGMENT])
        if regions:
            self.board.add(regions, language, frame=frame)
        return len(regions)

    def write(self, tasks: Sequence[str]) -> Iterator[None]:
        """Write what is missing; a later call goes on in its place and ends this one.

        Args:
            tasks: Which texts.

        Yields:
            Whenever something new was written.
        """
        self._writer = writer = object()
        self._begin(tuple(tasks))
        while self._writer is writer and self._written:
            until_s = time.monotonic() + PIECE_S
            while self._written and time.monotonic() < until_s:
                self._step()
            yield

    def close(self) -> None:
        """Stop writing."""
        self._writer = object()

    def result(self) -> ImageResult:
        """Masks and all texts that are complete."""
        entries = self.board.entries
        language = entries[0].answer.language if entries else "en"
        return ImageResult(
            source=self.name,
            size_wh=self.size_wh,
            model=self._perceiver.model_name,
            language=language,
            regions=tuple(entry.result(number) for number, entry in enumerate(entries)),
            timing_s={name: round(spent, 3) for name, spent in self._session.timing_s.items()},
        )

    def view(self) -> dict[str, Any]:
        """What the canvas shows over the picture."""
        return board_view(self.board, self.size_wh, self._masks)

    def _begin(self, tasks: tuple[str, ...]) -> None:
        """Open one batch for all regions that miss the same texts."""
        waiting: dict[tuple[str, str], list[tuple[Entry, list[str]]]] = {}
        with self._lock:
            for entry in self.board.entries:
                missing = [task for task in tasks if task not in entry.answer.started]
                if missing:
                    key = (entry.answer.language, ",".join(missing))
                    waiting.setdefault(key, []).append((entry, missing))
            for (language, _), group in waiting.items():
                missing = group[0][1]
                for entry, _ in group:
                    entry.answer.started.update(missing)
                chunks = self._session.perceive(
                    [entry.region.prompt for entry, _ in group],
                    tasks=missing,
                    language=language,
                    stream=True,
                )
                answers = [entry.answer for entry, _ in group]
                self._written.append(_Written(answers, tuple(missing), chunks))

    def _step(self) -> None:
        """One more piece of each batch; a batch that nobody waits for is given up."""
        with self._lock:
            wanted = {id(entry.answer) for entry in self.board.entries}
            for batch in list(self._written):
                if not any(id(answer) in wanted for answer in batch.answers):
                    for answer in batch.answers:
                        answer.abandon()
                    self._written.remove(batch)
                    continue
                chunk = next(batch.chunks, None)
                if chunk is None:
                    self._written.remove(batch)
                else:
                    self._take(batch.answers[chunk.region], chunk)

    def _take(self, answer: Answer, chunk: TextChunk) -> None:
        answer.texts[chunk.task] = answer.texts.get(chunk.task, "") + chunk.text
        if not chunk.final:
            return
        answer.finished.add(chunk.task)
        if chunk.log_probability is not None:
            answer.log_probabilities[chunk.task] = chunk.log_probability
        if chunk.task == RECOGNIZE:
            answer.confidence = chunk.label_confidence
            answer.uncertain = chunk.uncertain


def board_view(
    board: Board, size_wh: tuple[int, int], masks: MaskCache, frame: int = 0
) -> dict[str, Any]:
    """Regions and prompts of a frame for the canvas.

    Args:
        board: The regions.
        size_wh: Width and height of the original in pixels.
        masks: PNGs that were made already; brought up to date.
        frame: Number of the frame.
    """
    there = [
        (position, entry, entry.marks[frame])
        for position, entry in enumerate(board.entries)
        if frame in entry.marks
    ]
    made = {
        entry.id: masks[entry.id]
        if entry.id in masks and masks[entry.id].region is region
        else ShownMask.of(region)
        for _, entry, region in there
    }
    masks.clear()
    masks.update(made)
    regions = [
        region_view(entry, position, made[entry.id], region.prompt)
        for position, entry, region in there
    ]
    return view_of(board, size_wh, regions)


def view_of(
    board: Board, size_wh: tuple[int, int], regions: list[dict[str, Any]]
) -> dict[str, Any]:
    """What the canvas shows over a picture of this size."""
    return {
        "size": list(size_wh),
        "tick": next(TICKS),
        "selected": board.selected,
        "can_undo": board.can_undo,
        "regions": regions,
    }


def region_view(
    entry: Entry, position: int, shown: ShownMask, prompt: Prompt | None = None
) -> dict[str, Any]:
    """One region for the canvas.

    Args:
        entry: Of the board.
        position: On the board, for its colour.
        shown: Its mask.
        prompt: What was pointed at on this frame, if anything was.
    """
    drawn = prompt_to_json(prompt) if isinstance(prompt, (Box, Points)) else {}
    points = zip(drawn.get("points", []), drawn.get("labels", []), strict=True)
    return {
        "id": entry.id,
        "color": color_hex(position),
        "label": entry.label + "?" * (entry.answer.uncertain and bool(entry.label)),
        "corner": shown.label_xy,
        "mask": shown.uri,
        "box": drawn.get("box"),
        "points": [[*xy, label] for xy, label in points],
    }
