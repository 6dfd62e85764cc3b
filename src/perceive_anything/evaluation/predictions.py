"""The file of predictions: a head, then one line a sample, written as soon as it is answered.

Knows lines and when two runs are the same one. Refuses to know what is asked and how it is scored.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from perceive_anything.data.bad_rows import MALFORMED, reason_of
from perceive_anything.errors import DataError, OptionError
from perceive_anything.evaluation.samples import Answered
from perceive_anything.export.files import unwritable

__all__ = ["SCHEMA", "Head", "PredictionWriter", "read_predictions"]

SCHEMA = "perceive.predictions/1"


@dataclass(frozen=True, slots=True)
class Head:
    """What a run was; the first line of its file.

    Attributes:
        benchmark: Its name.
        model: Name or folder of the model.
        data: The folder or file that was read.
        language: Of the answers.
        command: The command line that began it.
        provenance: Hardware, versions and commit.
    """

    benchmark: str
    model: str
    data: str
    language: str = "en"
    command: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def run(self) -> tuple[str, str, str, str]:
        """What must be equal for a run to go on."""
        return self.benchmark, self.model, self.data, self.language


class PredictionWriter:
    """Appends answers; a line is on the disk before the next sample is asked about.

    Args:
        path: The file.
        head: What the run is.
        resume: Go on where the file ends; a line that was cut off by a kill is removed.

    Attributes:
        done: Keys of the samples that are answered.
        added: How many of them were answered now.

    Raises:
        OptionError: The file exists and `resume` is not set, is of another run, or cannot be
            written.
    """

    def __init__(self, path: Path, head: Head, *, resume: bool = False) -> None:
        self.path, self.done, self.added = path, set[str](), 0
        self._file: IO[bytes]
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            known = path.exists() and path.stat().st_size > 0
            if known and not resume:
                raise OptionError(
                    f'"{path}" holds the predictions of another run.\n'
                    "  Go on with them: --resume, or write elsewhere: --out DIR.",
                    code="out_unwritable",
                )
            if known:
                self._continue(head)
            self._file = path.open("ab")
            if path.stat().st_size == 0:
                self._line({"schema": SCHEMA, **asdict(head)})
        except OSError as error:
            raise unwritable(path, error) from error

    def add(self, answered: Answered) -> None:
        """Write one line."""
        self._line(answered.to_json())
        self.done.add(answered.sample.key)
        self.added += 1

    def close(self) -> None:
        """Nothing more will come."""
        self._file.close()

    def __enter__(self) -> PredictionWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _continue(self, head: Head) -> None:
        whole = self.path.read_bytes()
        end = whole.rfind(b"\n") + 1
        if end < len(whole):
            os.truncate(self.path, end)
        if end == 0:
            return
        before, answered = read_predictions(self.path)
        if before.run != head.run:
            raise OptionError(
                f'"{self.path}" is of {" ".join(before.run)}, this run is {" ".join(head.run)}.\n'
                "  Give the same benchmark, model, data and language, or another --out DIR.",
                code="out_unwritable",
            )
        self.done = {line.sample.key for line in answered}

    def _line(self, row: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())


def read_predictions(path: str | Path) -> tuple[Head, list[Answered]]:
    """The head and the answers of a file; the last line may be cut off.

    Raises:
        DataError: There is no such file, or it holds no predictions.
    """
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise DataError(
            f'"{path}" cannot be read: {error.strerror}.\n'
            "  Give the predictions.jsonl that `perceive eval BENCHMARK` wrote.",
            code="file_missing",
        ) from error
    return _parsed(str(path), [*_lines(text)])


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Numbered lines; what follows the last line break was cut off."""
    for number, line in enumerate(text.split("\n")[:-1], start=1):
        if line.strip():
            yield number, line


def _parsed(name: str, lines: list[tuple[int, str]]) -> tuple[Head, list[Answered]]:
    place = 1
    try:
        head = json.loads(lines[0][1])
        if head.pop("schema") != SCHEMA:
            raise ValueError("its schema is unknown")
        answered = []
        for number, line in lines[1:]:
            place = number
            answered.append(Answered.from_json(json.loads(line)))
        return Head(**head), answered
    except MALFORMED as error:
        raise DataError(
            f"{name}:{place} is no line of predictions: {reason_of(error)}.\n"
            f"  Expected the file that `perceive eval BENCHMARK` wrote ({SCHEMA}).",
            code="bad_record",
        ) from error
