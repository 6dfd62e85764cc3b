"""`perceive demo`: the web page on which people point and read.

Knows which models and sources the operator allows; visitors can name no others.
"""

from __future__ import annotations

import os
from typing import Annotated

import typer

from perceive_anything.cli.options import (
    DebugOption,
    DeviceOption,
    DtypeOption,
    LazyModel,
    QuantizeOption,
    QuietOption,
    Sam2Option,
)

HELP = """Show the web demo: point at anything in a photo, a video or a stream and read what it is.

Visitors choose among the models of --model, by default nano and those of `perceive models` that are
on this machine. The page is open to this machine alone unless --host says otherwise.

\b
perceive demo
perceive demo --model pam15 --device cuda --port 8080 --source rtsp://camera/1
"""

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(help=HELP)
def demo(
    model: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="nano, a folder or a hub id; repeat to offer several."),
    ] = None,
    source: Annotated[
        list[str] | None,
        typer.Option(metavar="SOURCE", help="File, camera or address for the stream tab; repeat."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="[first free from 7860 on]")
    ] = None,
    sam2: Sam2Option = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    quantize: QuantizeOption = None,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Show the web demo."""
    from perceive_anything.errors import require_package

    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before gradio is imported
    require_package("gradio", "demo")
    from perceive_anything.demo.app import serve

    def ready(address: str) -> None:
        if not quiet:
            typer.echo(f"The demo is at {address} (Ctrl-C ends it).")

    serve(
        lambda name: LazyModel(name, sam2, device, dtype, quantize).get(),
        models=tuple(dict.fromkeys(model)) if model else known_models(),
        sources=tuple(source or ()),
        host=host,
        port=port,
        ready=ready,
    )


def known_models() -> tuple[str, ...]:
    """nano, and the published models that are on this machine."""
    from perceive_anything.hub import PUBLISHED, cached_folder

    there = [model.hub_id for model in PUBLISHED if cached_folder(model.hub_id) is not None]
    return ("nano", *there)
