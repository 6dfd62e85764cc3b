"""`perceive doctor`: what this installation has, what it lacks, and what to do about it.

Imports torch to look at the devices; loads no model and changes nothing.
"""

from __future__ import annotations

import hashlib
import importlib.util
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Literal

import typer

from perceive_anything.assets import NANO

app = typer.Typer(add_completion=False, rich_markup_mode=None)

REQUIRED = ("torch", "transformers", "numpy", "pillow", "av", "supervision", "pycocotools")
CHECKSUMS = "SHA256SUMS"
MARKS = {"ok": "ok  ", "note": "note", "bad": "BAD "}
REINSTALL = "pip install --force-reinstall --no-deps perceive-anything"
DTYPE_REASONS = {
    "float32": "what every CPU computes fast",
    "bfloat16": "half the memory, the range of float32",
    "float16": "half the memory; bfloat16 is for newer NVIDIA GPUs",
}
FAST_HINT = 'pip install "perceive-anything[fast]"'


@dataclass(frozen=True)
class Finding:
    """One line of the report; only "bad" makes the installation unusable."""

    level: Literal["ok", "note", "bad"]
    what: str
    hint: str = ""


@app.command()
def doctor(
    debug: Annotated[bool, typer.Option("--debug", help="Tracebacks.")] = False,
) -> None:
    """Check this installation and say what would make it better."""
    usable = True
    for finding in findings():
        usable = usable and finding.level != "bad"
        typer.echo(f"{MARKS[finding.level]} {finding.what}")
        if finding.hint:
            typer.echo(f"       -> {finding.hint}")
    typer.echo("usable" if usable else "not usable: mend what is marked BAD")
    if not usable:
        raise typer.Exit(2)


def findings() -> Iterator[Finding]:
    """All checks, in the order of the report."""
    yield Finding("ok", f"python {platform.python_version()} on {platform.platform()}")
    yield from (_package(name) for name in REQUIRED)
    yield from _devices()
    yield _fast_drawing()
    yield _chinese_font()
    yield from _nano(NANO)


def _package(name: str) -> Finding:
    try:
        return Finding("ok", f"{name} {version(name)}")
    except PackageNotFoundError:
        return Finding("bad", f"{name} is not installed", f"pip install {name}")


def _devices() -> Iterator[Finding]:
    try:
        import torch
    except ImportError as error:
        yield Finding("bad", f"torch cannot be imported: {error}", "pip install torch")
        return
    yield Finding("ok", f"cpu: {torch.get_num_threads()} threads")
    has_cuda, has_mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if has_cuda:
        yield Finding("ok", f"cuda: {torch.cuda.get_device_name()}")
    else:
        built = torch.version.cuda
        why = "no NVIDIA GPU or driver" if built else "this torch is built without CUDA"
        yield Finding("note", f"cuda: none ({why})", "nano needs none; PAM-1.5B and 3B want one")
    if has_mps or sys.platform == "darwin":
        yield Finding("ok" if has_mps else "note", f"mps: {'yes' if has_mps else 'none'}")
    yield from _precision()


def _precision() -> Iterator[Finding]:
    """What `Perceiver` takes when neither device nor dtype is named, and what it could take."""
    try:
        from perceive_anything.modeling.quantize import int8_engine
        from perceive_anything.pipeline import choose_device, choose_dtype
    except ImportError as error:
        yield Finding("bad", f"the model code cannot be imported: {error}", REINSTALL)
        return
    nano, other = choose_device(None, prefer_cpu=True), choose_device(None)
    why = "there is no GPU" if other.type == "cpu" else "the fastest there is"
    chosen = (("nano", nano, "small enough for any CPU"), ("other models", other, why))
    for models, device, reason in chosen:
        dtype = str(choose_dtype(None, device)).removeprefix("torch.")
        yield Finding(
            "ok",
            f"{models}: on {device.type} ({reason}) in {dtype} ({DTYPE_REASONS[dtype]}); "
            "--device and --dtype override",
        )
    yield _int8(int8_engine())


def _int8(engine: str | None) -> Finding:
    if engine is not None:
        return Finding(
            "ok",
            f"int8: available ({engine}); --quantize int8 makes PAM-1.5B and 3B smaller and faster "
            "on a CPU, nano is too small to gain",
        )
    from torch.backends import quantized

    return Finding(
        "note",
        f"int8: none; this torch has {', '.join(quantized.supported_engines)}",
        "--quantize int8 needs torch on an x86 CPU; --dtype bfloat16 halves the memory anywhere",
    )


def _fast_drawing() -> Finding:
    if importlib.util.find_spec("cv2") is not None:
        return Finding("ok", "fast drawing: supervision finds OpenCV")
    return Finding(
        "note", "fast drawing: no OpenCV; overlays of large images take longer", FAST_HINT
    )


def _chinese_font() -> Finding:
    from perceive_anything.draw import CJK_SAMPLE, FONT_VARIABLE, find_font

    font = find_font(CJK_SAMPLE)
    if font is not None:
        return Finding("ok", f"Chinese font: {font}")
    return Finding(
        "note",
        "Chinese font: none; overlays show region numbers in place of Chinese labels",
        f"Debian: apt-get install fonts-noto-cjk; or set {FONT_VARIABLE}=/path/to/font",
    )


def _nano(folder: Path) -> Iterator[Finding]:
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        yield Finding("bad", f"nano: no weights in {folder}", REINSTALL)
        return
    size_mb = sum(path.stat().st_size for path in weights) / 1e6
    yield Finding("ok", f"nano: {size_mb:.1f} MB in {folder}")
    sums = folder / CHECKSUMS
    if not sums.is_file():
        yield Finding("note", f"nano: no {CHECKSUMS}, weights not verified", REINSTALL)
        return
    wrong = [name for name, expected in _read_sums(sums) if _sha256(folder / name) != expected]
    if wrong:
        yield Finding("bad", f"nano: damaged or missing files: {', '.join(wrong)}", REINSTALL)
    else:
        yield Finding("ok", f"nano: all files match {CHECKSUMS}")


def _read_sums(path: Path) -> list[tuple[str, str]]:
    """Pairs of file name and digest from the format of the `sha256sum` command."""
    rows = (line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    return [(name.lstrip("*"), digest) for digest, name in rows]


def _sha256(path: Path) -> str | None:
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
