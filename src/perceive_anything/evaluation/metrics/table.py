"""Every metric by the name that --metrics takes."""

from __future__ import annotations

from perceive_anything.evaluation.metrics import captions, judged, labels, masks
from perceive_anything.evaluation.metrics.scores import Metric

__all__ = ["JUDGED", "METRICS"]

METRICS: dict[str, Metric] = {
    "similarity": labels.similarity,
    "semantic_iou": labels.semantic_iou,
    "exact": labels.exact,
    "concept": labels.concept,
    "ocr": labels.ocr,
    "meteor": captions.meteor,
    "cider": captions.cider,
    "rouge_l": captions.rouge_l,
    "cider_words": captions.cider_words,
    "iou": masks.iou,
    "jf": masks.j_and_f,
    "ferret": judged.ferret,
    "mdvp": judged.mdvp,
    "videorefer": judged.videorefer,
    "quiz": judged.quiz,
    "g_stdc": judged.continuity,
}
# Those that ask a judge.
JUDGED = frozenset({"ferret", "mdvp", "videorefer", "quiz", "g_stdc"})
