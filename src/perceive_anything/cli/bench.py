"""`perceive bench`: time the answers of a model, the last line as JSON."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def bench(
    model: Annotated[
        str,
        typer.Option(metavar="NAME", help="nano, a folder, a hub id, random:tiny or random:1.5b."),
    ] = "nano",
    regions: Annotated[int, typer.Option(metavar="N", min=1, help="Regions.")] = 1,
    tasks: Annotated[int, typer.Option(metavar="M", min=1, max=4, help="Texts of each.")] = 4,
    new_tokens: Annotated[int, typer.Option(metavar="K", min=1, help="Tokens of each text.")] = 32,
    threads: Annotated[int | None, typer.Option(metavar="T", min=1, help="CPU threads.")] = None,
    paths: Annotated[
        str,
        typer.Option(
            metavar="reference,fast", help="As released (all anew each time), ours, or both."
        ),
    ] = "reference,fast",
    runs: Annotated[int, typer.Option(metavar="R", min=1, help="Runs of each path.")] = 3,
    device: Annotated[str | None, typer.Option(metavar="cpu|cuda|mps")] = None,
    dtype: Annotated[str | None, typer.Option(metavar="NAME")] = None,
    quantize: Annotated[str | None, typer.Option(metavar="int8", help="Weights on a CPU.")] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Tracebacks.")] = False,
) -> None:
    """Time answers, in alternation where there are two paths, which must give the same tokens."""
    import torch

    from perceive_anything.errors import OptionError
    from perceive_anything.evaluation.random_models import load_any
    from perceive_anything.evaluation.speed import PATHS, compare, make_work, summary
    from perceive_anything.modeling.quantize import weight_bytes
    from perceive_anything.tasks import TEXT_TASKS, unknown

    wanted = list(dict.fromkeys(paths.split(",")))
    for path in wanted:
        if path not in PATHS:
            raise OptionError(unknown("path", path, tuple(PATHS)), code="unknown_option")
    if threads is not None:
        torch.set_num_threads(threads)
    pam = load_any(model, device, dtype, quantize)
    work = make_work(pam, regions, TEXT_TASKS[:tasks], new_tokens)
    measured = compare(work, wanted, runs, lambda line: typer.echo(line, err=True))
    numbers = {path: summary(made) for path, made in measured.items()}
    _print_table(numbers)
    weights = weight_bytes(pam.model) / 2**20
    config = {
        "model": model, "regions": regions, "tasks": tasks, "new_tokens": new_tokens,
        "runs": runs, "device": str(pam.device), "dtype": str(pam.model.dtype),
        "quantize": quantize, "weights_mib": round(weights, 1),
    }  # fmt: skip
    typer.echo(json.dumps(_report(config, numbers)))


def _report(config: dict[str, Any], numbers: dict[str, dict[str, float]]) -> dict[str, Any]:
    from perceive_anything.evaluation.provenance import provenance

    report: dict[str, Any] = {"benchmark": "inference", "config": config, "paths": numbers}
    if len(numbers) == 2:
        slow, fast = (numbers[path]["total_s"] for path in ("reference", "fast"))
        report["ratio"] = round(slow / fast, 3)
    return report | provenance()


def _print_table(numbers: dict[str, dict[str, float]]) -> None:
    rows = list(next(iter(numbers.values())))
    typer.echo(" " * 22 + "".join(f"{path:>12}" for path in numbers))
    for row in rows:
        typer.echo(f"{row:22}" + "".join(f"{table[row]:12.3f}" for table in numbers.values()))
