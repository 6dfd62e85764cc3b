"""Sessions: upload once, ask often; point at regions of a video and follow them."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.datastructures import UploadFile

from perceive_anything.errors import PromptError, RequestError
from perceive_anything.server.answering import answer_regions, check_length, while_connected
from perceive_anything.server.failures import responses
from perceive_anything.server.following import follow
from perceive_anything.server.pictures import from_data_uri, open_video
from perceive_anything.server.prompts import bytes_of_masks, read_prompts
from perceive_anything.server.routes.regions import ERRORS, RESULT
from perceive_anything.server.service import Service, Upload, service_of
from perceive_anything.server.store import Kept
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
from perceive_anything.server.wire import (
    PropagateRequest,
    RegionsAsk,
    SessionInfo,
    SessionRequest,
    TracksAnswer,
    TracksRequest,
    Wire,
    body_schema,
)
from perceive_anything.sessions.image import ImageSession
from perceive_anything.sessions.video import VideoSession

router = APIRouter(prefix="/v1/sessions")
CHUNK = 1 << 20
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            JSON: {"schema": body_schema(SessionRequest)},
            FORM: {
                "schema": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "image": {"type": "string", "format": "binary"},
                        "video": {"type": "string", "format": "binary"},
                    },
                    "minProperties": 1,
                    "maxProperties": 1,
                }
            },
        },
    }
}
FOLLOWED: dict[str, Any] = {
    "description": "Events frame and caption (docs/event.schema.json), then result.",
    "content": {"text/event-stream": {"schema": {"type": "string"}}},
}


@router.post(
    "",
    status_code=201,
    response_model=SessionInfo,
    response_model_exclude_none=True,
    responses=responses(*ERRORS),
    openapi_extra=BODY,
)
async def create(request: Request) -> SessionInfo:
    """Keep an image or a video, to ask about it in further requests.

    Send JSON with a data URI, or a form with the file as `image` or `video`.
    """
    service = service_of(request)
    with service.sessions.reserved():
        if not is_form(request):
            ask = await read_json(request, SessionRequest)
            kept = await while_connected(request, _from_json(service, ask))
            service.sessions.add(kept)
            return service.sessions.info(kept)
        async with read_form(request) as form:
            request_of(form, Wire)
            kind, file = file_of(form, "image", "video")
            if kind == "image":
                upload = Upload(await file.read())
                opening = _open_image(service, upload, name_of(file, "image"))
            else:
                path = await _stored(service, file)
                opening = _open_video(service, path, name_of(file, "video"))
            kept = await while_connected(request, opening)
            service.sessions.add(kept)
            return service.sessions.info(kept)


@router.get(
    "/{session_id}",
    response_model=SessionInfo,
    response_model_exclude_none=True,
    responses=responses(401, 403, 404, 422),
)
async def info(request: Request, session_id: str) -> SessionInfo:
    """What is known of a session."""
    service = service_of(request)
    return service.sessions.info(service.sessions.get(session_id))


@router.delete("/{session_id}", status_code=204, responses=responses(401, 403, 404, 422))
async def delete(request: Request, session_id: str) -> None:
    """Forget a session."""
    service_of(request).sessions.remove(session_id)


@router.post(
    "/{session_id}/regions",
    responses={200: RESULT, **responses(404, *ERRORS)},
    response_class=Response,
)
async def regions(request: Request, session_id: str, ask: RegionsAsk) -> Response:
    """Ask about regions of an image that was uploaded; as /v1/regions without the image."""
    service = service_of(request)
    kept = service.sessions.get(session_id)
    session = kept.session
    if not isinstance(session, ImageSession):
        raise _wrong_kind("a video", "/tracks")

    async def opened() -> ImageSession:
        return session

    with kept.use():
        return await answer_regions(service, request, ask, opened)


@router.post(
    "/{session_id}/tracks",
    response_model=TracksAnswer,
    responses=responses(404, 409, *ERRORS),
)
async def add_tracks(request: Request, session_id: str, ask: TracksRequest) -> TracksAnswer:
    """Point at regions of a video, or correct one; /propagate follows them."""
    service = service_of(request)
    kept, session = _video(service, session_id)
    with kept.use(alone=True):
        kept.share.take(bytes_of_masks(ask.prompts, session.size_wh, service.settings))
        prompts = await asyncio.to_thread(
            read_prompts, ask.prompts, session.size_wh, service.settings
        )
        if ask.track is not None:
            if len(prompts) != 1:
                raise PromptError(
                    f"{len(prompts)} prompts correct track {ask.track}.\n  Expected one.",
                    code="bad_label_count",
                )
            session.refine(ask.track, prompts[0], frame=ask.frame)
            return TracksAnswer(tracks=[ask.track])
        if len(session.track_ids) + len(prompts) > service.settings.max_prompts:
            raise RequestError(
                f"the video has {len(session.track_ids)} regions already.\n"
                f"  At most {service.settings.max_prompts} are followed here; delete some.",
                code="limit_exceeded",
            )
        return TracksAnswer(tracks=[session.add(one, frame=ask.frame) for one in prompts])


@router.delete(
    "/{session_id}/tracks/{track}", status_code=204, responses=responses(401, 403, 404, 409, 422)
)
async def remove_track(request: Request, session_id: str, track: int) -> None:
    """Forget a region of a video."""
    kept, session = _video(service_of(request), session_id)
    with kept.use(alone=True):
        session.remove(track)


@router.post(
    "/{session_id}/propagate",
    responses={200: FOLLOWED, **responses(404, 409, *ERRORS)},
    response_class=Response,
)
async def propagate(request: Request, session_id: str, ask: PropagateRequest) -> Response:
    """Follow all regions that are new or corrected, and describe each; server-sent events.

    Closing the connection breaks it off.
    """
    service = service_of(request)
    kept, session = _video(service, session_id)
    check_length(ask.max_new_tokens, service.settings)
    return follow(service, kept, session, ask)


def _video(service: Service, session_id: str) -> tuple[Kept, VideoSession]:
    kept = service.sessions.get(session_id)
    if not isinstance(kept.session, VideoSession):
        raise _wrong_kind("an image", "/regions")
    return kept, kept.session


def _wrong_kind(found: str, instead: str) -> RequestError:
    return RequestError(
        f"the session is of {found}.\n  Ask at /v1/sessions/ID{instead}.", code="bad_request"
    )


async def _from_json(service: Service, ask: SessionRequest) -> Kept:
    if ask.image is not None and ask.video is None:
        return await _open_image(service, Upload(ask.image), "image")
    if ask.video is not None and ask.image is None:
        path = _new_file(service)
        path.write_bytes(from_data_uri(ask.video, "video"))
        return await _open_video(service, path, "video")
    raise RequestError(
        'the request needs an image or a video.\n  Give one of "image" and "video".',
        code="bad_request",
    )


async def _open_image(service: Service, upload: Upload, name: str) -> Kept:
    ticket = service.gate.enter()
    try:
        session, _ = await service.open_image(upload, name)
    finally:
        ticket.leave()
    return Kept(session, service.gate.budget.share())


async def _open_video(service: Service, path: Path, name: str) -> Kept:
    try:
        video = await asyncio.to_thread(open_video, path, name, service.settings)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    session = service.perceiver.video(video)  # type: ignore[arg-type]
    session.name = name
    return Kept(session, service.gate.budget.share(), path)


def _new_file(service: Service) -> Path:
    handle, name = tempfile.mkstemp(dir=service.folder, prefix="video-")
    with open(handle, "wb"):  # noqa: PTH123 - a file that is open already
        return Path(name)


async def _stored(service: Service, part: UploadFile) -> Path:
    """An uploaded file at a place of the server's own choosing."""
    path = _new_file(service)
    with contextlib.ExitStack() as stack:
        stack.callback(path.unlink, missing_ok=True)
        with path.open("wb") as file:
            while piece := await part.read(CHUNK):
                file.write(piece)
        stack.pop_all()
    return path
