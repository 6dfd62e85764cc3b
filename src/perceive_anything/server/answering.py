"""Prompts of one request -> its answer, whole or as events while it is made.

Knows the worker's answers and how a client that goes away stops the work.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from fastapi import Request
from fastapi.responses import JSONResponse, Response
from fastapi.sse import EventSourceResponse, format_sse_event
from starlette.types import Receive, Scope, Send

from perceive_anything.errors import PromptError, RequestError
from perceive_anything.events import TextChunk
from perceive_anything.results import ImageResult, Region
from perceive_anything.server.failures import ClientGoneError, as_error, error_body
from perceive_anything.server.prompts import bytes_of_masks, read_prompts
from perceive_anything.server.service import Service, Ticket
from perceive_anything.server.settings import ServerSettings
from perceive_anything.server.wire import RegionsAsk, TextSettings
from perceive_anything.server.worker import Shown, Told, Work
from perceive_anything.sessions.image import ImageSession
from perceive_anything.sessions.regions import Writing
from perceive_anything.sessions.together import Seen
from perceive_anything.tasks import ALL_TASKS
from perceive_anything.types import Mask, Prompt

T = TypeVar("T")


class Events(EventSourceResponse):
    """Server-sent events that clean up after themselves, however they end.

    Args:
        pieces: What is sent.
        close: Called once at the end, also if nothing was ever sent.
    """

    def __init__(self, pieces: AsyncIterator[bytes], close: Callable[[], object]) -> None:
        super().__init__(pieces, headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        self._close = close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send them."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._close()


def event(name: str, data: object) -> bytes:
    """One server-sent event with JSON in it."""
    return format_sse_event(event=name, data_str=json.dumps(data, ensure_ascii=False))


def error_event(error: BaseException) -> bytes:
    """The event that ends a stream which cannot go on."""
    return event("error", error_body(as_error(error)))


async def while_connected(request: Request, awaitable: Awaitable[T]) -> T:
    """A result, unless the client goes away first.

    Args:
        request: Its body is read.
        awaitable: Is cancelled if nobody waits for it.

    Raises:
        ClientGoneError: It went.
    """
    work = asyncio.ensure_future(awaitable)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise ClientGoneError
        return work.result()
    finally:
        work.cancel()
        gone.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def writing_of(ask: TextSettings, settings: ServerSettings) -> Writing:
    """Which texts a request wants, in one order, so that requests that want the same meet.

    Raises:
        OptionError: There is no such task or language.
        RequestError: The texts would be too long.
    """
    check_length(ask.max_new_tokens, settings)
    writing = Writing.checked(ask.tasks, ask.language, ask.max_new_tokens, float(ask.temperature))
    return replace(writing, tasks=tuple(task for task in ALL_TASKS if task in writing.texts))


def check_length(max_new_tokens: int | None, settings: ServerSettings) -> None:
    """See that a text may become so long.

    Raises:
        RequestError: It may not.
    """
    if max_new_tokens is not None and max_new_tokens > settings.max_new_tokens:
        raise RequestError(
            f"max_new_tokens is {max_new_tokens}.\n"
            f"  At most {settings.max_new_tokens} are written here.",
            code="limit_exceeded",
        )


async def prompts_of(
    service: Service, ask: RegionsAsk, session: ImageSession, ticket: Ticket
) -> tuple[tuple[Prompt, ...], list[float]]:
    """What is asked about: the prompts, or the masks that are found without any, with their scores.

    Raises:
        PromptError: A prompt does not fit, or there is none.
        RequestError: There are too many, or their masks too large.
    """
    if bool(ask.prompts) == ask.everything:
        raise PromptError(
            "both prompts and everything were given.\n  Take one of them."
            if ask.prompts
            else 'no prompt was given.\n  Expected "prompts": [{"type": "box", "box": [x1, y1, x2, '
            'y2]}] or the like, or "everything": true.',
            code="prompt_missing",
        )
    if not ask.everything:
        ticket.share.take(bytes_of_masks(ask.prompts, session.size_wh, service.settings))
        read = await asyncio.to_thread(read_prompts, ask.prompts, session.size_wh, service.settings)
        return read, []
    most = min(ask.max_regions, service.settings.max_prompts)
    if most < ask.max_regions:
        raise RequestError(
            f"max_regions is {ask.max_regions}.\n  At most {most} at once are answered here.",
            code="limit_exceeded",
        )
    ticket.share.take(most * math.prod(session.size_wh))
    found = await service.worker.call(
        lambda: session.everything(max_regions=most, tasks=["segment"])
    )
    return tuple(Mask(region.mask) for region in found), [region.score for region in found]


async def answer_regions(
    service: Service,
    request: Request,
    ask: RegionsAsk,
    opening: Callable[[], Awaitable[ImageSession]],
) -> Response:
    """Answer a request about regions of an image.

    Args:
        service: Of the app.
        request: Its body is read.
        ask: What it asks.
        opening: Gives the encoded image.

    Raises:
        PerceiveError: It cannot be answered.
    """
    writing = writing_of(ask, service.settings)
    ticket = service.gate.enter()
    try:
        session = await while_connected(request, opening())
        prompts, scores = await while_connected(request, prompts_of(service, ask, session, ticket))
        wanted = (Seen, TextChunk, Region) if ask.stream else (Region,)
        work = Work(session, prompts, writing, wanted)
        if prompts:
            service.worker.ask(work)
    except BaseException:
        ticket.leave()
        raise

    def close() -> None:
        service.worker.forget(work)
        ticket.leave()

    answered = _Answered(service, work, ask.language, scores)
    if ask.stream:
        return Events(answered.events(), close)
    try:
        return JSONResponse(await while_connected(request, answered.result()))
    finally:
        close()


class _Answered:
    """The answers of one work as they come."""

    def __init__(
        self, service: Service, work: Work, language: str, scores: Sequence[float]
    ) -> None:
        self._service, self._work = service, work
        self._language, self._scores = language, scores
        self._regions: list[dict[str, Any] | None] = [None] * len(work.prompts)

    async def result(self) -> dict[str, Any]:
        """The result JSON, once all regions are there."""
        async for _ in self._answers():
            pass
        return self._result()

    async def events(self) -> AsyncIterator[bytes]:
        """A region without texts, pieces of texts, a region with texts; the result at the end."""
        try:
            async for number, answer in self._answers():
                if isinstance(answer, TextChunk):
                    piece = {"region": number, "task": answer.task, "text": answer.text}
                    yield event("text", piece | {"final": answer.final})
                else:
                    yield event("region" if answer.final else "mask", self._scored(number, answer))
            yield event("result", self._result())
        except Exception as error:
            yield error_event(error)

    async def _answers(self) -> AsyncIterator[tuple[int, Told]]:
        left = len(self._regions)
        while left:
            found = await self._work.answers.get()
            if isinstance(found, BaseException):
                raise found
            number, answer = found
            if isinstance(answer, Shown) and answer.final:
                self._regions[number], left = self._scored(number, answer), left - 1
            yield number, answer

    def _scored(self, number: int, shown: Shown) -> dict[str, Any]:
        return shown.region | ({"score": self._scores[number]} if self._scores else {})

    def _result(self) -> dict[str, Any]:
        session = self._work.session
        head = ImageResult(
            session.source, session.size_wh, self._service.model_name, self._language, (),
            session.timing_s,
        )  # fmt: skip
        return head.to_json() | {"regions": self._regions}
