"""`perceive serve`: the model behind HTTP, on this machine only unless told otherwise."""

from __future__ import annotations

import ipaddress
from typing import Annotated

import typer

from perceive_anything.cli.options import (
    DebugOption,
    DeviceOption,
    DtypeOption,
    LazyModel,
    ModelOption,
    QuantizeOption,
    Sam2Option,
)

HELP = """Answer over HTTP: regions, sessions, live streams, and an OpenAI-compatible chat.

docs/server.md has the addresses. One process serves one model; Ctrl-C lets answers finish.

\b
perceive serve
perceive serve --model PAM-3B --host 0.0.0.0 --port 8000    with PERCEIVE_API_KEY set
"""
MIB = 2**20

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(help=HELP)
def serve(
    model: ModelOption = "nano",
    sam2: Sam2Option = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    quantize: QuantizeOption = None,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="N", min=0, max=65535, help="0: a free one.")] = 8000,
    api_key: Annotated[
        str | None,
        typer.Option(metavar="KEY", envvar="PERCEIVE_API_KEY", help="Asked of every request."),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST", help="Fetch images from there; repeat. [none]"),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(metavar="ORIGIN", help="Web pages that may ask, as https://a.b; repeat."),
    ] = None,
    max_mib: Annotated[int, typer.Option(metavar="N", min=1, help="Largest image.")] = 32,
    max_video_mib: Annotated[int, typer.Option(metavar="N", min=1, help="Largest video.")] = 256,
    max_megapixels: Annotated[int, typer.Option(metavar="N", min=1, help="Of an image.")] = 50,
    max_prompts: Annotated[int, typer.Option(metavar="N", min=1, help="Of a request.")] = 64,
    max_frames: Annotated[int, typer.Option(metavar="N", min=1, help="Of a video.")] = 3000,
    max_waiting: Annotated[
        int, typer.Option(metavar="N", min=1, help="Requests; more get 429.")
    ] = 64,
    max_sessions: Annotated[int, typer.Option(metavar="N", min=1, help="Kept at once.")] = 16,
    max_streams: Annotated[int, typer.Option(metavar="N", min=0, help="Open at once.")] = 4,
    session_idle: Annotated[
        float, typer.Option(metavar="S", min=1, help="Seconds until a session is forgotten.")
    ] = 600.0,
    debug: DebugOption = False,
) -> None:
    """Answer over HTTP."""
    from perceive_anything.errors import require_package

    for package in ("fastapi", "multipart", "openai", "uvicorn", "websockets"):
        require_package(package, extra="serve")
    from perceive_anything.server.settings import ServerSettings

    settings = ServerSettings.model_validate(
        {
            "api_key": api_key or None,
            "allow_hosts": tuple(allow_host or ()),
            "allow_origins": tuple(allow_origin or ()),
            "max_body_bytes": max_mib * MIB,
            "max_video_bytes": max_video_mib * MIB,
            "max_held_bytes": max(1024, 4 * max(max_mib, max_video_mib)) * MIB,
            "max_pixels": max_megapixels * 10**6,
            "max_prompts": max_prompts,
            "max_frames": max_frames,
            "max_waiting": max_waiting,
            "max_sessions": max_sessions,
            "max_streams": max_streams,
            "session_idle_s": session_idle,
        }
    )
    if settings.api_key is None and not is_loopback(host):
        typer.echo(
            f"warning: everybody who reaches {host} may ask; set PERCEIVE_API_KEY.", err=True
        )
    perceiver = LazyModel(model, sam2, device, dtype, quantize).get()
    from perceive_anything.server.app import create_app
    from perceive_anything.server.run import serve_forever

    serve_forever(create_app(perceiver, settings), settings, host, port, typer.echo)


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
