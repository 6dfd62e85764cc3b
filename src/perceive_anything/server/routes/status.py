"""Is it alive, what has it done, which model is it."""

from __future__ import annotations

import time

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse

from perceive_anything.server.failures import responses
from perceive_anything.server.service import service_of

router = APIRouter()
STARTED_S = int(time.time())


@router.get("/healthz", responses=responses(403), response_model=dict[str, str])
async def healthz(request: Request) -> dict[str, str]:
    """Whether the server answers; needs no key."""
    return {"status": "ok", "model": service_of(request).model_name}


@router.get("/metrics", response_class=PlainTextResponse, responses=responses(401, 403))
async def metrics(request: Request) -> PlainTextResponse:
    """Numbers in Prometheus' text format."""
    text = service_of(request).metrics.text()
    return PlainTextResponse(text, media_type="text/plain; version=0.0.4")
