"""`perceive eval`: run a benchmark and print its numbers, the last line as JSON."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from perceive_anything.cli.options import (
    DebugOption,
    DeviceOption,
    DtypeOption,
    LazyModel,
    QuantizeOption,
)

if TYPE_CHECKING:
    from perceive_anything.data.schema import ImageRecord
    from perceive_anything.pipeline import Perceiver

app = typer.Typer(add_completion=False, rich_markup_mode=None)

BENCHMARKS = ("packs", "masklets", "captions")
# The same clips for every model, whatever its input side.
CLIPS, CLIP_FRAMES, CLIP_SIDE, CLIP_SEED = 40, 12, 384, 1


@app.command(name="eval")
def evaluate(
    benchmark: Annotated[
        str,
        typer.Argument(
            metavar="BENCHMARK",
            help="packs (masks, labels), masklets (made-up clips) or captions.",
        ),
    ],
    data: Annotated[str, typer.Option(metavar="DIR", help="Folder with the packs.")],
    model: Annotated[
        str, typer.Option(metavar="NAME", help="nano, a folder or a hub id.")
    ] = "nano",
    split: Annotated[str, typer.Option(metavar="NAME", help="val (held out) or train.")] = "val",
    pack: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only this pack.")] = None,
    lang: Annotated[str, typer.Option(metavar="LANG", help="Of the labels: en or zh.")] = "en",
    limit: Annotated[
        int | None, typer.Option(metavar="N", help="Only the first N images (or clips). [40 clips]")
    ] = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    quantize: QuantizeOption = None,
    debug: DebugOption = False,
) -> None:
    """Measure masks, labels and captions on annotated images, or tracking on clips of them."""
    from perceive_anything.errors import OptionError
    from perceive_anything.tasks import LANGUAGES, unknown

    for kind, value, choices in (
        ("benchmark", benchmark, BENCHMARKS),
        ("split", split, ("train", "val")),
        ("language", lang, LANGUAGES),
    ):
        if value not in choices:
            raise OptionError(unknown(kind, value, choices), code="unknown_option")
    from perceive_anything.data.packs import read_packs

    records = list(read_packs(Path(data), pack, split=split))
    pam = LazyModel(model, None, device, dtype, quantize).get()
    numbers: dict[str, Any] = {
        "benchmark": benchmark,
        "split": split,
        "model": model,
        "quantize": quantize,
    }
    if benchmark == "packs":
        numbers |= {"language": lang, **_packs(pam, records, data, limit, lang)}
    elif benchmark == "masklets":
        numbers |= _masklets(pam, records, limit)
    else:
        from perceive_anything.evaluation.captions import evaluate_captions

        numbers |= evaluate_captions(pam, islice(records, limit), report=_report)
    typer.echo(json.dumps(numbers, ensure_ascii=False))


def _report(line: str) -> None:
    typer.echo(line, err=True)


def _packs(
    pam: Perceiver, records: list[ImageRecord], data: str, limit: int | None, language: str
) -> dict[str, Any]:
    from perceive_anything.data.lexicon import Lexicon
    from perceive_anything.evaluation.packs import evaluate_packs

    records = list(islice(records, limit))
    lexicon = Lexicon.load(data)
    scores = evaluate_packs(pam, records, lexicon, language=language, report=_report)
    wrong = [f"{truth} -> {answer}" for truth, answer in scores.mistakes[:40]]
    typer.echo("wrong labels: " + "; ".join(wrong))
    return {"images": len(records), **scores.to_json()}


def _masklets(pam: Perceiver, records: list[ImageRecord], limit: int | None) -> dict[str, Any]:
    from perceive_anything.data.masklets import MaskletMaker
    from perceive_anything.evaluation.tracking import evaluate_masklets

    maker = MaskletMaker(records, CLIP_SIDE, CLIP_FRAMES, CLIP_SEED)
    clips = (maker.make(number) for number in range(limit or CLIPS))
    scores = evaluate_masklets(pam, clips, report=_report)
    return {"clips": limit or CLIPS, "frames": CLIP_FRAMES, **scores}
