"""`perceive video`: the options, and the order in which things are checked, followed and written.

What was followed is written even if the video ends too early or the user interrupts.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from perceive_anything.cli.options import (
    BoxOption,
    DebugOption,
    DeviceOption,
    DtypeOption,
    EverythingOption,
    JsonlOption,
    JsonOption,
    LangOption,
    LazyModel,
    LengthOption,
    MaskOption,
    ModelOption,
    PointOption,
    PointsOption,
    QuantizeOption,
    QuietOption,
    Sam2Option,
    TaskOption,
    TemperatureOption,
)
from perceive_anything.cli.prompts import ORDER_KEY, OrderedCommand, read_prompts, refuse_prompts
from perceive_anything.cli.table import shown_texts

if TYPE_CHECKING:
    from perceive_anything.errors import PerceiveError
    from perceive_anything.sessions.video import VideoSession
    from perceive_anything.tracks import Track, VideoResult

HELP = """Follow and describe regions of a video.

Every --box, --point, --points and --mask is one region on frame --frame; it is followed forward and
backward. --everything finds regions on that frame by itself, the largest first. The caption tells
of the video, the other texts of that frame.

\b
perceive video clip.mp4 --frame 12 --box 10,20,200,220 --save out.mp4
perceive video clip.mp4 --points "120,70;90,52,0" --task caption --json -
perceive video clip.mp4 --everything --max-regions 5 --save out.mp4
"""

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(cls=OrderedCommand, help=HELP)
def video(
    ctx: typer.Context,
    path: Annotated[str, typer.Argument(metavar="PATH", help="A video file.")],
    box: BoxOption = None,
    point: PointOption = None,
    points: PointsOption = None,
    mask: MaskOption = None,
    everything: EverythingOption = False,
    max_regions: Annotated[
        int, typer.Option(metavar="N", min=1, help="With --everything: most regions. [8]")
    ] = 8,
    frame: Annotated[
        int, typer.Option(metavar="N", min=0, help="Frame that is pointed at, from 0.")
    ] = 0,
    task: TaskOption = None,
    lang: LangOption = "en",
    model: ModelOption = "nano",
    sam2: Sam2Option = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    quantize: QuantizeOption = None,
    temperature: TemperatureOption = 0.0,
    max_new_tokens: LengthOption = None,
    json_to: JsonOption = None,
    jsonl_to: JsonlOption = None,
    save: Annotated[
        str | None, typer.Option(metavar="OUT.mp4", help="The video with the regions drawn.")
    ] = None,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Follow and describe regions of a video."""
    from perceive_anything.cli.output import check_targets
    from perceive_anything.sessions.regions import Writing
    from perceive_anything.tasks import ALL_TASKS

    writing = Writing.checked(tuple(task or ALL_TASKS), lang, max_new_tokens, temperature)
    values = {"box": box or [], "point": point or [], "points": points or [], "mask": mask or []}
    prompts = read_prompts(ctx.meta.get(ORDER_KEY, []), values, needed=not everything)
    if everything:
        refuse_prompts(prompts)
    check_targets(json_to, jsonl_to, save)
    perceiver = LazyModel(model, sam2, device, dtype, quantize).get()
    session = perceiver.video(path)
    if everything:
        ids = session.add_everything(frame=frame, max_regions=max_regions)
    else:
        ids = [session.add(prompt, frame=frame) for prompt in prompts]
    broken = _follow(session, quiet=quiet)
    tracks = [session.track(track_id, writing) for track_id in ids]
    result = _result(session, tracks, perceiver.model_name, lang, perceiver.load_s)
    _write(result, session, json_to, jsonl_to, save)
    if not quiet and "-" not in (json_to, jsonl_to):
        _print(result, save)
    if broken is not None:
        raise broken


def _follow(session: VideoSession, *, quiet: bool) -> PerceiveError | None:
    """Run through the video; the error that ended it too early, if one did."""
    from perceive_anything.cli.progress import follow_with_progress
    from perceive_anything.errors import MediaError

    try:
        follow_with_progress(session.propagate(), session.source.num_frames, quiet=quiet)
    except MediaError as error:
        if error.code != "video_truncated":
            raise
        return error
    except KeyboardInterrupt:
        typer.echo("interrupted: writing what was followed so far", err=True)
    return None


def _result(
    session: VideoSession, tracks: list[Track], model: str, language: str, load_s: float
) -> VideoResult:
    from perceive_anything.tracks import VideoResult

    return VideoResult(
        source=session.name,
        size_wh=session.size_wh,
        fps=session.source.fps,
        num_frames=session.num_frames,
        model=model,
        language=language,
        tracks=tuple(tracks),
        timing_s={"load": load_s, **session.timing_s},
    )


def _write(
    result: VideoResult,
    session: VideoSession,
    json_to: str | None,
    jsonl_to: str | None,
    save: str | None,
) -> None:
    from perceive_anything.export.files import unwritable

    for target in (json_to, jsonl_to):
        if target is None:
            continue
        text = json.dumps(result.to_json(), ensure_ascii=False) + "\n"
        if target == "-":
            sys.stdout.write(text)
            continue
        try:
            Path(target).write_text(text, "utf-8")
        except OSError as error:
            raise unwritable(target, error) from error
    if save is not None:
        result.save(save, session.source)


def _print(result: VideoResult, save: str | None) -> None:
    width, height = result.size_wh
    typer.echo(f"{result.source}  {width}x{height}  {result.num_frames} frames  {result.model}")
    for track in result.tracks:
        seen = sum(point.visible for point in track.points)
        typer.echo(f"region {track.id}: visible in {seen} of {len(track.points)} frames")
        for name, text in shown_texts(track):
            typer.echo(f"  {name}: {text}")
    if save is not None:
        typer.echo(f"video: {save}")
