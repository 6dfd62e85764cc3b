"""`perceive models`: what --model can name.

Reads file sizes of the embedded model; loads nothing and asks no hub.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from perceive_anything.assets import NANO

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@dataclass(frozen=True)
class PublishedModel:
    """A model on the hub, in a line."""

    hub_id: str
    summary: str


PUBLISHED = (
    PublishedModel(
        "Perceive-Anything/PAM-1.5B", "SAM 2.1 Hiera-L + Qwen2.5-1.5B; GPU, or a patient CPU"
    ),
    PublishedModel("Perceive-Anything/PAM-3B", "SAM 2.1 Hiera-L + Qwen2.5-3B; GPU"),
)
PUBLISHED_LICENSE = "licence: see the model's page on the hub"


@app.command()
def models(
    debug: Annotated[bool, typer.Option("--debug", help="Tracebacks.")] = False,
) -> None:
    """List the models that can be named with --model."""
    weights = sorted(NANO.glob("*.safetensors"))
    size_mb = sum(path.stat().st_size for path in weights) / 1e6
    state = f"{size_mb:.1f} MB" if weights else "NOT FOUND: reinstall perceive-anything"
    typer.echo("nano (default)")
    typer.echo(f"  embedded, any CPU, offline; {state}; licence: {_card_license(NANO)}")
    typer.echo(f"  {NANO}")
    for model in PUBLISHED:
        typer.echo(model.hub_id)
        typer.echo(f"  {model.summary}; {PUBLISHED_LICENSE}")
    typer.echo("yours: --model FOLDER, as written by save_pretrained or `perceive train`")


def _card_license(folder: Path) -> str:
    """The `license:` line at the head of the model card."""
    card = folder / "MODEL_CARD.md"
    lines = card.read_text(encoding="utf-8").splitlines() if card.is_file() else []
    stated = [line.partition(":")[2].strip() for line in lines if line.startswith("license:")]
    return stated[0] if stated else "see its MODEL_CARD.md"
