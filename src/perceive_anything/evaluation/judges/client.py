"""A judge behind any OpenAI-compatible address, by the official client.

Knows how to ask and how to read the reply. Address and key come from the environment
(OPENAI_BASE_URL, OPENAI_API_KEY). Refuses to know what is judged.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from perceive_anything.errors import ModelError, require_package
from perceive_anything.evaluation.judges.judge import Case, Points, Rubric

__all__ = ["OpenAIJudge"]

ATTEMPTS = 3  # for a reply that is no valid grade; the client itself repeats lost requests
TIMEOUT_S = 120.0


class OpenAIJudge:
    """Asks a model for a JSON object of grades.

    Args:
        model: Its name at the address.

    Raises:
        MissingExtraError: The package openai is not installed.
        ModelError: The environment holds no key.
    """

    sees, note = True, ""

    def __init__(self, model: str) -> None:
        self.name = model
        self._openai = require_package("openai", extra="eval")
        try:
            self._client = self._openai.OpenAI(timeout=TIMEOUT_S)
        except self._openai.OpenAIError as error:
            raise ModelError(
                "the judge needs a key in OPENAI_API_KEY.\n"
                "  Set it, and OPENAI_BASE_URL for another address than OpenAI's (a local server "
                "takes any key), or use --judge offline.",
                code="judge_failed",
            ) from error

    def judge(self, rubric: Rubric, case: Case) -> Points | None:
        """Points by name, or None if no reply was a valid one.

        Raises:
            ModelError: The address cannot be reached or refuses.
        """
        content: list[dict[str, Any]] = [{"type": "text", "text": rubric.prompt(case)}]
        if rubric.shows_picture and case.picture:
            url = "data:image/png;base64," + base64.b64encode(case.picture).decode()
            content.append({"type": "image_url", "image_url": {"url": url}})
        for _ in range(ATTEMPTS):
            points = read_points(self._ask(content), rubric.points)
            if points is not None:
                return points
        return None

    def _ask(self, content: list[dict[str, Any]]) -> str:
        try:
            reply = self._client.chat.completions.create(
                model=self.name,
                messages=[{"role": "user", "content": content}],
                temperature=0.0,
            )
        except self._openai.OpenAIError as error:
            raise ModelError(
                f'the judge "{self.name}" at {self._client.base_url} does not answer: {error}.\n'
                "  What it said before is kept; check OPENAI_BASE_URL, OPENAI_API_KEY and the "
                "model's name, then run `perceive eval score FILE` again, or use --judge offline.",
                code="judge_failed",
            ) from error
        return (reply.choices[0].message.content if reply.choices else None) or ""


def read_points(reply: str, expected: Mapping[str, tuple[float, float]]) -> Points | None:
    """The grades of a reply, which may have words around its JSON object.

    Args:
        reply: What the judge wrote.
        expected: Names and ranges.

    Returns:
        A number within its range for every name, or None.
    """
    start = reply.find("{")
    if start < 0:
        return None
    try:
        found, _ = json.JSONDecoder().raw_decode(reply[start:])
        points = {name: float(found[name]) for name in expected}
    except (ValueError, KeyError, TypeError):
        return None
    inside = all(low <= points[name] <= high for name, (low, high) in expected.items())
    return points if inside else None
