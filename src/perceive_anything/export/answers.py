"""Our own formats: JSON of results, videos and a stream's events; prompts as JSON and back.

Takes prompts, arrays, boxes and texts; knows no Region class, no file and no model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from perceive_anything.errors import PromptError
from perceive_anything.masks import decode_rle, encode_rle
from perceive_anything.tasks import TASK_FIELD
from perceive_anything.types import Box, Mask, Points, Prompt

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

RESULT_SCHEMA = "perceive.result/1"
RESULTS_SCHEMA = "perceive.results/1"
EVENT_SCHEMA = "perceive.event/1"
TEXT_FIELDS: tuple[str, ...] = tuple(TASK_FIELD.values())


def prompt_to_json(prompt: Prompt) -> dict[str, Any]:
    """The JSON form of a prompt, as it stands in a result.

    Args:
        prompt: A `Box`, `Points` or `Mask` in pixels.

    Returns:
        A dict with "type" and the values of that type; masks as COCO RLE.

    Raises:
        TypeError: The value is no prompt.

    Example:
        >>> prompt_to_json(Box(1, 2, 3, 4.5))
        {'type': 'box', 'box': [1, 2, 3, 4.5]}
    """
    if isinstance(prompt, Box):
        return {"type": "box", "box": _box_numbers(prompt)}
    if isinstance(prompt, Points):
        points: dict[str, Any] = {
            "type": "points",
            "points": [[_number(x), _number(y)] for x, y in prompt.xy],
            "labels": [int(label) for label in _labels(prompt)],
        }
        if prompt.box is not None:
            points["box"] = _box_numbers(prompt.box)
        return points
    if isinstance(prompt, Mask):
        return {"type": "mask", "mask": encode_rle(prompt.array)}
    raise TypeError(f"a prompt is a Box, Points or Mask, got {type(prompt).__name__}")


def prompt_from_json(entry: Mapping[str, Any]) -> Prompt:
    """The prompt that `prompt_to_json` made this of.

    Args:
        entry: A dict with "type".

    Raises:
        PromptError: It is no prompt.

    Example:
        >>> prompt_from_json({"type": "box", "box": [1, 2, 3, 4.5]})
        Box(x1=1.0, y1=2.0, x2=3.0, y2=4.5)
    """
    kind = entry.get("type")
    if kind == "box":
        return Box(*entry["box"])
    if kind == "points":
        around = Box(*entry["box"]) if "box" in entry else None
        return Points(entry["points"], labels=entry["labels"], box=around)
    if kind == "mask":
        return Mask(decode_rle(entry["mask"]))
    raise PromptError(
        f"a prompt is of type {kind!r}.\n  Expected box, points or mask.", code="prompt_syntax"
    )


def region_to_json(
    *,
    region_id: int,
    prompt: Prompt,
    mask: npt.NDArray[np.bool_],
    box_xyxy: tuple[int, int, int, int],
    score: float,
    texts: Mapping[str, str | None],
    label_confidence: float | None = None,
    uncertain: bool = False,
    log_probabilities: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """One entry of "regions"; texts that were not asked for are left out.

    Args:
        region_id: Position of the prompt in its call.
        prompt: The prompt that made this region.
        mask: Boolean (H, W).
        box_xyxy: Box of the mask in pixels, x2 and y2 exclusive.
        score: 0..1.
        texts: Text by field name (`label`, `explanation`, `caption`, `description`).
        label_confidence: 0..1, None without a label.
        uncertain: Whether the label is in doubt; not said without a confidence.
        log_probabilities: Mean log-probability of the tokens of each text by field name.

    Returns:
        The object that docs/result.schema.json calls "region".
    """
    entry: dict[str, Any] = {
        "id": region_id,
        "prompt": prompt_to_json(prompt),
        "box": [int(value) for value in box_xyxy],
        "mask": encode_rle(mask),
        "score": round(float(score), 4),
    }
    entry.update({name: text for name, text in texts.items() if text is not None})
    if label_confidence is not None:
        entry["label_confidence"] = round(float(label_confidence), 4)
        entry["uncertain"] = bool(uncertain)
    if log_probabilities:
        entry["log_probability"] = {
            name: round(float(value), 4) for name, value in log_probabilities.items()
        }
    return entry


def result_to_json(
    *,
    source: str,
    size_wh: tuple[int, int],
    model: str,
    language: str,
    regions: Sequence[Mapping[str, Any]],
    timing_s: Mapping[str, float],
) -> dict[str, Any]:
    """One image's answer as the object of `--json`.

    Args:
        source: Where the image came from.
        size_wh: Width and height in pixels.
        model: Name of the model that answered.
        language: "en" or "zh".
        regions: Entries made by `region_to_json`.
        timing_s: Seconds by stage.

    Returns:
        The object that docs/result.schema.json calls "result".
    """
    return {
        "schema": RESULT_SCHEMA,
        "source": source,
        "size": {"width": int(size_wh[0]), "height": int(size_wh[1])},
        "model": model,
        "language": language,
        "regions": [dict(region) for region in regions],
        "timing_s": {stage: round(float(spent), 4) for stage, spent in timing_s.items()},
    }


def sighting_to_json(
    *,
    box_xyxy: tuple[int, int, int, int],
    rle: Mapping[str, Any],
    score: float,
    visible: bool,
) -> dict[str, Any]:
    """What is seen of a region on one frame, as it stands in tracks and in frame events.

    Args:
        box_xyxy: Box of the mask in pixels, x2 and y2 exclusive; zeros if it is absent.
        rle: COCO RLE of the mask.
        score: 0..1.
        visible: Whether the region is on the frame.

    Returns:
        A dict with "box", "mask", "score" and "visible".
    """
    return {
        "box": [int(value) for value in box_xyxy],
        "mask": dict(rle),
        "score": round(float(score), 4),
        "visible": bool(visible),
    }


def video_to_json(
    *,
    source: str,
    size_wh: tuple[int, int],
    fps: float,
    num_frames: int,
    model: str,
    language: str,
    regions: Sequence[Mapping[str, Any]],
    timing_s: Mapping[str, float],
) -> dict[str, Any]:
    """A video's answer as the object of `--json`: an image's with "fps" and "frames".

    Args:
        source: Where the video came from.
        size_wh: Width and height in pixels.
        fps: Frames a second.
        num_frames: Frames of the video.
        model: Name of the model that answered.
        language: "en" or "zh".
        regions: Entries of `region_to_json` with "track".
        timing_s: Seconds by stage.

    Returns:
        The object that docs/result.schema.json calls "result".
    """
    fields = result_to_json(
        source=source,
        size_wh=size_wh,
        model=model,
        language=language,
        regions=regions,
        timing_s=timing_s,
    )
    head = {name: fields.pop(name) for name in ("schema", "source", "size")}
    return {**head, "fps": round(float(fps), 4), "frames": int(num_frames), **fields}


def event_line(kind: str, time_s: float, **fields: object) -> dict[str, Any]:
    """One line of `--jsonl` of a stream.

    Args:
        kind: "frame", "caption" or "end".
        time_s: Seconds since the start of the stream.
        fields: The rest of the line.

    Returns:
        The object that docs/event.schema.json describes.
    """
    return {"schema": EVENT_SCHEMA, "type": kind, "time_s": round(float(time_s), 4), **fields}


def _labels(prompt: Points) -> tuple[int, ...]:
    return (1,) * len(prompt.xy) if prompt.labels is None else tuple(prompt.labels)


def _box_numbers(box: Box) -> list[float]:
    return [_number(value) for value in (box.x1, box.y1, box.x2, box.y2)]


def _number(value: float) -> float:
    """Whole pixels print as integers, as people wrote them."""
    value = float(value)
    return int(value) if value.is_integer() else value
