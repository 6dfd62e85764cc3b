"""`perceive models`: what --model can name, what of it is on this machine, and how to get the rest.

Looks at folders only; loads nothing and asks no hub.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from perceive_anything.assets import NANO

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def models(
    debug: Annotated[bool, typer.Option("--debug", help="Tracebacks.")] = False,
) -> None:
    """List the models that can be named with --model."""
    from perceive_anything.hub import PUBLISHED, SAM2_HUB_ID, cached_folder

    typer.echo("nano (default)")
    state = f"{_weights_gb(NANO) * 1e3:.1f} MB" if _weights_gb(NANO) else "NOT FOUND: reinstall"
    typer.echo(f"  embedded, any CPU, offline; {state}; licence: {_card_license(NANO)}")
    typer.echo(f"  {NANO}")
    for model in PUBLISHED:
        typer.echo(model.hub_id)
        typer.echo(f"  {model.parts}; about {model.bfloat16_gb:.1f} GB in bfloat16")
        typer.echo(f"  licence: {model.licence}; terms of the whole: its page on the hub")
        typer.echo(f"  {_state(model.hub_id, cached_folder(model.hub_id))}")
    typer.echo(f"{SAM2_HUB_ID} (for a released folder without SAM 2.1; --sam2 takes files too)")
    typer.echo(f"  {_state(SAM2_HUB_ID, cached_folder(SAM2_HUB_ID))}")
    typer.echo(
        "yours: --model FOLDER, written by save_pretrained, `perceive train` or `perceive convert`"
    )


def _state(hub_id: str, folder: Path | None) -> str:
    if folder is None:
        return f"not on this machine; get it with: hf download {hub_id}"
    return f"on this machine, {_weights_gb(folder):.1f} GB: {folder}"


def _weights_gb(folder: Path) -> float:
    """Size of a folder's weights files."""
    kinds = (".safetensors", ".pt", ".bin")
    return sum(p.stat().st_size for p in folder.rglob("*") if p.suffix in kinds) / 1e9


def _card_license(folder: Path) -> str:
    """The `license:` line at the head of the model card."""
    card = folder / "MODEL_CARD.md"
    lines = card.read_text(encoding="utf-8").splitlines() if card.is_file() else []
    stated = [line.partition(":")[2].strip() for line in lines if line.startswith("license:")]
    return stated[0] if stated else "see its MODEL_CARD.md"
