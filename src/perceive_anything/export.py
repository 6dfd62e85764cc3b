"""Regions as other people's formats: our result JSON, COCO, supervision.

Takes prompts, arrays, boxes and texts; knows no Region class, no file and no model.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from perceive_anything.masks import encode_rle, mask_area
from perceive_anything.tasks import TASK_FIELD
from perceive_anything.types import Box, Mask, Points, Prompt

if TYPE_CHECKING:
    import numpy.typing as npt
    import supervision

RESULT_SCHEMA = "perceive.result/1"
RESULTS_SCHEMA = "perceive.results/1"
TEXT_FIELDS: tuple[str, ...] = tuple(TASK_FIELD.values())
UNNAMED_CATEGORY = "region"


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


def region_to_json(
    *,
    region_id: int,
    prompt: Prompt,
    mask: npt.NDArray[np.bool_],
    box_xyxy: tuple[int, int, int, int],
    score: float,
    texts: Mapping[str, str | None],
) -> dict[str, Any]:
    """One entry of "regions"; texts that were not asked for are left out.

    Args:
        region_id: Position of the prompt in its call.
        prompt: The prompt that made this region.
        mask: Boolean (H, W).
        box_xyxy: Box of the mask in pixels, x2 and y2 exclusive.
        score: 0..1.
        texts: Text by field name (`label`, `explanation`, `caption`, `description`).

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


def region_to_coco(
    *,
    region_id: int,
    mask: npt.NDArray[np.bool_],
    box_xyxy: tuple[int, int, int, int],
    score: float,
    texts: Mapping[str, str | None],
    image_id: int = 1,
    category_id: int = 1,
) -> dict[str, Any]:
    """One COCO annotation: exclusive xywh box, RLE segmentation, our texts beside them.

    Args:
        region_id: Becomes the annotation id, counted from 1 as COCO tools expect.
        mask: Boolean (H, W).
        box_xyxy: Box of the mask in pixels, x2 and y2 exclusive.
        score: 0..1.
        texts: Text by field name.
        image_id: COCO id of the image.
        category_id: COCO id of the category.

    Returns:
        A dict that pycocotools reads.
    """
    x1, y1, x2, y2 = (int(value) for value in box_xyxy)
    annotation: dict[str, Any] = {
        "id": region_id + 1,
        "image_id": image_id,
        "category_id": category_id,
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": int(mask_area(mask)),
        "segmentation": encode_rle(mask),
        "iscrowd": 0,
        "score": round(float(score), 4),
    }
    annotation.update({name: text for name, text in texts.items() if text is not None})
    return annotation


def coco_dataset(
    *,
    source: str,
    size_wh: tuple[int, int],
    annotations: Sequence[Mapping[str, Any]],
    image_id: int = 1,
) -> dict[str, Any]:
    """A COCO data set of one image; categories are the distinct labels in order of appearance.

    Args:
        source: File name of the image.
        size_wh: Width and height in pixels.
        annotations: Annotations made by `region_to_coco`; their category ids are set here.
        image_id: COCO id of the image.

    Returns:
        A dict with "images", "annotations" and "categories".
    """
    names: dict[str, int] = {}
    listed = []
    for annotation in annotations:
        name = annotation.get("label") or UNNAMED_CATEGORY
        category_id = names.setdefault(name, len(names) + 1)
        listed.append({**annotation, "category_id": category_id})
    width, height = size_wh
    return {
        "images": [{"id": image_id, "file_name": source, "width": width, "height": height}],
        "annotations": listed,
        "categories": [{"id": number, "name": name} for name, number in names.items()],
    }


def to_detections(
    *,
    masks: Sequence[npt.NDArray[np.bool_]],
    boxes_xyxy: Sequence[tuple[int, int, int, int]],
    scores: Sequence[float],
    texts: Sequence[Mapping[str, str | None]],
) -> supervision.Detections:
    """Regions as `supervision.Detections`; texts are in `data`, labels also as `class_name`.

    Args:
        masks: Boolean (H, W), one a region.
        boxes_xyxy: Box of each mask in pixels, x2 and y2 exclusive.
        scores: 0..1, one a region.
        texts: Text by field name, one mapping a region.

    Returns:
        Detections in the order of the regions; empty ones when there are none.
    """
    with warnings.catch_warnings():  # supervision warns that OpenCV is absent; doctor says so
        warnings.simplefilter("ignore", UserWarning)
        import supervision as sv
    if not masks:
        return sv.Detections.empty()
    data: dict[str, Any] = {
        name: np.array([text.get(name) or "" for text in texts]) for name in TEXT_FIELDS
    }
    data["class_name"] = np.array([text.get("label") or UNNAMED_CATEGORY for text in texts])
    return sv.Detections(
        xyxy=np.array(boxes_xyxy, dtype=np.float32).reshape(-1, 4),
        mask=np.stack(list(masks)),
        confidence=np.array(scores, dtype=np.float32),
        class_id=np.zeros(len(masks), dtype=int),
        data=data,
    )


def _labels(prompt: Points) -> tuple[int, ...]:
    return (1,) * len(prompt.xy) if prompt.labels is None else tuple(prompt.labels)


def _box_numbers(box: Box) -> list[float]:
    return [_number(value) for value in (box.x1, box.y1, box.x2, box.y2)]


def _number(value: float) -> float:
    """Whole pixels print as integers, as people wrote them."""
    value = float(value)
    return int(value) if value.is_integer() else value
