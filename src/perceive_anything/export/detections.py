"""Regions as `supervision.Detections`, the type of its annotators, trackers and metrics.

supervision is imported when it is needed, as it takes a second.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from perceive_anything.export.answers import TEXT_FIELDS
from perceive_anything.export.records import UNNAMED_CATEGORY

if TYPE_CHECKING:
    import numpy.typing as npt
    import supervision


def to_detections(
    *,
    masks: Sequence[npt.NDArray[np.bool_]],
    boxes_xyxy: Sequence[tuple[int, int, int, int]],
    scores: Sequence[float],
    texts: Sequence[Mapping[str, str | None]],
    label_confidences: Sequence[float | None] | None = None,
    uncertain: Sequence[bool] | None = None,
) -> supervision.Detections:
    """Regions as `supervision.Detections`; texts are in `data`, labels also as `class_name`.

    Args:
        masks: Boolean (H, W), one a region.
        boxes_xyxy: Box of each mask in pixels, x2 and y2 exclusive.
        scores: 0..1, one a region.
        texts: Text by field name, one mapping a region.
        label_confidences: 0..1, None without a label; nan in `data`.
        uncertain: Whether each label is in doubt.

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
    sure = label_confidences or [None] * len(masks)
    data["label_confidence"] = np.array([np.nan if one is None else one for one in sure])
    data["uncertain"] = np.array(uncertain or [False] * len(masks), dtype=bool)
    data["class_name"] = np.array([text.get("label") or UNNAMED_CATEGORY for text in texts])
    return sv.Detections(
        xyxy=np.array(boxes_xyxy, dtype=np.float32).reshape(-1, 4),
        mask=np.stack(list(masks)),
        confidence=np.array(scores, dtype=np.float32),
        class_id=np.zeros(len(masks), dtype=int),
        data=data,
    )
