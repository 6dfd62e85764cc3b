"""Reads pickles of lists, dicts, texts and numbers, and nothing that could run code.

Knows plain pickles and the two layouts of `torch.save`. Refuses every pickle that names a class
or a function: those that it would call are how a pickle takes over a machine.
"""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from perceive_anything.errors import DataError

__all__ = ["plain_pickle"]

Plain = Any  # lists, dicts, texts and numbers
_TORCH_MAGIC = 0x1950A86A20F9469CFC6C  # first pickle of a file in torch's layout before 1.6
_FAILS = (
    OSError, pickle.UnpicklingError, EOFError, ValueError, TypeError, KeyError, IndexError,
    AttributeError, OverflowError, MemoryError, RecursionError, zipfile.BadZipFile,
)  # fmt: skip


def plain_pickle(path: Path) -> Plain:
    """What a pickle, or a file of `torch.save`, holds.

    Texts of Python 2 are taken as UTF-8.

    Raises:
        DataError: It is no pickle, or it holds more than lists, dicts, texts and numbers.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                (name,) = (n for n in archive.namelist() if n.endswith("data.pkl"))
                with archive.open(name) as stream:
                    return _load(stream)  # type: ignore[arg-type]
        with path.open("rb") as stream:
            value = _load(stream)
            if value == _TORCH_MAGIC:
                _load(stream), _load(stream)  # the layout's version, and what machine wrote it
                value = _load(stream)
            return value
    except _FAILS as error:
        raise DataError(
            f'"{path}" cannot be read as plain data: {error}.\n'
            "  Write what it holds as JSON, with a program that you trust it with.",
            code="bad_record",
        ) from error


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"it names {module}.{name}, which could run code")

    def persistent_load(self, pid: object) -> NoReturn:
        raise pickle.UnpicklingError("it refers to data outside")


def _load(stream: BinaryIO) -> Plain:
    return _Plain(stream, encoding="utf-8", errors="replace").load()
