"""POST /v1/regions: one image, what is asked of it, one answer."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from perceive_anything.server.answering import answer_regions
from perceive_anything.server.failures import responses
from perceive_anything.server.service import Upload, service_of
from perceive_anything.server.uploads import (
    FORM,
    JSON,
    file_of,
    is_form,
    name_of,
    read_form,
    read_json,
    request_of,
)
from perceive_anything.server.wire import RegionsAsk, RegionsRequest, body_schema
from perceive_anything.sessions.image import ImageSession

router = APIRouter()
ERRORS = (400, 401, 403, 408, 413, 415, 422, 429, 500, 503)
RESULT: dict[str, Any] = {
    "description": "docs/result.schema.json; with stream, events mask, text, region, result.",
    "content": {
        JSON: {
            "schema": {
                "type": "object",
                "required": ["schema", "source", "size", "model", "language", "regions"],
                "properties": {"schema": {"const": "perceive.result/1"}},
            }
        },
        "text/event-stream": {"schema": {"type": "string"}},
    },
}
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            JSON: {"schema": body_schema(RegionsRequest)},
            FORM: {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "additionalProperties": False,
                    "properties": {
                        "image": {"type": "string", "format": "binary"},
                        "request": body_schema(RegionsAsk),
                    },
                },
                "encoding": {"request": {"contentType": JSON}},
            },
        },
    }
}


@router.post(
    "/v1/regions",
    responses={200: RESULT, **responses(*ERRORS)},
    openapi_extra=BODY,
    response_class=Response,
)
async def regions(request: Request) -> Response:
    """Segment and describe regions of an image.

    Send JSON with the image as a data URI, or a form with the file as `image` and everything else
    as JSON in `request`.
    """
    service = service_of(request)
    ask, upload, name = await (_from_form if is_form(request) else _from_json)(request)

    async def opened() -> ImageSession:
        return (await service.open_image(upload, name))[0]

    return await answer_regions(service, request, ask, opened)


async def _from_form(request: Request) -> tuple[RegionsAsk, Upload, str]:
    async with read_form(request) as form:
        _, file = file_of(form, "image")
        ask, name = request_of(form, RegionsAsk), name_of(file, "image")
        return ask, Upload(await file.read()), name


async def _from_json(request: Request) -> tuple[RegionsAsk, Upload, str]:
    ask = await read_json(request, RegionsRequest)
    return ask.model_copy(update={"image": ""}), Upload(ask.image), "image"
