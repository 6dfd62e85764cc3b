"""The one thread in which the model computes: calls in their turn, questions in batches.

Knows sessions and asyncio; nothing of HTTP. Between two tokens of a batch it does what else waits,
so a live stream or a new image does not wait for other people's texts.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from perceive_anything.errors import RequestError
from perceive_anything.events import TextChunk
from perceive_anything.results import Region
from perceive_anything.server.metrics import Metrics
from perceive_anything.sessions.image import ImageSession
from perceive_anything.sessions.regions import Writing
from perceive_anything.sessions.together import Answer, Question, Seen, answer_together
from perceive_anything.types import Prompt

T = TypeVar("T")
LOG = logging.getLogger("perceive_anything.server")
# A batch closes when it has as many; how many of them go through the model at once is its memory's.
MOST_QUESTIONS = 64


@dataclass(frozen=True, slots=True)
class Shown:
    """A region as JSON: its mask is packed, as nobody knows how long a client lets it wait.

    Attributes:
        region: One of "regions" in the result JSON.
        final: Its texts are complete.
    """

    region: dict[str, Any]
    final: bool


Told = TextChunk | Shown


@dataclass(eq=False)
class Work:
    """The prompts of one request, and where its answers go.

    Attributes:
        session: The encoded image.
        prompts: Checked against it.
        writing: Which texts.
        wanted: Kinds of answers that are read: `Seen`, `TextChunk`, `Region`.
        answers: (number of the prompt, answer); an exception in place of what cannot come.
        cancelled: Nobody waits any more; see `Worker.forget`.
    """

    session: ImageSession
    prompts: tuple[Prompt, ...]
    writing: Writing
    wanted: tuple[type[Answer], ...] = (Seen, TextChunk, Region)
    answers: asyncio.Queue[tuple[int, Told] | BaseException] = field(default_factory=asyncio.Queue)
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    cancelled: bool = False

    def answer(self, number: int, answer: Answer) -> None:
        """Hand over an answer, if it is wanted; called by the worker's thread."""
        if self.cancelled or not isinstance(answer, self.wanted):
            return
        if isinstance(answer, TextChunk):
            self._put((number, answer))
        elif isinstance(answer, Seen):
            self._put((number, Shown(answer.region.to_json(), final=False)))
        else:
            self._put((number, Shown(answer.to_json(), final=True)))

    def fail(self, error: BaseException) -> None:
        """Say that no more answers come; called by the worker's thread."""
        if not self.cancelled:
            self._put(error)

    def _put(self, found: tuple[int, Told] | BaseException) -> None:
        _in_loop(self.loop, self.answers.put_nowait, found)


@dataclass(eq=False)
class _Call:
    function: Callable[[], object]
    future: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop

    def run(self) -> None:
        if self.future.cancelled():
            return
        try:
            result = self.function()
        except BaseException as error:  # the caller's business, whatever it is
            _in_loop(self.loop, self.fail, error)
        else:
            _in_loop(self.loop, self._give, result)

    def fail(self, error: BaseException) -> None:
        if not self.future.done():
            # A StopIteration cannot live in a future.
            self.future.set_exception(
                RuntimeError(repr(error)) if isinstance(error, StopIteration) else error
            )

    def _give(self, result: object) -> None:
        if not self.future.done():
            self.future.set_result(result)


class Worker:
    """Owns the thread; made and used in one event loop.

    Args:
        metrics: Counts batches and what was written.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._changed = threading.Condition()
        self._calls: deque[_Call] = deque()
        self._works: deque[Work] = deque()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def halt(self) -> None:
        """End after the current step; what waits is told that the server stops."""
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def stop(self) -> None:
        """Halt, and wait for the end."""
        self.halt()
        self._thread.join()

    async def call(self, function: Callable[[], T]) -> T:
        """Run a function in the worker's thread.

        Raises:
            RequestError: The server stops.
        """
        loop = asyncio.get_running_loop()
        call = _Call(function, loop.create_future(), loop)
        with self._changed:
            if self._stopping:
                raise stopping()
            self._calls.append(call)
            self._changed.notify()
        result: T = await call.future
        return result

    def ask(self, work: Work) -> None:
        """Put prompts into the next batch that suits them.

        Raises:
            RequestError: The server stops.
        """
        with self._changed:
            if self._stopping:
                raise stopping()
            self._works.append(work)
            self._changed.notify()

    def forget(self, work: Work) -> None:
        """Nobody waits for this work any more; what it holds must not wait for its turn."""
        with self._changed:
            work.cancelled = True
            with suppress(ValueError):  # it is in a batch, or was
                self._works.remove(work)

    def _run(self) -> None:
        batch: Generator[None] | None = None
        called = False  # calls and steps of a batch take turns, so neither waits for ever
        while True:
            with self._changed:
                while not (self._calls or self._works or batch or self._stopping):
                    self._changed.wait()
                if self._stopping:
                    break
                texts = batch is not None or bool(self._works)
                called = bool(self._calls) and not (called and texts)
                call = self._calls.popleft() if called else None
                works = self._gathered() if call is None and batch is None else []
            if call is not None:
                call.run()
            elif batch is not None:
                batch = batch if _goes_on(batch) else None
            elif works:
                batch = self._batch(works)
        if batch is not None:
            batch.close()
        for left in self._calls:
            _in_loop(left.loop, left.fail, stopping())
        for work in self._works:
            work.fail(stopping())

    def _gathered(self) -> list[Work]:
        """The first that waits and all others that want the same texts, as far as there is room."""
        taken: list[Work] = []
        left: deque[Work] = deque()
        room = MOST_QUESTIONS
        for work in self._works:
            suits = not taken or (work.writing == taken[0].writing and len(work.prompts) <= room)
            if suits:
                taken.append(work)
                room -= len(work.prompts)
            else:
                left.append(work)
        self._works = left
        return taken

    def _batch(self, works: list[Work]) -> Generator[None]:
        """Answers all of them, a step of the decoder at a time."""
        works = sorted(works, key=lambda work: id(work.session))
        owners = [(work, i) for work in works for i in range(len(work.prompts))]
        questions = [Question(work.session, work.prompts[i], i) for work, i in owners]
        self._metrics.batch(len(works), len(questions))
        try:
            asked = answer_together(
                questions, works[0].writing, lambda i: not owners[i][0].cancelled
            )
            for number, answer in asked:
                work, own = owners[number]
                if isinstance(answer, TextChunk):
                    self._metrics.tokens(answer.num_tokens)
                work.answer(own, answer)
                yield
                if all(work.cancelled for work in works):
                    return
        except GeneratorExit:
            for work in works:
                work.fail(stopping())
            raise
        except Exception as error:
            LOG.exception("a batch failed")
            for work in works:
                work.fail(error)


def stopping() -> RequestError:
    """The error for what comes when the server is about to go."""
    return RequestError(
        "the server is shutting down.\n  Ask again in a moment, or another replica.",
        code="server_stopping",
    )


def _goes_on(batch: Generator[None]) -> bool:
    try:
        next(batch)
    except StopIteration:
        return False
    return True


def _in_loop(
    loop: asyncio.AbstractEventLoop, function: Callable[..., object], *args: object
) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(function, *args)
