"""The teacher: whoever answers a request of pictures and words with JSON.

Knows requests, replies, retries with the reason, and the cache that pays nothing twice. Refuses to
know endpoints and prices.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

from perceive_anything.data.schema import ImageRecord, RegionRecord
from perceive_anything.engine.answers import Answer, parse_answer
from perceive_anything.engine.jobs import Dropped
from perceive_anything.engine.store import PaidReply
from perceive_anything.errors import PerceiveError

A = TypeVar("A", bound=Answer)
WAIT_S = 0.05  # between two looks for a reply that somebody else is asking for


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known without asking; the offline teacher composes from it, others never see it.

    Attributes:
        record: The picture, or the best frame of the clip.
        region: Its region.
        story: What the object does, by language, in words; "" for a picture.
        spans: Parts of a stream in seconds.
    """

    record: ImageRecord
    region: RegionRecord
    story: Mapping[str, str] = field(default_factory=dict)
    spans: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """What a teacher is asked.

    Attributes:
        language: Of the reply.
        system: Who the teacher is and what is data.
        text: The question.
        picture: JPEG.
        answer: Shape of the reply.
        facts: See `Facts`; not part of the key.
        sample: Number of the sample; equal questions of other samples are other requests.
        earlier: Replies that could not be used, each with what the teacher was told of it.
    """

    language: str
    system: str
    text: str
    picture: bytes
    answer: type[Answer]
    facts: Facts
    sample: int = 0
    earlier: tuple[tuple[str, str], ...] = ()

    def key(self, teacher: str) -> str:
        """Hash of everything that the teacher is sent.

        Args:
            teacher: Name and settings of the teacher.
        """
        told = [teacher, self.language, self.system, self.text, self.answer.__name__]
        whole = json.dumps([*told, self.sample, self.earlier], ensure_ascii=False)
        return hashlib.sha256(whole.encode("utf-8", "surrogatepass") + self.picture).hexdigest()


class Teacher(Protocol):
    """Writes a reply to a request; safe for many threads."""

    name: str

    def ask(self, request: Request) -> PaidReply:
        """The reply.

        Raises:
            TeacherError: There is none.
        """


class TeacherError(PerceiveError):
    """A teacher gives no reply.

    Args:
        message: As of every error.
        final: Asking for other regions is useless, too: no such model, a wrong key.
        refused: This request will never be answered, others may be.
    """

    def __init__(self, message: str, *, final: bool = False, refused: bool = False) -> None:
        super().__init__(message, code="teacher_failed")
        self.final, self.refused = final, refused


class Replies(Protocol):
    """Where paid replies are kept; a `Store`, or the way to one elsewhere."""

    def reply(self, key: str) -> PaidReply | None:
        """As of `Store`."""

    def begin(self, key: str) -> bool:
        """As of `Store`."""

    def give_up(self, key: str) -> None:
        """As of `Store`."""

    def pay(self, key: str, reply: PaidReply) -> None:
        """As of `Store`."""


class CachedTeacher:
    """A teacher that is asked for each content once, even by many threads or workers at a time.

    Args:
        teacher: Whom to ask.
        replies: Where replies are kept.
    """

    def __init__(self, teacher: Teacher, replies: Replies) -> None:
        self.name, self._teacher, self._replies = teacher.name, teacher, replies

    def ask(self, request: Request) -> PaidReply:
        """The kept reply, or a new one, which is kept."""
        key = request.key(self.name)
        while True:
            known = self._replies.reply(key)
            if known is not None:
                return known
            if self._replies.begin(key):
                return self._pay(key, request)
            time.sleep(WAIT_S)

    def _pay(self, key: str, request: Request) -> PaidReply:
        try:
            reply = self._teacher.ask(request)
        except BaseException:  # whatever it was, others may wait for this reply
            self._replies.give_up(key)
            raise
        self._replies.pay(key, reply)
        return reply


def ask_checked(
    teacher: Teacher,
    request: Request,
    kind: type[A],
    check: Callable[[A], Dropped | None],
    tries: int,
) -> A | Dropped:
    """Ask until a reply passes; each further request tells what was wrong with the last reply.

    Args:
        teacher: Whom to ask.
        request: What.
        kind: Shape of the reply.
        check: What is wrong with one, or None.
        tries: Requests in all.

    Returns:
        The reply, or why the last one cannot be used.
    """
    fault = Dropped("schema")
    for _ in range(tries):
        try:
            text = teacher.ask(request).text
        except TeacherError as error:
            if not error.refused:
                raise
            return Dropped("refused", str(error).partition("\n")[0])
        parsed = parse_answer(text, kind)
        if isinstance(parsed, kind):
            found = check(parsed)
            if found is None:
                return parsed
            fault = found
        else:
            fault = Dropped("schema", str(parsed))
        request = replace(request, earlier=(*request.earlier, (text, fault.detail)))
    return fault
