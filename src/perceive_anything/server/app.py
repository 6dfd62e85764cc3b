"""The app factory: a model and settings in, an ASGI app out; nothing is global."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from pydantic.json_schema import models_json_schema

import perceive_anything
from perceive_anything.pipeline import Perceiver
from perceive_anything.server.failures import add_handlers
from perceive_anything.server.guard import Guard
from perceive_anything.server.memory import Budget, trim
from perceive_anything.server.metrics import Metrics
from perceive_anything.server.routes import chat, regions, sessions, status, stream
from perceive_anything.server.service import Gate, Service
from perceive_anything.server.settings import ServerSettings
from perceive_anything.server.store import SessionStore
from perceive_anything.server.wire import RegionsRequest, SessionRequest
from perceive_anything.server.worker import Worker

SWEEP_S = 2.0
ABOUT = """Point at regions of images, videos and streams: masks, labels, explanations, captions.

Every error is `{"error": {"type", "code", "message", "hint", "param"}}`. Live streams come in by
websocket at `/v1/stream`.
"""


def create_app(perceiver: Perceiver, settings: ServerSettings | None = None) -> FastAPI:
    """An app that serves one model.

    Args:
        perceiver: The model.
        settings: Limits and doors; by default `ServerSettings()`.

    Returns:
        The app; its model thread runs from startup to shutdown.
    """
    chosen = settings or ServerSettings()
    metrics, budget = Metrics(), Budget(chosen.max_held_bytes)
    metrics.gauge("held_bytes", lambda: budget.held)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with tempfile.TemporaryDirectory(prefix="perceive-") as folder:
            service = _service(perceiver, chosen, metrics, budget, Path(folder))
            app.state.service = service
            service.worker.start()
            sweeping = asyncio.ensure_future(_sweep(service.sessions))
            try:
                yield
            finally:
                sweeping.cancel()
                with suppress(asyncio.CancelledError):
                    await sweeping
                await asyncio.to_thread(service.worker.stop)
                service.decoders.shutdown(wait=False, cancel_futures=True)

    app = FastAPI(
        title="Perceive Anything",
        version=perceive_anything.__version__,
        description=ABOUT,
        lifespan=lifespan,
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    for module in (status, regions, sessions, chat, stream):
        app.include_router(module.router)
    app.add_middleware(Guard, settings=chosen, metrics=metrics, budget=budget)
    if chosen.allow_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=chosen.allow_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["*"],
        )
    add_handlers(app)
    _complete_openapi(app)
    return app


def _service(
    perceiver: Perceiver,
    settings: ServerSettings,
    metrics: Metrics,
    budget: Budget,
    folder: Path,
) -> Service:
    service = Service(
        perceiver=perceiver,
        settings=settings,
        metrics=metrics,
        worker=Worker(metrics),
        sessions=SessionStore(settings),
        gate=Gate(settings.max_waiting, budget),
        folder=folder,
    )
    metrics.gauge("waiting", lambda: service.gate.inside)
    metrics.gauge("sessions", lambda: len(service.sessions))
    metrics.gauge("streams", lambda: service.streams)
    return service


async def _sweep(sessions: SessionStore) -> None:
    while True:
        await asyncio.sleep(SWEEP_S)
        sessions.sweep()
        await asyncio.to_thread(trim)


def _complete_openapi(app: FastAPI) -> None:
    """Add the requests of routes that read their body themselves."""
    made = app.openapi

    def openapi() -> dict[str, Any]:
        document = made()
        _, own = models_json_schema(
            [(RegionsRequest, "validation"), (SessionRequest, "validation")],
            ref_template="#/components/schemas/{model}",
        )
        schemas = document["components"]["schemas"]
        for name, schema in own["$defs"].items():
            schemas.setdefault(name, schema)
        return document

    app.openapi = openapi  # type: ignore[method-assign]
