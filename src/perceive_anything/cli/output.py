"""Where the answers of a call go: table, JSON, JSON lines, overlays.

Targets are checked before any work. Knows results and errors; loads no image and no model.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from perceive_anything.cli.table import print_result
from perceive_anything.errors import OptionError
from perceive_anything.export import RESULTS_SCHEMA
from perceive_anything.export.files import unwritable
from perceive_anything.results import IMAGE_SUFFIXES, check_target

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Self

    import numpy as np
    import numpy.typing as npt

    from perceive_anything.errors import PerceiveError
    from perceive_anything.results import ImageResult

STDOUT = "-"


class Outputs:
    """Takes each answer or failure once and writes it everywhere it was asked for."""

    def __init__(
        self,
        paths: Sequence[str],
        *,
        json_to: str | None,
        jsonl_to: str | None,
        save: str | None,
        quiet: bool,
    ) -> None:
        """Check every target.

        Args:
            paths: The images of the call.
            json_to: File or "-" for the JSON object.
            jsonl_to: File or "-" for one JSON object a line.
            save: File or folder of the overlays.
            quiet: Print no table.

        Raises:
            OptionError: A target cannot be written, or two want standard output.
        """
        self._single = len(paths) == 1
        self._json_to = json_to
        self._overlays = overlay_paths(paths, save) if save else {}
        self._human = not quiet and STDOUT not in (json_to, jsonl_to)
        self._entries: list[dict[str, Any]] = []
        check_targets(json_to, jsonl_to, *self._overlays.values())
        self._lines: IO[str] | None = _open_lines(jsonl_to)

    def answered(self, result: ImageResult, image: npt.NDArray[np.uint8]) -> None:
        """Write the answer to one image."""
        if self._json_to or self._lines:
            self._add(result.to_json())
        overlay = self._overlays.get(result.source)
        if overlay is not None:
            result.save(overlay, image)
        if self._human:
            print_result(result, overlay)

    def failed(self, path: str, error: PerceiveError) -> None:
        """Note that one image has no answer; the caller has told the user."""
        self._add({"source": path, "error": {"code": error.code, "message": str(error)}})

    def __enter__(self) -> Self:
        """Nothing to do: targets are open."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write the JSON object with all that was answered, even after an error."""
        if self._lines is not None and self._lines is not sys.stdout:
            self._lines.close()
        if self._json_to is None or not self._entries:
            return
        many = {"schema": RESULTS_SCHEMA, "results": self._entries}
        text = json.dumps(self._entries[0] if self._single else many, ensure_ascii=False) + "\n"
        if self._json_to == STDOUT:
            sys.stdout.write(text)
            return
        try:
            Path(self._json_to).write_text(text, encoding="utf-8")
        except OSError as refusal:
            raise unwritable(self._json_to, refusal) from refusal

    def _add(self, entry: dict[str, Any]) -> None:
        if self._json_to is not None:
            self._entries.append(entry)
        if self._lines is not None:
            self._lines.write(json.dumps(entry, ensure_ascii=False) + "\n")
            self._lines.flush()


def check_targets(json_to: str | None, jsonl_to: str | None, *files: str | Path | None) -> None:
    """See that everything can be written, before work begins.

    Args:
        json_to: File or "-".
        jsonl_to: File or "-".
        files: Other files.

    Raises:
        OptionError: A target cannot be written, or two want standard output.
    """
    if json_to == jsonl_to == STDOUT:
        raise OptionError(
            "--json - and --jsonl - both want standard output.\n"
            "  Give one of them a file, for example --jsonl answers.jsonl",
            code="out_unwritable",
        )
    for target in (json_to, jsonl_to, *files):
        if target is not None and target != STDOUT:
            _check_writable(Path(target))


def overlay_paths(paths: Sequence[str], save: str) -> dict[str, Path]:
    """Which overlay belongs to which image.

    Args:
        paths: The images of the call.
        save: A file, or a folder (it exists, ends in "/" or has no ending).

    Returns:
        Overlay by image. One image takes the file itself; several insert their stem
        ("out.png" -> "out_cat.png"); in a folder an overlay is called "<stem>.png".
        Equal stems are told apart by a number.

    Raises:
        OptionError: The file has an ending we do not write.
    """
    target = Path(save)
    folder = target.is_dir() or save.endswith(("/", os.sep)) or not target.suffix
    if not folder:
        check_target(target, IMAGE_SUFFIXES)
    planned: dict[str, Path] = {}
    for path in dict.fromkeys(paths):
        stem = Path(path).stem
        if folder:
            wanted = target / f"{stem}.png"
        elif len(paths) == 1:
            wanted = target
        else:
            wanted = target.with_name(f"{target.stem}_{stem}{target.suffix}")
        planned[path] = _not_taken(wanted, planned)
    return planned


def _not_taken(wanted: Path, planned: dict[str, Path]) -> Path:
    taken, number, free = set(planned.values()), 2, wanted
    while free in taken:
        free = wanted.with_name(f"{wanted.stem}-{number}{wanted.suffix}")
        number += 1
    return free


def _check_writable(path: Path) -> None:
    """Make the folder of a file and see that the file may be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(0, "it is a folder")
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            raise PermissionError(0, "permission denied")
    except OSError as error:
        raise unwritable(path, error) from error


def _open_lines(jsonl_to: str | None) -> IO[str] | None:
    if jsonl_to is None:
        return None
    return sys.stdout if jsonl_to == STDOUT else Path(jsonl_to).open("w", encoding="utf-8")
