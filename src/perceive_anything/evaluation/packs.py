"""The `packs` benchmark: prompted segmentation and labels on a split of the training packs.

Knows records and `Perceiver`; what it measures went through the same calls as a user's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from perceive_anything.data.lexicon import Lexicon
from perceive_anything.data.schema import ImageRecord, RegionRecord
from perceive_anything.masks import central_point, mask_area, mask_iou
from perceive_anything.pipeline import Perceiver
from perceive_anything.sessions.image import ImageSession
from perceive_anything.tasks import RECOGNIZE, SEGMENT
from perceive_anything.types import Box, Points

MIN_MASK_PX = 32
LARGE_SHARE = 0.02


@dataclass(slots=True)
class PackScores:
    """Scores by name of a pack's source.

    Attributes:
        box_iou: IoU of each region for its exact box.
        point_iou: IoU of each region for its central point.
        label_right: Whether each label is right (name, synonym, or two WordNet steps).
        large_label_right: The same for COCO instances of at least 2 % of the image, persons
            apart from the others.
        mistakes: (true label, answered label) of wrong answers.
    """

    box_iou: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    point_iou: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    label_right: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    large_label_right: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    mistakes: list[tuple[str, str]] = field(default_factory=list)

    def to_json(self) -> dict:
        """Means and counts; `all` weighs every region alike."""
        tables = {}
        for name in ("box_iou", "point_iou", "label_right", "large_label_right"):
            table = getattr(self, name)
            rows = {group: _mean(values) for group, values in sorted(table.items())}
            tables[name] = {"all": _mean([v for values in table.values() for v in values]), **rows}
        return tables


def _mean(values: list[float]) -> dict[str, float]:
    return {"mean": round(float(np.mean(values)), 4) if values else 0.0, "count": len(values)}


def evaluate_packs(
    pam: Perceiver,
    records: Iterable[ImageRecord],
    lexicon: Lexicon,
    *,
    report: Callable[[str], None] = lambda _: None,
) -> PackScores:
    """Prompt every region of the records and compare.

    Args:
        pam: The model.
        records: Records with regions; crowds and uncountable stuff are left out.
        lexicon: Decides which labels are right.
        report: Where progress lines go.
    """
    scores = PackScores()
    for number, record in enumerate(records, start=1):
        regions = [r for r in record.regions if r.kind != "stuff"]
        if regions:
            session = pam.image(record.load())
            _score_masks(session, record, regions, scores)
            _score_labels(session, record, regions, lexicon, scores)
        if number % 20 == 0:
            report(f"{number} images")
    return scores


def _source(record: ImageRecord) -> str:
    return record.source.split(" (")[0]


def _score_masks(
    session: ImageSession, record: ImageRecord, regions: list[RegionRecord], scores: PackScores
) -> None:
    masked = [(r, mask) for r in regions if (mask := r.mask()) is not None]
    masked = [(r, mask) for r, mask in masked if mask_area(mask) >= MIN_MASK_PX]
    if not masked:
        return
    boxes = [_box(region, record) for region, _ in masked]
    points = [Points([central_point(mask)]) for _, mask in masked]
    for name, prompts in (("box_iou", boxes), ("point_iou", points)):
        answers = session.perceive(prompts, tasks=[SEGMENT])
        ious = [mask_iou(a.mask, mask) for a, (_, mask) in zip(answers, masked, strict=True)]
        getattr(scores, name)[_source(record)] += ious


def _score_labels(
    session: ImageSession,
    record: ImageRecord,
    regions: list[RegionRecord],
    lexicon: Lexicon,
    scores: PackScores,
) -> None:
    answers = session.perceive([_box(r, record) for r in regions], tasks=[RECOGNIZE])
    for region, answer in zip(regions, answers, strict=True):
        right = lexicon.same_concept(answer.label or "", region.label)
        scores.label_right[_source(record)].append(float(right))
        if not right:
            scores.mistakes.append((region.label, answer.label or ""))
        mask = region.mask()
        large = mask is not None and mask.mean() >= LARGE_SHARE
        if large and record.source.startswith("COCO"):
            group = "person" if region.label == "person" else "other"
            scores.large_label_right[group].append(float(right))


def _box(region: RegionRecord, record: ImageRecord) -> Box:
    x1, y1, x2, y2 = region.box_xyxy
    width, height = record.size_wh
    return Box(max(x1, 0), max(y1, 0), min(x2, width), min(y2, height))
