"""Options that several commands share, so that they read and mean the same everywhere."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from perceive_anything.pipeline import Perceiver

BoxOption = Annotated[
    list[str] | None, typer.Option("--box", metavar="X1,Y1,X2,Y2", help="A box in pixels.")
]
PointOption = Annotated[
    list[str] | None, typer.Option("--point", metavar="X,Y[,0]", help="A point; 0 = not this.")
]
PointsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--points",
        metavar='"X,Y;X,Y,0"',
        help="Points of one region; an item of four numbers is its box.",
    ),
]
MaskOption = Annotated[
    list[str] | None, typer.Option("--mask", metavar="FILE.png", help="A mask file.")
]
EverythingOption = Annotated[
    bool, typer.Option("--everything", help="Find regions without any prompt.")
]
TaskOption = Annotated[
    list[str] | None,
    typer.Option(
        "--task",
        metavar="TASK",
        help="segment, recognize, explain, caption or describe; repeat. [all]",
    ),
]
LangOption = Annotated[str, typer.Option("--lang", metavar="en|zh", help="Language of the texts.")]
ModelOption = Annotated[
    str, typer.Option("--model", metavar="NAME", help="nano, a folder or a hub id.")
]
Sam2Option = Annotated[
    str | None,
    typer.Option(
        "--sam2",
        metavar="FILE|FOLDER|SIZE",
        help="SAM 2.1 of a released PAM folder that has none.",
    ),
]
DeviceOption = Annotated[
    str | None,
    typer.Option("--device", metavar="cpu|cuda|mps", help="Default: see perceive doctor."),
]
DtypeOption = Annotated[
    str | None,
    typer.Option(
        "--dtype",
        metavar="NAME",
        help="float32, float16, bfloat16. Default: see perceive doctor.",
    ),
]
QuantizeOption = Annotated[
    str | None,
    typer.Option(
        "--quantize", metavar="int8", help="8-bit weights on a CPU; for models larger than nano."
    ),
]
TemperatureOption = Annotated[
    float,
    typer.Option("--temperature", metavar="T", help="Above 0 samples, as released at 0.1."),
]
LengthOption = Annotated[
    int | None,
    typer.Option("--max-new-tokens", metavar="N", min=1, help="Longest text, in tokens."),
]
JsonOption = Annotated[
    str | None, typer.Option("--json", metavar="FILE|-", help="One JSON object.")
]
JsonlOption = Annotated[
    str | None, typer.Option("--jsonl", metavar="FILE|-", help="One JSON object a line.")
]
QuietOption = Annotated[bool, typer.Option("--quiet", help="Nothing for people on the screen.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Tracebacks.")]


@dataclass
class LazyModel:
    """Loads the model when the first thing that can be answered needs it."""

    name: str
    sam2: str | None
    device: str | None
    dtype: str | None
    quantize: str | None
    loaded: Perceiver | None = None

    def get(self) -> Perceiver:
        """The perceiver, loaded once."""
        if self.loaded is None:
            with garbage_left_alone():
                from perceive_anything.pipeline import Perceiver

                self.loaded = Perceiver.from_pretrained(
                    self.name,
                    sam2=self.sam2,
                    device=self.device,
                    dtype=self.dtype,
                    quantize=self.quantize,
                )
        return self.loaded


@contextmanager
def garbage_left_alone() -> Iterator[None]:
    """While inside, nobody looks for garbage; what was made is never looked through again.

    Importing torch and transformers makes a million objects that all stay.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
