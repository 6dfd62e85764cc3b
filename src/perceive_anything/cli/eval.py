"""`perceive eval`: run a benchmark, or score its answers once more; the last line is JSON.

Knows the options; `packs` and `masklets` measure on the packs, the other benchmarks stand in
`evaluation.catalogue`.
"""

from __future__ import annotations

import json
import re
import shlex
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
    from perceive_anything.evaluation.metrics.scores import Helpers
    from perceive_anything.pipeline import Perceiver

app = typer.Typer(add_completion=False, rich_markup_mode=None)

PACK_BENCHMARKS = ("packs", "masklets", "captions")
SCORE, OFFLINE = "score", "offline"
RUNS = Path("runs") / "eval"
# The same clips for every model, whatever its input side.
CLIPS, CLIP_FRAMES, CLIP_SIDE, CLIP_SEED = 40, 12, 384, 1


@app.command(name="eval")
def evaluate(
    ctx: typer.Context,
    benchmark: Annotated[
        str,
        typer.Argument(
            metavar="BENCHMARK",
            help="lvis, paco, coco-text, ..., segmentation, recognition or captions for your own "
            "data, packs, masklets; or score. A wrong name lists them all.",
        ),
    ],
    file: Annotated[
        str | None,
        typer.Argument(metavar="[FILE]", help="Of score: predictions.jsonl of an earlier run."),
    ] = None,
    data: Annotated[
        str | None, typer.Option(metavar="DIR", help="Folder (or annotation file) of the data.")
    ] = None,
    model: Annotated[
        str, typer.Option(metavar="NAME", help="nano, a folder, a hub id or random:tiny.")
    ] = "nano",
    limit: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Only the first N images or clips. [all]"),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the predictions in --out.")
    ] = False,
    out: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="For predictions and report. [runs/eval/BENCHMARK_MODEL]"),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="Which metrics; by default those of the benchmark."),
    ] = None,
    judge: Annotated[
        str,
        typer.Option(
            metavar="MODEL",
            help="Judge at OPENAI_BASE_URL with OPENAI_API_KEY, or offline: words in common.",
        ),
    ] = OFFLINE,
    lexicon: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Folder with text.json.gz, for the metric concept."),
    ] = None,
    lang: Annotated[str, typer.Option(metavar="LANG", help="Of the answers: en or zh.")] = "en",
    split: Annotated[
        str, typer.Option(metavar="NAME", help="Of the packs: val (held out) or train.")
    ] = "val",
    pack: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only this pack.")] = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    quantize: QuantizeOption = None,
    debug: DebugOption = False,
) -> None:
    """Measure a model on the benchmarks of the papers or on your own data."""
    from perceive_anything.tasks import check_language

    check_language(lang)
    if benchmark == SCORE:
        path = Path(_given(file, "score needs a FILE", "perceive eval score predictions.jsonl"))
        folder = Path(out) if out else path.parent
        _score(path, folder, _names(metrics), _helpers(judge, lexicon, folder))
        return
    _check_benchmark(benchmark, file)
    place = _given(data, f"{benchmark} needs its data", f"perceive eval {benchmark} --data DIR")
    lazy = LazyModel(model, None, device, dtype, quantize)
    if benchmark in PACK_BENCHMARKS and (benchmark != "captions" or _holds_packs(place)):
        _on_packs(benchmark, place, lazy, split, pack, lang, limit)
        return
    folder = Path(out) if out else RUNS / f"{benchmark}_{_file_name(model)}"
    helpers = _helpers(judge, lexicon, folder)
    command = shlex.join(["perceive", *ctx.obj])
    _answer(command, benchmark, place, folder, lazy, _names(metrics), helpers, lang, limit, resume)


def _answer(
    command: str,
    benchmark: str,
    data: str,
    folder: Path,
    lazy: LazyModel,
    metrics: list[str] | None,
    helpers: Helpers,
    language: str,
    limit: int | None,
    resume: bool,
) -> None:
    """Ask about every sample, then score what was said."""
    from perceive_anything.evaluation.catalogue import find_benchmark
    from perceive_anything.evaluation.predictions import Head
    from perceive_anything.evaluation.provenance import provenance
    from perceive_anything.evaluation.random_models import load_any
    from perceive_anything.evaluation.run import answer_all, choose_metrics

    choose_metrics(find_benchmark(benchmark), metrics, helpers)  # before hours are spent
    place = str(Path(data).resolve())
    head = Head(benchmark, lazy.name, place, language, command, provenance())

    def get_model() -> Perceiver:
        lazy.loaded = lazy.loaded or load_any(lazy.name, lazy.device, lazy.dtype, lazy.quantize)
        return lazy.loaded

    path = answer_all(head, folder, get_model, limit=limit, resume=resume, report=_report)
    _score(path, folder, metrics, helpers)


def _check_benchmark(benchmark: str, file: str | None) -> None:
    from perceive_anything.errors import OptionError
    from perceive_anything.evaluation.catalogue import BENCHMARKS
    from perceive_anything.tasks import unknown

    known = (*dict.fromkeys((*BENCHMARKS, *PACK_BENCHMARKS)), SCORE)
    if benchmark not in known:
        raise OptionError(unknown("benchmark", benchmark, known), code="unknown_option")
    if file is not None:
        raise OptionError(
            f'{benchmark} takes no file, got "{file}".\n  Give the data with --data.',
            code="unknown_option",
        )


def _score(path: Path, folder: Path, metrics: list[str] | None, helpers: Helpers) -> None:
    from perceive_anything.evaluation.report import write_report
    from perceive_anything.evaluation.run import score

    evaluation = score(path, metrics, helpers)
    told = write_report(evaluation, folder)
    for one in told["scores"]:
        value = "-" if one["value"] is None else f"{one['value']:.2f}"
        note = f"  ({one['note']})" if one["note"] else ""
        typer.echo(f"{one['name']:28} {value:>8}  of {one['count']}{note}")
    left_out = f", {len(told['left_out'])} left out" if told["left_out"] else ""
    typer.echo(f"{told['samples']} samples{left_out}; report: {folder / 'report.html'}")
    shown = ("benchmark", "model", "samples", "complete", "judge", "scores", "speed")
    typer.echo(json.dumps({name: told[name] for name in shown}, ensure_ascii=False))


def _helpers(judge: str, lexicon: str | None, folder: Path) -> Helpers:
    from perceive_anything.data.lexicon import Lexicon
    from perceive_anything.evaluation.judges.client import OpenAIJudge
    from perceive_anything.evaluation.judges.kept import KeptJudge
    from perceive_anything.evaluation.judges.offline import OfflineJudge
    from perceive_anything.evaluation.metrics.scores import Helpers

    words = Lexicon.load(lexicon) if lexicon else None
    if judge == OFFLINE:
        return Helpers(OfflineJudge(), words)
    return Helpers(KeptJudge(OpenAIJudge(judge), folder / "judgements.jsonl"), words)


def _names(metrics: str | None) -> list[str] | None:
    return None if metrics is None else [name.strip() for name in metrics.split(",")]


def _file_name(model: str) -> str:
    return re.sub(r"[^\w.-]+", "-", model.rstrip("/")).strip("-")


def _given(value: str | None, problem: str, example: str) -> str:
    from perceive_anything.errors import OptionError

    if value is None:
        raise OptionError(f"{problem}.\n  For example: {example}", code="unknown_option")
    return value


def _holds_packs(place: str) -> bool:
    return any(Path(place).glob("*.tar"))


def _report(line: str) -> None:
    typer.echo(line, err=True)


def _on_packs(
    benchmark: str,
    data: str,
    lazy: LazyModel,
    split: str,
    pack: list[str] | None,
    language: str,
    limit: int | None,
) -> None:
    """The benchmarks on the packs, which keep nothing but their last line."""
    from perceive_anything.data.packs import read_packs
    from perceive_anything.errors import OptionError
    from perceive_anything.tasks import unknown

    if split not in ("train", "val"):
        raise OptionError(unknown("split", split, ("train", "val")), code="unknown_option")
    records = list(read_packs(Path(data), pack, split=split))
    pam = lazy.get()
    numbers: dict[str, Any] = {
        "benchmark": benchmark,
        "split": split,
        "model": lazy.name,
        "quantize": lazy.quantize,
    }
    if benchmark == "packs":
        numbers |= {"language": language, **_packs(pam, records, data, limit, language)}
    elif benchmark == "masklets":
        numbers |= _masklets(pam, records, limit)
    else:
        from perceive_anything.evaluation.captions import evaluate_captions

        numbers |= evaluate_captions(pam, islice(records, limit), report=_report)
    typer.echo(json.dumps(numbers, ensure_ascii=False))


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
