"""Regions as other people's formats: our result and event JSON, COCO, YouTube-VIS, supervision.

Takes prompts, arrays, boxes and texts; knows no Region class, no file and no model.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from perceive_anything.masks import decode_rle, encode_rle, mask_area
from perceive_anything.tasks import TASK_FIELD
from perceive_anything.types import Box, Mask, Points, Prompt

if TYPE_CHECKING:
    import numpy.typing as npt
    import supervision

RESULT_SCHEMA = "perceive.result/1"
RESULTS_SCHEMA = "perceive.results/1"
EVENT_SCHEMA = "perceive.event/1"
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
    annotation: dict[str, Any] = {
        "id": region_id + 1,
        "image_id": image_id,
        "category_id": category_id,
        "bbox": _xywh(box_xyxy),
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
    listed, categories = _categorised(annotations)
    width, height = size_wh
    return {
        "images": [{"id": image_id, "file_name": source, "width": width, "height": height}],
        "annotations": listed,
        "categories": categories,
    }


def track_to_ytvis(
    *,
    track_id: int,
    rles: Mapping[int, Mapping[str, Any]],
    boxes_xyxy: Mapping[int, tuple[int, int, int, int]],
    size_wh: tuple[int, int],
    num_frames: int,
    score: float,
    texts: Mapping[str, str | None],
    video_id: int = 1,
) -> dict[str, Any]:
    """One annotation in the form of YouTube-VIS: lists with an entry for each frame of the video.

    Args:
        track_id: Becomes the annotation id, counted from 1 as COCO tools expect.
        rles: COCO RLE by number of the frame, of the frames on which the region is visible.
        boxes_xyxy: Box in pixels, x2 and y2 exclusive, of at least these frames.
        size_wh: Width and height in pixels.
        num_frames: Frames of the video.
        score: 0..1.
        texts: Text by field name.
        video_id: Id of the video.

    Returns:
        A dict whose "segmentations" pycocotools decodes, with exclusive xywh "bboxes".
    """
    segmentations = [dict(rles[i]) if i in rles else None for i in range(num_frames)]
    corners = [boxes_xyxy[i] if i in rles else None for i in range(num_frames)]
    annotation: dict[str, Any] = {
        "id": track_id + 1,
        "video_id": video_id,
        "category_id": 1,
        "width": int(size_wh[0]),
        "height": int(size_wh[1]),
        "length": num_frames,
        "segmentations": segmentations,
        "bboxes": [_xywh(box) if box else None for box in corners],
        "areas": [mask_area(decode_rle(rle)) if rle else None for rle in segmentations],
        "iscrowd": 0,
        "score": round(float(score), 4),
    }
    annotation.update({name: text for name, text in texts.items() if text is not None})
    return annotation


def ytvis_dataset(
    *,
    source: str,
    size_wh: tuple[int, int],
    num_frames: int,
    annotations: Sequence[Mapping[str, Any]],
    video_id: int = 1,
) -> dict[str, Any]:
    """A YouTube-VIS data set of one video; its categories are the distinct labels, as in COCO.

    Args:
        source: The video; its frames are named as that data set names extracted ones.
        size_wh: Width and height in pixels.
        num_frames: Frames of the video.
        annotations: Annotations made by `track_to_ytvis`; their category ids are set here.
        video_id: Id of the video.

    Returns:
        A dict with "videos", "annotations" and "categories".
    """
    listed, categories = _categorised(annotations)
    stem = PurePath(source).stem
    video = {
        "id": video_id,
        "width": int(size_wh[0]),
        "height": int(size_wh[1]),
        "length": num_frames,
        "file_names": [f"{stem}/{index:05d}.jpg" for index in range(num_frames)],
    }
    return {"videos": [video], "annotations": listed, "categories": categories}


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


def _categorised(
    annotations: Sequence[Mapping[str, Any]],
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The annotations with category ids, and the categories."""
    names: dict[str, int] = {}
    listed = []
    for annotation in annotations:
        name = annotation.get("label") or UNNAMED_CATEGORY
        category_id = names.setdefault(name, len(names) + 1)
        listed.append({**annotation, "category_id": category_id})
    return listed, [{"id": number, "name": name} for name, number in names.items()]


def _xywh(box_xyxy: tuple[int, int, int, int]) -> list[int]:
    x1, y1, x2, y2 = (int(value) for value in box_xyxy)
    return [x1, y1, x2 - x1, y2 - y1]


def _labels(prompt: Points) -> tuple[int, ...]:
    return (1,) * len(prompt.xy) if prompt.labels is None else tuple(prompt.labels)


def _box_numbers(box: Box) -> list[float]:
    return [_number(value) for value in (box.x1, box.y1, box.x2, box.y2)]


def _number(value: float) -> float:
    """Whole pixels print as integers, as people wrote them."""
    value = float(value)
    return int(value) if value.is_integer() else value
