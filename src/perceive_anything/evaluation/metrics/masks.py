"""Masks against masks: mIoU by kind of prompt, and J, F and J&F of tracks as DAVIS counts them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean

from perceive_anything.evaluation.metrics.scores import Helpers, Score, mean_score
from perceive_anything.evaluation.samples import Answered
from perceive_anything.evaluation.tracking import boundary_accuracy, region_similarity
from perceive_anything.masks import BoolMask, decode_rle, mask_iou

__all__ = ["iou", "j_and_f"]

NAMES = {
    "box": "box mIoU",
    "click_1": "1 click mIoU",
    "click_3": "3 clicks mIoU",
    "click_5": "5 clicks mIoU",
}


def iou(answered: Sequence[Answered], helpers: Helpers) -> list[Score]:
    """Mean IoU of all regions for their box and after 1, 3 and 5 clicks, in per cent."""
    each: dict[str, list[float | None]] = {kind: [] for kind in NAMES}
    for line in answered:
        rle = line.sample.truth.rle
        for kind in NAMES:
            said = line.answer.masks.get(kind)
            if rle is None or said is None:
                each[kind].append(None)
                continue
            both = decode_rle(said), decode_rle(rle)
            each[kind].append(100 * mask_iou(*both))
    return [mean_score(NAMES[kind], values) for kind, values in each.items()]


def j_and_f(answered: Sequence[Answered], helpers: Helpers) -> list[Score]:
    """J&F, J and F, in per cent.

    Frames count that lie between the one that is pointed at and the last one, as in DAVIS 2017
    (semi-supervised); then objects are averaged, each counting alike.
    """
    j = [_mean_of_frames(line, region_similarity) for line in answered]
    f = [_mean_of_frames(line, boundary_accuracy) for line in answered]
    both = [None if a is None or b is None else (a + b) / 2 for a, b in zip(j, f, strict=True)]
    return [mean_score(name, each) for name, each in (("J&F", both), ("J", j), ("F", f))]


def _mean_of_frames(line: Answered, measure: Callable[[BoolMask, BoolMask], float]) -> float | None:
    truth, said = line.sample.truth.rles, line.answer.rles
    frames = range(line.sample.frame + 1, len(truth) - 1)
    pairs = [(said[t], wanted) for t in frames if (wanted := truth[t]) is not None]
    values = [100 * measure(decode_rle(one), decode_rle(other)) for one, other in pairs]
    return fmean(values) if values else None
