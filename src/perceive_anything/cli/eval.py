"""`perceive eval`: run a benchmark and print its numbers, the last line as JSON."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(name="eval")
def evaluate(
    benchmark: Annotated[str, typer.Argument(metavar="BENCHMARK", help="packs")],
    data: Annotated[str, typer.Option(metavar="DIR", help="Folder with the packs.")],
    model: Annotated[
        str, typer.Option(metavar="NAME", help="nano, a folder or a hub id.")
    ] = "nano",
    split: Annotated[str, typer.Option(metavar="NAME", help="val (held out) or train.")] = "val",
    pack: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only this pack.")] = None,
    limit: Annotated[int | None, typer.Option(metavar="N", help="Only the first N images.")] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Tracebacks.")] = False,
) -> None:
    """Measure masks and labels on annotated images."""
    from perceive_anything.errors import OptionError
    from perceive_anything.tasks import unknown

    for kind, value, choices in (
        ("benchmark", benchmark, ("packs",)),
        ("split", split, ("train", "val")),
    ):
        if value not in choices:
            raise OptionError(unknown(kind, value, choices), code="unknown_option")
    from perceive_anything.data.lexicon import Lexicon
    from perceive_anything.data.packs import read_packs
    from perceive_anything.evaluation.packs import evaluate_packs
    from perceive_anything.pipeline import Perceiver

    records = list(islice(read_packs(Path(data), pack, split=split), limit))
    lexicon = Lexicon.load(data)
    pam = Perceiver.from_pretrained(model)
    scores = evaluate_packs(pam, records, lexicon, report=lambda line: typer.echo(line, err=True))
    wrong = [f"{truth} -> {answer}" for truth, answer in scores.mistakes[:40]]
    typer.echo("wrong labels: " + "; ".join(wrong))
    numbers = {"benchmark": benchmark, "split": split, "model": model, "images": len(records)}
    typer.echo(json.dumps(numbers | scores.to_json(), ensure_ascii=False))
