"""What is asked and what was answered: one value a sample, and its JSON as predictions keep it.

Knows regions, tracks and events as plain values. Refuses to know files of benchmarks, models and
metrics.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from perceive_anything.data.handles import Base64Range, VideoFrame
from perceive_anything.data.schema import ByteRange
from perceive_anything.export import prompt_to_json
from perceive_anything.masks import decode_rle
from perceive_anything.media import Pixels, load_image
from perceive_anything.types import Box, Mask, Points, Prompt

__all__ = [
    "Answer",
    "Answered",
    "Media",
    "Question",
    "Rle",
    "Sample",
    "Span",
    "Truth",
    "prompt_from_json",
]

Rle = Mapping[str, Any]
_HANDLES = {kind.__name__: kind for kind in (ByteRange, Base64Range, VideoFrame)}


@dataclass(frozen=True, slots=True)
class Media:
    """Where the pixels of a sample lie.

    Attributes:
        files: The encoded image, or the encoded frames of a clip in order.
        video: Path of a video file; "" where there are `files`.
    """

    files: tuple[ByteRange, ...] = ()
    video: str = ""

    def load(self, index: int = 0) -> Pixels:
        """An image or frame as uint8 RGB (H, W, 3).

        Raises:
            MediaError: It cannot be decoded.
        """
        return load_image(self.files[index].read())


@dataclass(frozen=True, slots=True)
class Span:
    """An event of a video: its seconds."""

    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Question:
    """A multiple-choice question about a description (DLC-Bench).

    Attributes:
        text: What is asked.
        kind: "positive" or "negative".
        choices: The choices and what each is worth.
    """

    text: str
    kind: str
    choices: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Truth:
    """What people wrote or drew; what a benchmark does not have stays empty.

    Attributes:
        label: The name of a region.
        texts: References of a caption; in a stream the caption of each event.
        rle: Mask of a region, COCO RLE.
        rles: Mask of a track on each frame, COCO RLE; None where nobody drew any.
        spans: The events of a stream, as `texts`.
        question: A free question about the region.
        background: What a judge that sees no picture is told of it.
        quiz: Questions that a description must answer.
    """

    label: str = ""
    texts: tuple[str, ...] = ()
    rle: Rle | None = None
    rles: tuple[Rle | None, ...] = ()
    spans: tuple[Span, ...] = ()
    question: str = ""
    background: str = ""
    quiz: tuple[Question, ...] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    """One region, track or stream to be asked about.

    Attributes:
        key: Its name, unique in the benchmark and the same on every run.
        media: Where the pixels lie; samples of one image share it.
        prompt: What points at the region, pixels of the picture.
        truth: What the answer is compared with.
        group: Row of the per-class table.
        frame: Number of the frame that is pointed at.
    """

    key: str
    media: Media
    prompt: Prompt
    truth: Truth
    group: str = ""
    frame: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model said or drew.

    Attributes:
        text: A label, caption or description.
        texts: The caption of each event of a stream.
        masks: COCO RLE by kind of prompt ("box", "click_1", ...).
        rles: COCO RLE of a track on each frame.
        frames: Frames that were seen of each event.
    """

    text: str = ""
    texts: tuple[str, ...] = ()
    masks: Mapping[str, Rle] = field(default_factory=dict)
    rles: tuple[Rle, ...] = ()
    frames: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Answered:
    """A sample with its answer, one line of a file of predictions.

    Attributes:
        sample: What was asked.
        answer: What was answered.
        seconds: How long the answers of the sample's image or clip took, a sample.
    """

    sample: Sample
    answer: Answer
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """The line; what is empty is left out."""
        sample = self.sample
        media: dict[str, Any] = {"video": sample.media.video} if sample.media.video else {}
        if sample.media.files:
            media["kind"] = type(sample.media.files[0]).__name__
            media["files"] = [[f.path, f.offset, f.size] for f in sample.media.files]
        return {
            "key": sample.key,
            "group": sample.group,
            "media": media,
            "prompt": prompt_to_json(sample.prompt),
            "frame": sample.frame,
            "truth": _filled(asdict(sample.truth)),
            "answer": _filled(asdict(self.answer)),
            "seconds": round(self.seconds, 4),
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Answered:
        """The value of a line.

        Raises:
            KeyError: A field is missing.
            TypeError: A field is of another kind.
            ValueError: A field has a wrong value.
        """
        handle = _HANDLES[row["media"].get("kind", ByteRange.__name__)]
        files = tuple(handle(str(p), o, s) for p, o, s in row["media"].get("files", ()))
        sample = Sample(
            key=str(row["key"]),
            media=Media(files, row["media"].get("video", "")),
            prompt=prompt_from_json(row["prompt"]),
            truth=_truth(row["truth"]),
            group=str(row["group"]),
            frame=int(row["frame"]),
        )
        said = row["answer"]
        answer = Answer(
            text=said.get("text", ""),
            texts=tuple(said.get("texts", ())),
            masks=said.get("masks", {}),
            rles=tuple(said.get("rles", ())),
            frames=tuple(said.get("frames", ())),
        )
        return cls(sample, answer, float(row["seconds"]))


def prompt_from_json(row: Mapping[str, Any]) -> Prompt:
    """The prompt of its JSON form, as in results.

    Raises:
        KeyError: A field is missing, or the type is unknown.
    """
    if row["type"] == "mask":
        return Mask(decode_rle(row["mask"]))
    box = Box(*row["box"]) if "box" in row else None
    if row["type"] == "points":
        return Points([(x, y) for x, y in row["points"]], labels=row["labels"], box=box)
    if row["type"] != "box" or box is None:
        raise KeyError(row["type"])
    return box


def _truth(row: Mapping[str, Any]) -> Truth:
    quiz = tuple(
        Question(q["text"], q["kind"], tuple((c, float(v)) for c, v in q["choices"]))
        for q in row.get("quiz", ())
    )
    return Truth(
        label=row.get("label", ""),
        texts=tuple(row.get("texts", ())),
        rle=row.get("rle"),
        rles=tuple(row.get("rles", ())),
        spans=tuple(Span(s["start_s"], s["end_s"]) for s in row.get("spans", ())),
        question=row.get("question", ""),
        background=row.get("background", ""),
        quiz=quiz,
    )


def _filled(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value}
