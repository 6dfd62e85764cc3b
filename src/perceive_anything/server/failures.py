"""Errors as answers: one JSON shape, which OpenAI's clients read too, and never a traceback.

Knows our errors, FastAPI's and pydantic's; nothing of routes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from perceive_anything.errors import CODES, PerceiveError, RequestError

KINDS = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
CLIENT_GONE = 499  # as other servers count it
OPENAI_PATHS = ("/v1/chat/", "/v1/models")
DOCS = "See /openapi.json for what is expected."


class ErrorDetail(BaseModel):
    """What went wrong.

    Attributes:
        type: Family, by the names that OpenAI uses.
        code: A stable name to act upon.
        message: What failed and what was got.
        hint: What was expected and what to do next.
        param: Dotted name of the field, if one is to blame.
    """

    type: str
    code: str
    message: str
    hint: str
    param: str | None = None


class ErrorBody(BaseModel):
    """The body of every answer that is an error."""

    error: ErrorDetail


class BusyError(RequestError):
    """Too much is going on; `retry_after_s` says when to come again."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message, code="server_busy")
        self.retry_after_s = retry_after_s


class ClientGoneError(ConnectionError):
    """Nobody waits for the answer any more."""


class BodyError(HTTPException):
    """A `RequestError` met while a body is read, in the one shape that FastAPI lets pass."""

    def __init__(self, error: RequestError) -> None:
        super().__init__(error.http_status)
        self.error = error


def error_body(error: PerceiveError, param: str | None = None) -> dict[str, Any]:
    """The JSON of an error: its first line is the message, the rest the hint."""
    message, _, hint = str(error).partition("\n")
    status = error.http_status
    kind = KINDS.get(status, "server_error" if status >= 500 else "invalid_request_error")
    detail = ErrorDetail(
        type=kind,
        code=error.code,
        message=message,
        hint=" ".join(hint.split()) or CODES[error.code].summary,
        param=param,
    )
    return ErrorBody(error=detail).model_dump()


def error_response(error: PerceiveError, param: str | None = None, path: str = "") -> JSONResponse:
    """An error as an answer with its status.

    Args:
        error: What happened.
        param: Dotted name of the field that is to blame.
        path: Of the request: OpenAI's clients show nothing but the message, so there it says all.
    """
    body = error_body(error, param)
    if path.startswith(OPENAI_PATHS):
        body["error"]["message"] += f" {body['error']['hint']}"
    headers = {}
    if isinstance(error, BusyError):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    if error.code == "not_authorized":
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(body, error.http_status, headers)


def as_error(error: BaseException) -> PerceiveError:
    """Our own errors as they are; anything else is a fault of ours, of which nothing is told."""
    if isinstance(error, PerceiveError):
        return error
    return RequestError(
        "the server met a fault of its own.\n  Its log has the details; please report it.",
        code="server_failed",
    )


def field_error(problems: Sequence[Mapping[str, Any]]) -> tuple[RequestError, str]:
    """The first of pydantic's complaints as an error, and the dotted name of the field."""
    first = problems[0]
    if first["type"] == "json_invalid":
        error = RequestError(
            f"the body is no JSON: {first.get('ctx', {}).get('error', 'malformed')}.\n  {DOCS}",
            code="bad_body",
        )
        return error, "body"
    place = [str(part) for part in first["loc"] if part not in ("body", "query", "path")]
    dotted = ".".join(place)[:100] or "body"
    got = _short(first.get("input"))
    return RequestError(
        f'"{dotted}": {first["msg"]}, got {got}.\n  {DOCS}', code="bad_request"
    ), dotted


def _short(value: object) -> str:
    """A value in a few characters; containers by their kind only, as they may be huge."""
    if isinstance(value, (dict, list)):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    if isinstance(value, str):
        return f'"{value[:40]}{"..." if len(value) > 40 else ""}"'
    if isinstance(value, int) and value.bit_length() > 64:
        return "a huge number"
    return repr(value)[:40]


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What FastAPI shall document of a route that may answer with these errors."""
    told = {
        status: "; ".join(sorted(c for c, info in CODES.items() if info.http_status == status))
        for status in statuses
    }
    return {
        status: {"model": ErrorBody, "description": f"Codes: {text}"}
        for status, text in told.items()
    }


def add_handlers(app: FastAPI) -> None:
    """Give an app these answers."""
    app.add_exception_handler(PerceiveError, _perceive_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(ValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(ClientGoneError, _gone)
    app.add_exception_handler(ClientDisconnect, _gone)  # before its body was there
    app.add_exception_handler(Exception, _bug)


async def _perceive_error(request: Request, error: Exception) -> JSONResponse:
    return error_response(as_error(error), path=request.url.path)


async def _validation_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, (RequestValidationError, ValidationError))
    return error_response(*field_error(error.errors()), request.url.path)


async def _gone(_: Request, error: Exception) -> Response:
    return Response(status_code=CLIENT_GONE)  # for the numbers; nobody reads it


async def _bug(_: Request, error: Exception) -> JSONResponse:
    return error_response(as_error(RuntimeError()))


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    if isinstance(error, BodyError):
        return error_response(error.error)
    if error.status_code == 405:
        answer = error_response(
            RequestError(
                f"{request.url.path} does not know {request.method}.\n  {DOCS}",
                code="method_not_allowed",
            )
        )
        answer.headers.update(error.headers or {})
        return answer
    if error.status_code == 404:
        return error_response(
            RequestError(f"there is nothing at {request.url.path}.\n  {DOCS}", code="not_found")
        )
    return error_response(
        RequestError(f"the body cannot be read: {error.detail}.\n  {DOCS}", code="bad_body")
    )
