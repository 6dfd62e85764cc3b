"""PATHs of the command line -> image files: folders with all that is in them, patterns, files.

Knows names of files; opens none.
"""

from __future__ import annotations

import glob
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

READABLE = (".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


@dataclass(frozen=True, slots=True)
class Input:
    """One image of a call.

    Attributes:
        path: As it can be opened from here.
        name: With slashes, relative to what all images of the call have in common.
    """

    path: str
    name: str


def expand(paths: Sequence[str], left_out: Path | None = None) -> list[str]:
    """The files of all PATHs, those of a folder or pattern sorted.

    Args:
        paths: Files, folders, and patterns such as "photos/**/*.jpg". What is none of these, or an
            empty folder, stays as it is, so that its own error can be told.
        left_out: A folder whose files are ours.
    """
    ours = left_out.resolve() if left_out is not None else None
    files = [file for path in paths for file in _files(path) or [path]]
    return [file for file in files if ours is None or ours not in Path(file).resolve().parents]


def common_root(paths: Sequence[str]) -> Path:
    """The deepest folder that holds all PATHs of a call; of a pattern, what stands before it."""
    folders = []
    for path in paths:
        whole = Path(path).absolute()
        if glob.has_magic(path) and not whole.exists():
            whole = _before_pattern(whole)
        folders.append(whole if whole.is_dir() else whole.parent)
    return Path(os.path.commonpath(folders))


def named(files: Sequence[str], root: Path) -> list[Input]:
    """The files with their names below a folder, each once."""
    names = {Path(os.path.relpath(file, root)).as_posix(): file for file in reversed(files)}
    return [Input(file, name) for name, file in reversed(names.items())]


def _files(path: str) -> list[str]:
    whole = Path(path)
    if whole.is_dir():
        return sorted(str(file) for file in _below(whole))
    if glob.has_magic(path) and not whole.exists():
        found = glob.glob(path, recursive=True)  # noqa: PTH207 - Path.glob takes no whole pattern
        return sorted(file for file in found if Path(file).is_file())
    return []


def _below(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if name.lower().endswith(READABLE) and not name.startswith("."):
                yield Path(parent) / name


def _before_pattern(path: Path) -> Path:
    """The first folder upwards without a wildcard."""
    return next(parent for parent in path.parents if not glob.has_magic(str(parent)))
