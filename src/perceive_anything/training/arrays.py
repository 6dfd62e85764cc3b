"""Arrays on disk that are filled once, row by row, and read in any order.

Knows float16 arrays and a key that says what they were made from; nothing of models.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from perceive_anything.errors import ConfigError
from perceive_anything.training.checkpoint import write_text


def digest(parts: Iterable[object]) -> str:
    """A short key of anything that prints itself fully."""
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:16]


class ArrayCache:
    """Named float16 arrays of N rows each in one folder.

    Filling resumes where it stopped. Arrays that were made from something else (another key) are
    refused: rows in another order would silently pair pictures with the wrong regions, and hours
    of reading are not thrown away unasked.

    Args:
        folder: Made if missing.
        shapes: Shape of one row of each array.
        num_rows: N.
        key: What the rows are made from, see `digest`.

    Raises:
        ConfigError: The folder holds arrays with another key.
    """

    def __init__(
        self, folder: Path, shapes: dict[str, tuple[int, ...]], num_rows: int, key: str
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.num_rows, self.key = folder, num_rows, key
        self.progress_file = folder / "progress.json"
        fresh = not self.progress_file.exists()
        if not fresh and self._progress()["key"] != key:
            raise ConfigError(
                f'"{folder}" holds {self.num_done} rows made from other pictures, settings or '
                "weights.\n  Remove that folder to have them made again, or give another one, "
                "--set output=FOLDER.",
                code="bad_config",
            )
        self.arrays = [
            np.lib.format.open_memmap(
                folder / f"{name}.npy",
                mode="w+" if fresh else "r+",
                dtype=np.float16,
                shape=(num_rows, *shape),
            )
            for name, shape in shapes.items()
        ]
        if fresh:
            self._write_progress(0)

    def _progress(self) -> dict:
        return json.loads(self.progress_file.read_text())

    def _write_progress(self, done: int) -> None:
        write_text(self.progress_file, json.dumps({"done": done, "key": self.key}))

    @property
    def num_done(self) -> int:
        """Rows that are filled; they are the first ones."""
        return int(self._progress()["done"])

    def append(self, values: Sequence[Tensor]) -> None:
        """The next rows of each array."""
        start = self.num_done
        for array, value in zip(self.arrays, values, strict=True):
            array[start : start + len(value)] = value.half().cpu().numpy()
        self._write_progress(start + len(values[0]))

    def read(self, rows: Sequence[int]) -> list[Tensor]:
        """The given rows of each array, float32."""
        return [torch.from_numpy(array[list(rows)]).float() for array in self.arrays]
