"""The `packs` benchmark: prompted segmentation and labels on a split of the training packs.

Knows records and `Perceiver`; what it measures went through the same calls as a user's.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha1
from pathlib import Path

import numpy as np

from perceive_anything.data.lexicon import Lexicon
from perceive_anything.data.schema import ImageRecord, RegionRecord
from perceive_anything.evaluation.clicks import click_masks
from perceive_anything.evaluation.confidence import calibration_error, fit_calibration
from perceive_anything.masks import central_point, mask_area, mask_iou
from perceive_anything.pipeline import Perceiver
from perceive_anything.results import Region
from perceive_anything.sessions.image import ImageSession
from perceive_anything.tasks import RECOGNIZE, SEGMENT
from perceive_anything.types import Box, Points

MIN_MASK_PX = 32
LARGE_SHARE = 0.02
LABEL_THRESHOLD = 0.5  # a label of less fitted confidence is more likely wrong than right


@dataclass(slots=True)
class PackScores:
    """Scores by name of a pack's source.

    Attributes:
        box_iou: IoU of each region for its exact box.
        point_iou: IoU of each region for its central point.
        clicks_iou: IoU after two more clicks, each in the middle of the largest mistake.
        label_right: Whether each label is right (name, synonym, or two WordNet steps).
        large_label_right: The same for COCO instances of at least 2 % of the image, persons
            apart from the others.
        mistakes: (true label, answered label) of wrong answers.
        sureness: (confidence of a label, whether it is right) by half of the records: "fitted" may
            have served to fit the model's `label_calibration`, "held_out" never does.
    """

    box_iou: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    point_iou: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    clicks_iou: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    label_right: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    large_label_right: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    mistakes: list[tuple[str, str]] = field(default_factory=list)
    sureness: dict[str, list[tuple[float, float]]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def to_json(self) -> dict:
        """Means and counts; `all` weighs every region alike."""
        tables: dict = {}
        for name in ("box_iou", "point_iou", "clicks_iou", "label_right", "large_label_right"):
            table = getattr(self, name)
            rows = {group: _mean(values) for group, values in sorted(table.items())}
            tables[name] = {"all": _mean([v for values in table.values() for v in values]), **rows}
        tables["calibration_error"] = {
            half: round(calibration_error(*zip(*pairs, strict=True)), 4)
            for half, pairs in sorted(self.sureness.items())
        }
        return tables


def _mean(values: list[float]) -> dict[str, float]:
    return {"mean": round(float(np.mean(values)), 4) if values else 0.0, "count": len(values)}


def evaluate_packs(
    pam: Perceiver,
    records: Iterable[ImageRecord],
    lexicon: Lexicon,
    *,
    language: str = "en",
    report: Callable[[str], None] = lambda _: None,
) -> PackScores:
    """Prompt every region of the records and compare.

    Args:
        pam: The model.
        records: Records with regions; crowds and uncountable stuff are left out.
        lexicon: Decides which labels are right.
        language: Of the labels; a Chinese one is as right as the English ones it stands for.
        report: Where progress lines go.
    """
    scores = PackScores()
    for number, record in enumerate(records, start=1):
        regions = [r for r in record.regions if r.kind != "stuff"]
        if regions:
            session = pam.image(record.load())
            _score_masks(session, record, regions, scores)
            _score_labels(session, record, regions, lexicon, language, scores)
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
    scores.clicks_iou[_source(record)] += [
        mask_iou(click_masks(session, mask, (3,))[3], mask) for _, mask in masked
    ]


def _score_labels(
    session: ImageSession,
    record: ImageRecord,
    regions: list[RegionRecord],
    lexicon: Lexicon,
    language: str,
    scores: PackScores,
) -> None:
    for region, answer, right in judged_labels(session, record, regions, lexicon, language):
        half = "fitted" if serves_to_fit(record) else "held_out"
        scores.sureness[half].append((answer.label_confidence or 0.0, right))
        scores.label_right[_source(record)].append(right)
        if not right:
            scores.mistakes.append((region.label, answer.label or ""))
        mask = region.mask()
        large = mask is not None and mask.mean() >= LARGE_SHARE
        if large and record.source.startswith("COCO"):
            group = "person" if region.label == "person" else "other"
            scores.large_label_right[group].append(right)


def judged_labels(
    session: ImageSession,
    record: ImageRecord,
    regions: list[RegionRecord],
    lexicon: Lexicon,
    language: str = "en",
) -> Iterator[tuple[RegionRecord, Region, float]]:
    """Each region, the answer for its exact box, and 1 if its label is right, else 0."""
    boxes = [_box(r, record) for r in regions]
    answers = session.perceive(boxes, tasks=[RECOGNIZE], language=language)
    for region, answer in zip(regions, answers, strict=True):
        said = answer.label or ""
        names = lexicon.names_of_zh(said) if language == "zh" else {said}
        yield region, answer, float(any(lexicon.same_concept(n, region.label) for n in names))


def calibrate_labels(folder: Path, records: Iterable[ImageRecord], lexicon: Lexicon) -> list[float]:
    """Fit the confidence of a model's labels on half of the records and keep it in its folder.

    Args:
        folder: A model in our layout; its config.json is changed.
        records: Held out from training.
        lexicon: Decides which labels are right.

    Returns:
        Slope and offset, see `PamConfig.label_calibration`; the threshold is set beside them.
    """
    pam = Perceiver.from_pretrained(folder)
    pam.model.config.label_calibration = None
    pairs = []
    for record in records:
        regions = [r for r in record.regions if r.kind != "stuff"]
        if regions and serves_to_fit(record):
            judged = judged_labels(pam.image(record.load()), record, regions, lexicon)
            pairs += [(_log(answer.label_confidence), right) for _, answer, right in judged]
    fitted = [round(value, 4) for value in fit_calibration(*zip(*pairs, strict=True))]
    file = folder / "config.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    settings |= {"label_calibration": fitted, "label_threshold": LABEL_THRESHOLD}
    file.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return fitted


def _log(confidence: float | None) -> float:
    return math.log(max(confidence or 0.0, 1e-4))


def serves_to_fit(record: ImageRecord) -> bool:
    """Whether confidence may be fitted on a record: every other one, by a hash of its name."""
    return sha1(record.id.encode()).digest()[-1] % 2 == 0


def _box(region: RegionRecord, record: ImageRecord) -> Box:
    x1, y1, x2, y2 = region.box_xyxy
    width, height = record.size_wh
    return Box(max(x1, 0), max(y1, 0), min(x2, width), min(y2, height))
