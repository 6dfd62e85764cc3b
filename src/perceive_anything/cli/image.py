"""`perceive image`: the options, and the order in which things are checked and answered.

Everything that can be wrong is looked at before a model is loaded; one bad image stops no other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from perceive_anything.cli.prompts import ORDER_KEY, OrderedCommand, read_prompts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    import numpy.typing as npt

    from perceive_anything.cli.output import Outputs
    from perceive_anything.pipeline import Perceiver
    from perceive_anything.results import ImageResult
    from perceive_anything.types import Prompt

Answer = TypeVar("Answer")

HELP = """Segment and describe regions of images.

Every --box, --point, --points and --mask is one region, in the order given; each PATH gets all.

\b
perceive image street.jpg --box 800,500,1800,1000 --save out.png
perceive image street.jpg --points "1200,700;900,520,0" --lang zh --json -
"""

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@dataclass(frozen=True)
class Request:
    """What is asked of every image of the call."""

    prompts: Sequence[Prompt]
    tasks: tuple[str, ...]
    language: str
    max_new_tokens: int | None
    temperature: float


class LazyModel:
    """Loads the model when the first image that can be answered needs it."""

    def __init__(self, name: str, sam2: str | None, device: str | None, dtype: str | None) -> None:
        """Remember what to load."""
        self.name, self.sam2, self.device, self.dtype = name, sam2, device, dtype
        self._perceiver: Perceiver | None = None

    def get(self) -> Perceiver:
        """The perceiver, loaded once."""
        if self._perceiver is None:
            from perceive_anything.pipeline import Perceiver

            self._perceiver = Perceiver.from_pretrained(
                self.name, sam2=self.sam2, device=self.device, dtype=self.dtype
            )
        return self._perceiver


@app.command(cls=OrderedCommand, help=HELP)
def image(
    ctx: typer.Context,
    paths: Annotated[list[str], typer.Argument(metavar="PATH", help="Image files.")],
    box: Annotated[
        list[str] | None,
        typer.Option(metavar="X1,Y1,X2,Y2", help="A box in pixels."),
    ] = None,
    point: Annotated[
        list[str] | None,
        typer.Option(metavar="X,Y[,0]", help="A point; 0 = not this."),
    ] = None,
    points: Annotated[
        list[str] | None,
        typer.Option(
            metavar='"X,Y;X,Y,0"',
            help="Points of one region; an item of four numbers is its box.",
        ),
    ] = None,
    mask: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE.png", help="A mask file."),
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TASK", help="segment, recognize, explain, caption or describe; repeat. [all]"
        ),
    ] = None,
    lang: Annotated[str, typer.Option(metavar="en|zh", help="Language of the texts.")] = "en",
    model: Annotated[
        str, typer.Option(metavar="NAME", help="nano, a folder or a hub id.")
    ] = "nano",
    device: Annotated[
        str | None, typer.Option(metavar="cpu|cuda|mps", help="Default: see perceive doctor.")
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="float32, float16 or bfloat16. [float32 on a CPU]"),
    ] = None,
    sam2: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|FOLDER|SIZE", help="SAM 2.1 of a released PAM folder that has none."
        ),
    ] = None,
    temperature: Annotated[
        float, typer.Option(metavar="T", help="Above 0 samples; released: 0.1. [likeliest words]")
    ] = 0.0,
    max_new_tokens: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Longest text, in tokens.")
    ] = None,
    json_to: Annotated[
        str | None,
        typer.Option("--json", metavar="FILE|-", help="One JSON object."),
    ] = None,
    jsonl_to: Annotated[
        str | None,
        typer.Option("--jsonl", metavar="FILE|-", help="One JSON object a line."),
    ] = None,
    save: Annotated[
        str | None,
        typer.Option(
            metavar="OVERLAY.png",
            help="Draw the regions; with several images a folder, or names get the image's stem.",
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No table.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Tracebacks.")] = False,
) -> None:
    """Segment and describe regions of images."""
    from perceive_anything.cli.output import Outputs
    from perceive_anything.tasks import (
        ALL_TASKS,
        check_language,
        check_tasks,
        check_temperature,
    )

    tasks = check_tasks(tuple(task or ALL_TASKS))
    check_language(lang)
    check_temperature(temperature)
    values = {"box": box or [], "point": point or [], "points": points or [], "mask": mask or []}
    prompts = read_prompts(ctx.meta.get(ORDER_KEY, []), values)
    outputs = Outputs(paths, json_to=json_to, jsonl_to=jsonl_to, save=save, quiet=quiet)
    with outputs:
        request = Request(prompts, tasks, lang, max_new_tokens, temperature)
        lazy = LazyModel(model, sam2, device, dtype)
        ok = _answer_all(paths, request, lazy, outputs, debug=debug)
    if not ok:
        raise typer.Exit(2)


def _answer_all(
    paths: list[str], request: Request, model: LazyModel, outputs: Outputs, *, debug: bool
) -> bool:
    """Answer each image and say what is wrong with those that cannot be answered."""
    from perceive_anything.cli.app import show_error
    from perceive_anything.errors import PerceiveError

    failed = False

    def attempt(path: str, work: Callable[[], Answer]) -> Answer | None:
        nonlocal failed
        try:
            return work()
        except PerceiveError as error:
            failed = True
            show_error(error, debug=debug)
            outputs.failed(path, error)
            return None

    for path in paths:
        array = attempt(path, partial(_load, path, request.prompts))
        if array is None:
            continue
        perceiver = model.get()  # a model that cannot be loaded ends the call
        result = attempt(path, partial(_perceive, path, array, request, perceiver))
        if result is not None:
            outputs.answered(result, array)
    return not failed


def _load(path: str, prompts: Sequence[Prompt]) -> npt.NDArray[np.uint8]:
    """The pixels of an image that all prompts fit."""
    from perceive_anything.media import check_shape, load_image

    array = load_image(path)
    check_shape(array, path)
    for prompt in prompts:
        prompt.validate_for((array.shape[1], array.shape[0]), path)
    return array


def _perceive(
    path: str, array: npt.NDArray[np.uint8], request: Request, perceiver: Perceiver
) -> ImageResult:
    from perceive_anything.results import ImageResult

    session = perceiver.image(array)
    regions = session.perceive(
        list(request.prompts),
        tasks=request.tasks,
        language=request.language,
        max_new_tokens=request.max_new_tokens,
        temperature=request.temperature,
    )
    return ImageResult(
        source=path,
        size_wh=(array.shape[1], array.shape[0]),
        model=perceiver.model_name,
        language=request.language,
        regions=tuple(regions),
        timing_s={"load": perceiver.load_s, **session.timing_s},
    )
