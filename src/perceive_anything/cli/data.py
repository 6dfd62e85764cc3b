"""`perceive data`: build training records by a recipe, look at them, count them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)
Records = Annotated[
    Path,
    typer.Argument(metavar="RECORDS", help="A records.jsonl, or a folder of a build or shards."),
]
Debug = Annotated[bool, typer.Option("--debug", help="Tracebacks.")]


@app.callback()
def data() -> None:
    """Make training data: region annotations in, bilingual region texts out."""


@app.command()
def build(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE.yaml", help="What to make, and how.")],
    runner: Annotated[
        str, typer.Option(metavar="local|ray", help="Threads here, or Ray Data.")
    ] = "local",
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="A.B=VALUE", help="Change a setting of the recipe."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
    debug: Debug = False,
) -> None:
    """Make records; a second call goes on where the first one stopped, and pays nothing twice."""
    from perceive_anything.cli.progress import follow_with_progress
    from perceive_anything.config import load_config
    from perceive_anything.engine.build import RUNNERS
    from perceive_anything.engine.build import build as build_data
    from perceive_anything.engine.recipe import DataRecipe
    from perceive_anything.errors import OptionError
    from perceive_anything.tasks import unknown

    if runner not in RUNNERS:
        raise OptionError(unknown("runner", runner, RUNNERS), code="unknown_option")
    settings = load_config(Path(recipe), DataRecipe, setting or [])
    follow = partial(follow_with_progress, quiet=quiet, unit="regions")
    try:
        report = build_data(settings, runner, follow=follow, say=partial(typer.echo, err=True))
    except KeyboardInterrupt:
        typer.echo("stopped; run the same command again to go on, nothing is lost", err=True)
        raise
    for line in report.lines():
        typer.echo(line)
    folder = Path(settings.output)
    names = ["records.jsonl", "shards", *(["pam_data.jsonl"] if settings.pam_data else [])]
    made = ", ".join(str(folder / name) for name in names)
    typer.echo(f"{made}; look at {folder / 'report.html'}")


@app.command()
def look(
    records: Records,
    save: Annotated[Path, typer.Option(metavar="PNG", help="Where the sheet goes.")] = Path(
        "look.png"
    ),
    count: Annotated[int, typer.Option(min=1, help="Regions to show.")] = 12,
    seed: Annotated[int, typer.Option(help="Which regions.")] = 0,
    debug: Debug = False,
) -> None:
    """Draw some regions with their marks and texts on one sheet."""
    import numpy as np

    from perceive_anything.engine.open import open_written
    from perceive_anything.engine.sheet import cards_of, contact_sheet
    from perceive_anything.media import save_image

    cards = cards_of(open_written(records, partial(typer.echo, err=True)), count, seed)
    save_image(np.asarray(contact_sheet(cards)), save)
    typer.echo(f"{len(cards)} regions in {save}")


@app.command()
def stats(records: Records, debug: Debug = False) -> None:
    """Count records, regions, texts and labels."""
    from perceive_anything.engine.open import open_written
    from perceive_anything.engine.stats import stats_of

    for line in stats_of(open_written(records, partial(typer.echo, err=True))).lines():
        typer.echo(line)
