"""`perceive convert`: a released checkpoint -> a folder in our layout."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, rich_markup_mode=None)

HELP = """Convert a released PAM checkpoint to this package's layout.

The result loads without the original files and needs no --sam2.

\b
perceive convert PAM-1.5B pam15 --sam2 sam2.1_hiera_large.pt --dtype bfloat16
perceive image photo.jpg --box 10,20,300,400 --model pam15
"""


@app.command(help=HELP)
def convert(
    source: Annotated[
        str, typer.Argument(metavar="SRC", help="Folder or hub id, as released (llava_qwen).")
    ],
    target: Annotated[str, typer.Argument(metavar="DST", help="New folder.")],
    sam2: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|FOLDER|SIZE", help="SAM 2.1, if SRC holds none; see perceive models."
        ),
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="float32, float16 or bfloat16. [as stored]"),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Tracebacks.")] = False,
) -> None:
    """Convert a released PAM checkpoint to this package's layout."""
    from perceive_anything.errors import ModelError
    from perceive_anything.hub import find_folder
    from perceive_anything.modeling.convert import (
        check_target,
        convert_original,
        is_original,
        open_original,
    )
    from perceive_anything.pipeline import named_dtype

    precision = None if dtype is None else named_dtype(dtype)
    check_target(Path(target))
    folder = find_folder(source)
    if not is_original(folder):
        raise ModelError(
            f'{folder} is not in the layout of the release, expected "model_type": "llava_qwen".\n'
            "  A folder in our layout needs no conversion; name it with --model.",
            code="bad_model",
        )
    convert_original(open_original(folder, sam2, find_folder), Path(target), precision, typer.echo)
    typer.echo(f"the model is in {target}; try: perceive image PHOTO --box ... --model {target}")
