"""OpenAI-compatible: /v1/chat/completions about regions of an image, and /v1/models.

Each region is one choice. The words of the message only choose the task: the model knows four
questions and answers no others.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from fastapi.sse import format_sse_event
from openai.types import CompletionUsage, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk, ChatCompletionMessage
from openai.types.chat.chat_completion import Choice
from openai.types.chat.chat_completion_chunk import Choice as ChunkChoice
from openai.types.chat.chat_completion_chunk import ChoiceDelta
from pydantic import BaseModel

from perceive_anything.errors import ModelError, OptionError, PromptError, RequestError
from perceive_anything.events import TextChunk
from perceive_anything.server.answering import Events, check_length, while_connected
from perceive_anything.server.failures import as_error, error_body, responses
from perceive_anything.server.prompts import bytes_of_masks, check_count, read_prompts
from perceive_anything.server.routes.regions import ERRORS
from perceive_anything.server.routes.status import STARTED_S
from perceive_anything.server.service import Service, Ticket, Upload, service_of
from perceive_anything.server.uploads import JSON
from perceive_anything.server.wire import ChatRequest, ImagePart
from perceive_anything.server.worker import Work
from perceive_anything.sessions.regions import Writing
from perceive_anything.tasks import (
    CAPTION,
    DESCRIBE,
    EXPLAIN,
    RECOGNIZE,
    TEXT_TASKS,
    check_tasks,
)
from perceive_anything.types import Mask

router = APIRouter(prefix="/v1")
WORDS = {
    RECOGNIZE: r"recogni[sz]e|label|name|what is|what's|identify|识别|是什么",
    EXPLAIN: r"explain|explanation|definition|meaning|解释|说明",
    CAPTION: r"caption|concise|brief|short|简短|简要|标题",
    DESCRIBE: r"describe|description|detail|描述|详细",
}
CHINESE = re.compile(r"[\u4e00-\u9fff]")
Reason = Literal["stop", "length"]
ANSWER: dict[str, Any] = {
    "description": "A chat completion; with stream, its chunks as server-sent events.",
    "content": {
        JSON: {"schema": {"type": "object", "required": ["id", "choices", "created", "model"]}},
        "text/event-stream": {"schema": {"type": "string"}},
    },
}


class ModelList(BaseModel):
    """The models that can be named; there is one."""

    object: Literal["list"] = "list"
    data: list[Model]


@router.get("/models", response_model=ModelList, responses=responses(401, 403))
async def models(request: Request) -> ModelList:
    """The one model of this server."""
    return ModelList(data=[_model(service_of(request))])


@router.get("/models/{name:path}", response_model=Model, responses=responses(401, 403, 404, 422))
async def model(request: Request, name: str) -> Model:
    """That model by its name."""
    found = _model(service_of(request))
    if name != found.id:
        raise RequestError(f"there is no such model.\n  Here is {found.id}.", code="not_found")
    return found


@router.post(
    "/chat/completions", responses={200: ANSWER, **responses(*ERRORS)}, response_class=Response
)
async def chat_completions(request: Request, ask: ChatRequest) -> Response:
    """Write about regions of an image; `regions`, `task` and `language` go into `extra_body`."""
    service = service_of(request)
    asked = _read(service, ask)
    ticket = service.gate.enter()
    try:
        work, num_read = await while_connected(request, _begin(service, ask, asked, ticket))
    except BaseException:
        ticket.leave()
        raise

    def close() -> None:
        service.worker.forget(work)
        ticket.leave()

    reply = _Reply(service.model_name, work, num_read)
    if ask.stream:
        with_usage = ask.stream_options is not None and ask.stream_options.include_usage
        return Events(reply.events(with_usage=with_usage), close)
    try:
        completion = await while_connected(request, reply.completion())
        return Response(completion.model_dump_json(exclude_unset=True), media_type=JSON)
    finally:
        close()


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a chat request comes down to."""

    url: str
    writing: Writing


def _read(service: Service, ask: ChatRequest) -> _Asked:
    if ask.model != service.model_name:
        raise ModelError(
            f'there is no model "{ask.model[:80]}" here.\n  This server has {service.model_name}.',
            code="unknown_model",
        )
    parts = ask.messages[0].content
    images = [part for part in parts if isinstance(part, ImagePart)]
    if len(images) != 1:
        raise RequestError(
            f"the message has {len(images)} images.\n"
            "  Expected one; videos are for /v1/sessions, live pictures for /v1/stream.",
            code="bad_request",
        )
    check_count(ask.regions, service.settings)
    if None not in (ask.max_tokens, ask.max_completion_tokens):
        raise RequestError(
            "both max_tokens and max_completion_tokens are given.\n  Take the second.",
            code="bad_request",
        )
    length = ask.max_completion_tokens or ask.max_tokens
    check_length(length, service.settings)
    text = " ".join(part.text for part in parts if not isinstance(part, ImagePart)).strip()
    language = ask.language or ("zh" if CHINESE.search(text) else "en")
    task = ask.task or task_of(text)
    if task not in TEXT_TASKS:
        raise OptionError(
            f'the task "{task[:40]}" writes nothing.\n  Take one of {", ".join(TEXT_TASKS)}.',
            code="unknown_task",
        )
    writing = Writing.checked(check_tasks(task), language, length, float(ask.temperature))
    return _Asked(images[0].image_url.url, writing)


def task_of(text: str) -> str:
    """The task that the words of a message name; a caption without words.

    Raises:
        OptionError: They name none, or several.
    """
    found = [task for task, words in WORDS.items() if re.search(words, text, re.IGNORECASE)]
    if not text:
        return CAPTION
    if len(found) != 1:
        raise OptionError(
            f'the message "{text[:60]}" names {" and ".join(found) or "no task"}.\n'
            f'  The model knows {", ".join(TEXT_TASKS)}; name one, or pass "task" in extra_body.',
            code="unknown_task",
        )
    return found[0]


async def _begin(
    service: Service, ask: ChatRequest, asked: _Asked, ticket: Ticket
) -> tuple[Work, int]:
    """The work, and how many tokens are read for it."""
    upload = Upload(asked.url)
    session, picture = await service.open_image(upload, with_alpha=not ask.regions)
    if ask.regions:
        ticket.share.take(bytes_of_masks(ask.regions, session.size_wh, service.settings))
        prompts = await asyncio.to_thread(
            read_prompts, ask.regions, session.size_wh, service.settings
        )
    elif picture.opaque is not None:
        prompts = (Mask(picture.opaque),)
    else:
        raise PromptError(
            "no region was given.\n"
            '  Pass extra_body={"regions": [{"type": "box", "box": [x1, y1, x2, y2]}]}, or make '
            "the image transparent around the region.",
            code="prompt_missing",
        )
    (task,), language = asked.writing.tasks, asked.writing.language
    num_read = await service.worker.call(lambda: len(session.processor.input_ids(task, language)))
    work = Work(session, prompts, asked.writing, (TextChunk,))
    service.worker.ask(work)
    return work, num_read * len(prompts)


@dataclass
class _Reply:
    """Pieces of text as they come, in OpenAI's shapes."""

    model: str
    work: Work
    num_read: int
    num_written: int = 0
    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))

    async def completion(self) -> ChatCompletion:
        """The whole answer."""
        texts = [""] * len(self.work.prompts)
        reasons: dict[int, Reason] = {}
        async for number, chunk in self._chunks():
            texts[number] += chunk.text
            if chunk.final:
                reasons[number] = _reason(chunk)
        choices = [
            Choice(
                index=i,
                finish_reason=reasons[i],
                logprobs=None,
                message=ChatCompletionMessage(role="assistant", content=text, refusal=None),
            )
            for i, text in enumerate(texts)
        ]
        return ChatCompletion(
            id=self.id, object="chat.completion", created=self.created, model=self.model,
            choices=choices, usage=self._usage(),
        )  # fmt: skip

    async def events(self, *, with_usage: bool) -> AsyncIterator[bytes]:
        """The answer piece by piece, as server-sent events."""
        try:
            for number in range(len(self.work.prompts)):
                yield self._event(number, ChoiceDelta(role="assistant", content=""))
            async for number, chunk in self._chunks():
                if chunk.text:
                    yield self._event(number, ChoiceDelta(content=chunk.text))
                if chunk.final:
                    yield self._event(number, ChoiceDelta(), _reason(chunk))
            if with_usage:
                last = self._chunk([])
                last.usage = self._usage()
                yield _data(last.model_dump_json(exclude_unset=True))
            yield _data("[DONE]")
        except Exception as error:
            body = error_body(as_error(error))["error"]
            yield _data(_Failed(error=body).model_dump_json())

    async def _chunks(self) -> AsyncIterator[tuple[int, TextChunk]]:
        left = len(self.work.prompts)
        while left:
            found = await self.work.answers.get()
            if isinstance(found, BaseException):
                raise found
            number, answer = found
            if isinstance(answer, TextChunk):
                self.num_written += answer.num_tokens
                left -= answer.final
                yield number, answer

    def _event(self, number: int, delta: ChoiceDelta, reason: Reason | None = None) -> bytes:
        choice = ChunkChoice(index=number, delta=delta, finish_reason=reason)
        return _data(self._chunk([choice]).model_dump_json(exclude_unset=True))

    def _chunk(self, choices: list[ChunkChoice]) -> ChatCompletionChunk:
        return ChatCompletionChunk(
            id=self.id, object="chat.completion.chunk", created=self.created, model=self.model,
            choices=choices,
        )  # fmt: skip

    def _usage(self) -> CompletionUsage:
        return CompletionUsage(
            prompt_tokens=self.num_read,
            completion_tokens=self.num_written,
            total_tokens=self.num_read + self.num_written,
        )


class _Failed(BaseModel):
    error: dict[str, Any]


def _reason(chunk: TextChunk) -> Reason:
    return "length" if chunk.cut else "stop"


def _data(text: str) -> bytes:
    return format_sse_event(data_str=text)


def _model(service: Service) -> Model:
    return Model(
        id=service.model_name, created=STARTED_S, object="model", owned_by="perceive-anything"
    )
