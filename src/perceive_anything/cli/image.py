"""`perceive image`: the options, and the order in which things are checked and answered.

Everything that can be wrong is looked at before a model is loaded; one bad image stops no other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer

from perceive_anything.cli.options import (
    BoxOption,
    DebugOption,
    DeviceOption,
    DtypeOption,
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
--everything finds regions by itself, the largest first.

\b
perceive image street.jpg --box 800,500,1800,1000 --save out.png
perceive image street.jpg --points "1200,700;900,520,0" --lang zh --json -
perceive image street.jpg --everything --max-regions 10 --task recognize
"""

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@dataclass(frozen=True)
class Request:
    """What is asked of every image of the call: about prompts, or up to `everything` regions."""

    prompts: Sequence[Prompt]
    everything: int | None
    tasks: tuple[str, ...]
    language: str
    max_new_tokens: int | None
    temperature: float


@app.command(cls=OrderedCommand, help=HELP)
def image(
    ctx: typer.Context,
    paths: Annotated[list[str], typer.Argument(metavar="PATH", help="Image files.")],
    box: BoxOption = None,
    point: PointOption = None,
    points: PointsOption = None,
    mask: MaskOption = None,
    everything: Annotated[
        bool, typer.Option("--everything", help="Find regions without any prompt.")
    ] = False,
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
    quiet: QuietOption = False,
    debug: DebugOption = False,
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
    prompts = read_prompts(ctx.meta.get(ORDER_KEY, []), values, needed=not everything)
    if everything and prompts:
        _refuse_both()
    outputs = Outputs(paths, json_to=json_to, jsonl_to=jsonl_to, save=save, quiet=quiet)
    with outputs:
        found = max_regions if everything else None
        request = Request(prompts, found, tasks, lang, max_new_tokens, temperature)
        lazy = LazyModel(model, sam2, device, dtype, quantize)
        ok = _answer_all(paths, request, lazy, outputs, debug=debug)
    if not ok:
        raise typer.Exit(2)


def _refuse_both() -> NoReturn:
    from perceive_anything.errors import OptionError

    raise OptionError(
        "--everything finds regions by itself, and regions were pointed at as well.\n"
        "  Leave one of the two out.",
        code="unknown_option",
    )


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
    how: dict[str, Any] = {
        "tasks": request.tasks, "language": request.language,
        "max_new_tokens": request.max_new_tokens, "temperature": request.temperature,
    }  # fmt: skip
    if request.everything is None:
        regions = session.perceive(list(request.prompts), **how)
    else:
        regions = session.everything(max_regions=request.everything, **how)
    return ImageResult(
        source=path,
        size_wh=(array.shape[1], array.shape[0]),
        model=perceiver.model_name,
        language=request.language,
        regions=tuple(regions),
        timing_s={"load": perceiver.load_s, **session.timing_s},
    )
