"""Bodies that are either JSON or a form with a file: one request, two ways to send it.

Knows forms and content types; what is in a file is the business of `pictures`.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import PurePath
from typing import TypeVar

from fastapi import Request
from starlette.datastructures import FormData, UploadFile

from perceive_anything.errors import RequestError
from perceive_anything.server.wire import Wire

W = TypeVar("W", bound=Wire)
FORM, JSON = "multipart/form-data", "application/json"
MAX_PARTS = 8


def is_form(request: Request) -> bool:
    """Whether the body is a form.

    Raises:
        RequestError: It is neither a form nor JSON.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in (FORM, JSON):
        raise RequestError(
            f'the body is "{kind[:60]}".\n  Send {JSON}, or {FORM} with a file.',
            code="unsupported_body",
        )
    return kind == FORM


async def read_json(request: Request, kind: type[W]) -> W:
    """The body as a request.

    Raises:
        RequestError: It is no JSON.
        ValidationError: It is not what is expected.
    """
    # Not request.body(), which keeps what it gives.
    return from_json(b"".join([piece async for piece in request.stream()]), kind)


def from_json(text: bytes | str, kind: type[W]) -> W:
    """JSON as a request.

    Raises:
        RequestError: It is no JSON.
        ValidationError: It is not what is expected.
    """
    return kind.model_validate(parsed(text))


def parsed(text: bytes | str) -> object:
    """What JSON holds.

    Raises:
        RequestError: It is no JSON.
    """
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RequestError(
            f"this is no JSON: {str(error)[:100]}.\n  Expected an object; see /openapi.json.",
            code="bad_body",
        ) from error
    return value


@asynccontextmanager
async def read_form(request: Request) -> AsyncIterator[FormData]:
    """The form; its files are there as long as one is inside."""
    form = await request.form(max_files=MAX_PARTS, max_fields=MAX_PARTS, max_part_size=8 << 20)
    try:
        yield form
    finally:
        await form.close()


def file_of(form: FormData, *names: str) -> tuple[str, UploadFile]:
    """The one file of a form, and its field.

    Raises:
        RequestError: There is none, more than one, or something that is not known.
    """
    unknown = set(form) - {*names, "request"}
    found = [(name, part) for name in names for part in form.getlist(name)]
    if unknown or len(found) != 1 or not isinstance(found[0][1], UploadFile):
        fields = ", ".join(sorted(name[:20] for name in form)) or "nothing"
        raise RequestError(
            f"the form holds {fields[:100]}.\n"
            f'  Expected one file as {" or ".join(names)}, and "request" with JSON.',
            code="bad_request",
        )
    name, part = found[0]
    assert isinstance(part, UploadFile)
    return name, part


def request_of(form: FormData, kind: type[W]) -> W:
    """The field "request" of a form; without it what its defaults say.

    Raises:
        RequestError: It is no JSON.
        ValidationError: It is not what is expected.
    """
    text = form.get("request", "{}")
    if isinstance(text, UploadFile):
        raise RequestError(
            '"request" of the form is a file.\n  Expected a field with JSON.', code="bad_request"
        )
    return from_json(text, kind)


def name_of(part: UploadFile, otherwise: str) -> str:
    """What the user calls a file; only a name, never a path that anything is read from."""
    name = PurePath((part.filename or "").replace("\\", "/")).name
    shown = "".join(sign for sign in name if sign.isprintable())
    return shown[:100] or otherwise
