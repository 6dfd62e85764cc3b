"""What a judge is asked and what it gives: rubrics, cases, points.

Knows no model and no file of a benchmark. The prompts are files of the package, `prompts/*.txt`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from string import Template
from typing import Protocol

__all__ = ["RUBRICS", "Case", "Judge", "Points", "Rubric"]

Points = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Rubric:
    """How an answer is judged.

    Attributes:
        name: Of the rubric; its prompt is `prompts/NAME.txt`.
        points: The lowest and highest number by the name of what is judged.
        shows_picture: Whether the judge sees the picture with the region marked.
    """

    name: str
    points: Mapping[str, tuple[float, float]]
    shows_picture: bool = False

    def prompt(self, case: Case) -> str:
        """The whole text for a case."""
        folder = files("perceive_anything.evaluation.judges") / "prompts"
        text = (folder / f"{self.name}.txt").read_text(encoding="utf-8")
        return Template(text).substitute(
            question=case.question,
            background=case.background or "(nothing)",
            reference=case.reference,
            answer=case.answer or "(nothing)",
        )


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to be judged.

    Attributes:
        question: What was asked, or the choices of a multiple-choice question.
        reference: What a good answer says.
        answer: What the model said.
        background: What is known of the picture, as text.
        picture: PNG of the picture with the region marked, for rubrics that show it.
    """

    question: str
    reference: str
    answer: str
    background: str = ""
    picture: bytes = b""


class Judge(Protocol):
    """Gives points.

    Attributes:
        name: What reports call it.
        sees: Whether it can look at pictures.
        note: What a reader of its numbers must know; "" for a judge model.
    """

    name: str
    sees: bool
    note: str

    def judge(self, rubric: Rubric, case: Case) -> Points | None:
        """Points by name, or None if no valid ones could be had."""


_TEN, _FIVE = (1.0, 10.0), (0.0, 5.0)
RUBRICS = {
    rubric.name: rubric
    for rubric in (
        Rubric("ferret", {"reference": _TEN, "answer": _TEN}),
        Rubric("mdvp", {"reference": _TEN, "answer": _TEN}, shows_picture=True),
        Rubric(
            "videorefer",
            {name: _FIVE for name in ("subject", "appearance", "temporal", "hallucination")},
        ),
        Rubric("continuity", {"continuity": _FIVE}),
        Rubric("quiz", {"choice": (1.0, 26.0)}),
    )
}
