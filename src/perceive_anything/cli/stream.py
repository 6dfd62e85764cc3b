"""`perceive stream`: events of a live source as lines, and a recording with the regions drawn.

Ends cleanly on Ctrl-C and on a reader that goes away: open captions are written, the recording is
complete.
"""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from typing import IO, TYPE_CHECKING, Annotated

import typer

from perceive_anything.cli.options import (
    BoxOption,
    DebugOption,
    DeviceOption,
    DtypeOption,
    JsonlOption,
    LangOption,
    LazyModel,
    MaskOption,
    ModelOption,
    PointOption,
    PointsOption,
    QuantizeOption,
    QuietOption,
    Sam2Option,
)
from perceive_anything.cli.prompts import ORDER_KEY, OrderedCommand, read_prompts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from perceive_anything.sessions.stream import Event, StreamSession
    from perceive_anything.video_writer import VideoWriter

    Sink = Callable[[Event], None]

RECORDING_FPS = 25.0

HELP = """Follow and describe regions of a stream while its frames arrive.

SOURCE is a file, a camera number, or an rtsp:// or http:// address. Every --box, --point, --points
and --mask is one region on the first frame. Ctrl-C ends the stream and completes the recording.

\b
perceive stream 0 --box 10,20,200,220 --caption-every 4
perceive stream rtsp://camera/1 --box 10,20,200,220 --caption-every auto --jsonl events.jsonl
"""

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(cls=OrderedCommand, help=HELP)
def stream(
    ctx: typer.Context,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="File, camera, address.")],
    box: BoxOption = None,
    point: PointOption = None,
    points: PointsOption = None,
    mask: MaskOption = None,
    caption_every: Annotated[
        str, typer.Option(metavar="4s|auto|never", help="When a caption is written.")
    ] = "auto",
    lang: LangOption = "en",
    model: ModelOption = "nano",
    sam2: Sam2Option = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    quantize: QuantizeOption = None,
    jsonl_to: JsonlOption = None,
    save: Annotated[
        str | None, typer.Option(metavar="OUT.mp4", help="Record with the regions drawn.")
    ] = None,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Follow and describe regions of a stream while its frames arrive."""
    from perceive_anything.cli.output import check_targets

    values = {"box": box or [], "point": point or [], "points": points or [], "mask": mask or []}
    prompts = read_prompts(ctx.meta.get(ORDER_KEY, []), values)
    interval = read_interval(caption_every)
    check_targets(None, jsonl_to, save)
    perceiver = LazyModel(model, sam2, device, dtype, quantize).get()
    session = perceiver.stream(source, caption_every=interval, language=lang)
    for prompt in prompts:
        session.add(prompt)
    with ExitStack() as stack:
        sinks: list[Sink] = [_print] if not quiet and jsonl_to != "-" else []
        if jsonl_to is not None:
            sinks.append(_line_writer(jsonl_to, stack))
        if save is not None:
            sinks.append(_recorder(session, save, stack))
        try:
            _run(session, sinks)
        except KeyboardInterrupt:
            _run(session.close("interrupted"), sinks)


def read_interval(text: str) -> float | str | None:
    """Seconds of "4s" or "4", "auto", or None of "never".

    Raises:
        OptionError: It is none of these.
    """
    from perceive_anything.errors import OptionError

    if text in ("auto", "never"):
        return "auto" if text == "auto" else None
    try:
        return float(text.removesuffix("s"))
    except ValueError:
        raise OptionError(
            f'--caption-every "{text}" is no time.\n  Write seconds, as 4s, or auto, or never.',
            code="unknown_option",
        ) from None


def _run(events: Iterable[Event], sinks: list[Sink]) -> None:
    for event in events:
        for sink in sinks:
            sink(event)


def _line_writer(target: str, stack: ExitStack) -> Sink:
    from pathlib import Path

    opened = Path(target).open("w", encoding="utf-8") if target != "-" else None  # noqa: SIM115
    file: IO[str] = stack.enter_context(opened) if opened is not None else sys.stdout

    def write(event: Event) -> None:
        for line in event.to_lines():
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
        file.flush()

    return write


def _recorder(session: StreamSession, path: str, stack: ExitStack) -> Sink:
    """Draws each frame with its regions and each region's newest caption."""
    from perceive_anything.events import CaptionEvent, FrameEvent
    from perceive_anything.video_writer import VideoWriter

    writer: VideoWriter | None = None
    captions: dict[int, str] = {}
    labels: dict[int, str] = {}

    def record(event: Event) -> None:
        nonlocal writer
        if isinstance(event, CaptionEvent):
            captions[event.track], labels[event.track] = event.text, event.title
        elif isinstance(event, FrameEvent) and session.frame is not None:
            if writer is None:
                writer = stack.enter_context(VideoWriter(path, RECORDING_FPS, event.size_wh))
            writer.write(event.plot(session.frame.image, captions, labels), event.time_s)

    return record


def _print(event: Event) -> None:
    from perceive_anything.events import CaptionEvent, EndEvent

    if isinstance(event, CaptionEvent):
        span = f"{event.start_s:.1f}-{event.end_s:.1f} s"
        name = f"region {event.track}"
        if event.label and event.label_confidence is not None:
            name += f", {event.title} ({event.label_confidence:.0%} sure)"
        typer.echo(f"{span}  {name} ({event.reason}): {event.text}")
    elif isinstance(event, EndEvent):
        typer.echo(f"{event.frames} frames, {event.dropped} dropped, ended by {event.reason}")
