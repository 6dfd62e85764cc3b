"""`perceive image`: the options, and the order in which things are checked and answered.

Everything that can be wrong is looked at before a model is loaded; one bad image stops no other.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from perceive_anything.cli.answering import Attempts, Request, answer, load
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
from perceive_anything.cli.prompts import ORDER_KEY, OrderedCommand, read_prompts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from perceive_anything.cli.output import Outputs
    from perceive_anything.export.prompts import PromptTable

HELP = """Segment and describe regions of images.

Every --box, --point, --points and --mask is one region, in the order given; each image gets all.
--everything finds regions by itself, the largest first; --prompts takes each image's own from a
file. A PATH is an image, a folder or a pattern. With --out a call that was killed goes on.

\b
perceive image street.jpg --box 800,500,1800,1000 --save out.png
perceive image street.jpg --points "1200,700;900,520,0" --lang zh --json -
perceive image street.jpg --everything --max-regions 10 --task recognize
perceive image photos/ --everything --export coco --export overlays --out answers/
"""

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(cls=OrderedCommand, help=HELP)
def image(
    ctx: typer.Context,
    paths: Annotated[list[str], typer.Argument(metavar="PATH", help="Images, folders, patterns.")],
    box: BoxOption = None,
    point: PointOption = None,
    points: PointsOption = None,
    mask: MaskOption = None,
    prompts_from: Annotated[
        str | None,
        typer.Option("--prompts", metavar="FILE", help="COCO, Label Studio, CVAT, our JSON."),
    ] = None,
    everything: EverythingOption = False,
    max_regions: Annotated[
        int, typer.Option(metavar="N", min=1, help="With --everything: most regions. [32]")
    ] = 32,
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
        str | None,
        typer.Option(
            metavar="OVERLAY.png",
            help="Draw the regions; with several images a folder, or names get the image's stem.",
        ),
    ] = None,
    export: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FORMAT",
            help="With --out: json, jsonl, coco, yolo, labelstudio, cvat, fiftyone, masks, "
            "overlays; repeat. [json]",
        ),
    ] = None,
    out: Annotated[
        str | None, typer.Option(metavar="DIR", help="Folder of the exports; resumable.")
    ] = None,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Segment and describe regions of images."""
    from perceive_anything.cli.inputs import expand
    from perceive_anything.cli.output import Outputs
    from perceive_anything.tasks import ALL_TASKS, check_language, check_tasks, check_temperature

    tasks = check_tasks(tuple(task or ALL_TASKS))
    check_language(lang)
    check_temperature(temperature)
    _check_targets(out, export or [], (json_to, jsonl_to, save))
    values = {"box": box or [], "point": point or [], "points": points or [], "mask": mask or []}
    elsewhere = everything or prompts_from is not None
    prompts = read_prompts(ctx.meta.get(ORDER_KEY, []), values, needed=not elsewhere)
    _check_ways((everything, prompts_from, prompts))
    table = _table(prompts_from) if prompts_from is not None else None
    found = max_regions if everything else None
    request = Request(prompts, table, found, tasks, lang, max_new_tokens, temperature)
    lazy = LazyModel(model, sam2, device, dtype, quantize)
    if out is not None:
        ok = _into_folder(paths, request, lazy, out, export or [], quiet=quiet, debug=debug)
    else:
        files = expand(paths)
        with Outputs(files, json_to=json_to, jsonl_to=jsonl_to, save=save, quiet=quiet) as outputs:
            ok = _answer_all(files, request, lazy, outputs, debug=debug)
    if not ok:
        raise typer.Exit(2)


def _table(path: str) -> PromptTable:
    from perceive_anything.export import read_prompts as read_file

    return read_file(path)


def _into_folder(
    paths: list[str],
    request: Request,
    model: LazyModel,
    out: str,
    formats: list[str],
    *,
    quiet: bool,
    debug: bool,
) -> bool:
    from pathlib import Path

    from perceive_anything.cli.folder import FolderRun

    run = FolderRun(paths, request, model, Path(out), formats)
    return run.answer_all(quiet=quiet, debug=debug)


def _answer_all(
    paths: list[str], request: Request, model: LazyModel, outputs: Outputs, *, debug: bool
) -> bool:
    """Answer each image and say what is wrong with those that cannot be answered."""
    attempts = Attempts(outputs.failed, debug=debug)
    for path in paths:
        array = attempts.run(path, partial(load, path, request))
        if array is None:
            continue
        perceiver = model.get()  # a model that cannot be loaded ends the call
        result = attempts.run(path, partial(answer, path, array, request, perceiver))
        if result is not None:
            outputs.answered(result, array)
    return not attempts.failed


def _check_ways(ways: Sequence[object]) -> None:
    """One way to say where: prompts, a file of them, or everything."""
    from perceive_anything.errors import OptionError

    if sum(bool(way) for way in ways) > 1:
        raise OptionError(
            "regions come from --everything, from --prompts or from options that point at them, "
            "and two of these were given.\n  Leave one of the two out.",
            code="unknown_option",
        )


def _check_targets(out: str | None, formats: Sequence[str], others: Sequence[str | None]) -> None:
    """--export needs --out, and --out has its own files."""
    from perceive_anything.errors import OptionError

    if formats and out is None:
        raise OptionError(
            "--export writes files, and no folder was given.\n  Add --out DIR.",
            code="out_unwritable",
        )
    if out is not None and any(others):
        raise OptionError(
            "--out writes into its folder; --json, --jsonl and --save go elsewhere.\n"
            "  Use --export json, --export jsonl or --export overlays.",
            code="unknown_option",
        )
