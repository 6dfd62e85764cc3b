"""What a teacher has to write: the shapes of its replies.

Knows JSON and its fields. Refuses to know whether a text is good.
"""

from __future__ import annotations

import re

from pydantic import BaseModel, ConfigDict, Field, ValidationError

_FENCE = re.compile(r"^\s*```(?:json)?\s*(\{.*\})\s*```\s*$", re.DOTALL)


class Answer(BaseModel):
    """Base of all replies: no field more, none less."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    def texts(self) -> dict[str, str]:
        """The texts by name."""
        return {name: text for name, text in self.model_dump().items() if isinstance(text, str)}


class RegionAnswer(Answer):
    """Texts of a region of a picture."""

    label: str = Field(min_length=1, max_length=60)
    definition: str = Field(min_length=1)
    function: str
    attributes: tuple[str, ...] = Field(max_length=12)
    caption: str = Field(min_length=1)
    description: str = Field(min_length=1)


class TrackAnswer(Answer):
    """Texts of an object of a clip."""

    label: str = Field(min_length=1, max_length=60)
    caption: str = Field(min_length=1)


class EventAnswer(Answer):
    """What an object does in a part of a stream."""

    caption: str = Field(min_length=1)


class Span(Answer):
    """A part of a stream in seconds."""

    start_s: float = Field(ge=0)
    end_s: float = Field(gt=0)


class SpansAnswer(Answer):
    """The parts of a stream."""

    events: tuple[Span, ...] = Field(min_length=1, max_length=200)


def parse_answer(text: str, kind: type[Answer]) -> Answer | str:
    """A reply as an object, or in one line what is wrong with it.

    Args:
        text: The reply; a fence of three backticks around the JSON is allowed.
        kind: What it should be.
    """
    fenced = _FENCE.match(text)
    try:
        return kind.model_validate_json(fenced[1] if fenced else text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        return f"{place}: {first['msg']}" if place else first["msg"]
