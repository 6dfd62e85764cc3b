"""What stands in for a judge model where there is none: it counts words that two texts share.

Its numbers say a little about a model's progress, and nothing in comparison with judge models.
"""

from __future__ import annotations

import re

from perceive_anything.evaluation.captions import words
from perceive_anything.evaluation.judges.judge import Case, Points, Rubric

__all__ = ["OfflineJudge"]

# fmt: off
STOP = frozenset((
    "a", "an", "and", "are", "as", "at", "be", "by", "for", "from", "has", "in", "is", "it", "its",
    "of", "on", "or", "that", "the", "their", "this", "to", "was", "were", "which", "with",
))
# fmt: on
NUMBERED = re.compile(r"^\d+\. ", re.MULTILINE)


class OfflineJudge:
    """Words in common, without any model and without pictures."""

    name = "offline word overlap (no judge model)"
    sees = False
    note = "text only, no judge model: not comparable with published numbers"

    def judge(self, rubric: Rubric, case: Case) -> Points | None:
        """Points from precision and recall of the content words."""
        if rubric.name == "quiz":
            return {"choice": float(_choice(case))}
        found, wanted = _content(case.answer), _content(case.reference)
        shared = len(found & wanted)
        precision, recall = shared / max(1, len(found)), shared / max(1, len(wanted))
        f1 = 2 * precision * recall / (precision + recall) if shared else 0.0
        share = {
            "reference": 1.0,
            "appearance": recall,
            "temporal": recall,
            "hallucination": precision,
        }
        return {
            name: low + (high - low) * share.get(name, f1)
            for name, (low, high) in rubric.points.items()
        }


def _choice(case: Case) -> int:
    """The choice that shares most of its words with the description; the last one if none does.

    "Yes" of a plain yes or no is chosen if the description holds a word of what the question names
    behind its colon.
    """
    asked, *choices = NUMBERED.split(case.question)
    said = _content(case.answer)
    if [choice.strip() for choice in choices] == ["Yes", "No"]:
        return 1 if said & _content(asked.rpartition(":")[2]) else 2
    shares = [len(said & (own := _content(choice))) / max(1, len(own)) for choice in choices]
    return shares.index(max(shares)) + 1 if any(shares) else len(choices)


def _content(text: str) -> set[str]:
    return set(words(text).split()) - STOP
