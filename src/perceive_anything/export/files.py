"""Files that are the old ones or the new ones, whenever the process dies.

Knows folders and bytes; nothing of what is in them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from perceive_anything.errors import OptionError


def write_bytes(content: bytes, path: Path) -> Path:
    """Write a file at once.

    Args:
        content: All of it.
        path: Target; its folder is made.

    Returns:
        The path.

    Raises:
        OptionError: It cannot be written.
    """
    fresh = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with fresh.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        raise unwritable(path, error) from error
    return path


def write_text_file(text: str, path: Path) -> Path:
    """Write UTF-8 text at once; see `write_bytes`."""
    return write_bytes(text.encode(), path)


def write_json_file(value: Mapping[str, Any] | Sequence[Any], path: Path) -> Path:
    """Write one JSON value at once; see `write_bytes`."""
    return write_text_file(json.dumps(value, ensure_ascii=False) + "\n", path)


def unwritable(path: str | Path, error: OSError) -> OptionError:
    """The error for a path the system refuses to write.

    Args:
        path: Where to write.
        error: What the system said.

    Returns:
        An `OptionError` to raise.
    """
    return OptionError(
        f'cannot write "{path}": {error.strerror or error}.\n'
        "  Choose a file in a folder that you may write to.",
        code="out_unwritable",
    )
