"""Large JSON files item by item: memory holds one item, and where the others lie.

Knows JSON, lines and bytes; nothing of datasets.
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from perceive_anything.errors import DataError

__all__ = ["Item", "RowIndex", "json_entries", "json_items", "json_of", "json_rows", "line_items"]

Json = Any  # what `json.loads` returns
CHUNK, LONGEST = 1 << 20, 1 << 28  # bytes read at once; an item of more bytes is taken as damage
_AFTER_NUMBER = frozenset(",]} \t\r\n")  # where the bytes held end with a number, it may go on
_BLANK = re.compile(r"[ \t\r\n]*")
_BOM = b"\xef\xbb\xbf"


class Item(NamedTuple):
    """One item of a file.

    Attributes:
        section: Key of the list or object it stands in; "" where the file itself is that.
        name: Its key or number there.
        offset: Where its bytes begin.
        num_bytes: How many they are.
        value: What they say.
    """

    section: str
    name: str | int
    offset: int
    num_bytes: int
    value: Any


def json_items(path: Path) -> Iterator[Item]:
    """The items of a list, or those of the lists and objects that an object holds.

    Of an object, values that are neither list nor object are passed over.

    Raises:
        DataError: The file cannot be read or is no such JSON; items before the damage are given.
    """
    try:
        with path.open("rb") as stream:
            yield from _Scanner(stream).items()
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(path, error) from error


def json_entries(path: Path) -> Iterator[Item]:
    """The values of an object by their keys, each as a whole.

    Raises:
        DataError: The file cannot be read or is no object.
    """
    try:
        with path.open("rb") as stream:
            scanner = _Scanner(stream)
            for key in scanner.names():
                yield Item("", key, *scanner.value())
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(path, error) from error


def json_of(path: Path) -> Json:
    """What a small JSON file says.

    Raises:
        DataError: It cannot be read.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(path, error) from error


def json_rows(path: Path) -> Iterator[tuple[str, Any]]:
    """Places and rows of a JSON list, or of JSONL, whose lines come as bytes to be parsed.

    Raises:
        DataError: It cannot be read, or is no list.
    """
    if path.suffix == ".jsonl":
        yield from ((f"{path}:{item.name}", item.value) for item in line_items(path))
        return
    with path.open("rb") as stream:
        if _Scanner(stream).peek() == "{":
            raise DataError(
                f'"{path}" holds no list of rows.\n  Give a file with a JSON list, or JSONL.',
                code="bad_record",
            )
    yield from ((f"{path}: rows[{item.name}]", item.value) for item in json_items(path))


def line_items(path: Path) -> Iterator[Item]:
    """The lines of a file that are not blank, as bytes; named by their number, from 1."""
    offset = 0
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            bare = line.removeprefix(_BOM) if number == 1 else line
            if bare.strip():
                start = offset + len(line) - len(bare)
                yield Item("", number, start, len(bare), bare)
            offset += len(line)


class RowIndex:
    """Where the rows of a file lie, by a key; 28 bytes a row are held.

    Args:
        path: The file.
        parse: Makes a row from its bytes.
    """

    def __init__(self, path: Path, parse: Callable[[bytes], Any] = json.loads) -> None:
        self.path, self.parse = path, parse
        self._keys, self._offsets, self._sizes = array("q"), array("q"), array("i")
        self._order: np.ndarray | None = None
        self._sorted = np.empty(0, np.int64)

    def __iter__(self) -> Iterator[Any]:
        return (self._rows([number])[0] for number in range(len(self._keys)))

    def add(self, key: object, item: Item) -> None:
        """Note a row; keys are told apart as texts, so that 7 and "7" are one."""
        self._keys.append(hash(str(key)))
        self._offsets.append(item.offset)
        self._sizes.append(item.num_bytes)

    def rows(self, key: object) -> list[Any]:
        """The rows of a key in the order of the file."""
        return self._rows(self._numbers(key))

    def numbered(self, key: object) -> list[tuple[int, Any]]:
        """The rows of a key, each with its number among all rows."""
        numbers = self._numbers(key)
        return list(zip(numbers, self._rows(numbers), strict=True))

    def groups(self) -> Iterator[list[Any]]:
        """The rows of each key, in the order in which the keys come first."""
        self._sort()
        assert self._order is not None
        starts = np.flatnonzero(np.diff(self._sorted, prepend=~self._sorted[:1]))
        ends = np.append(starts[1:], len(self._order))
        for group in np.argsort(self._order[starts], kind="stable"):
            yield self._rows(self._order[starts[group] : ends[group]].tolist())

    def without(self, other: RowIndex) -> list[int]:
        """Numbers of the first rows of all keys that the other index does not know."""
        self._sort()
        other._sort()
        assert self._order is not None
        found, first = np.unique(self._sorted, return_index=True)
        lonely = ~np.isin(found, other._sorted)
        return sorted(self._order[first[lonely]].tolist())

    def _numbers(self, key: object) -> list[int]:
        self._sort()
        assert self._order is not None
        wanted = hash(str(key))
        start, end = (
            int(np.searchsorted(self._sorted, wanted, side)) for side in ("left", "right")
        )
        numbers: list[int] = self._order[start:end].tolist()
        return numbers

    def _sort(self) -> None:
        if self._order is None:
            keys = np.frombuffer(self._keys, np.int64) if self._keys else np.empty(0, np.int64)
            self._order = np.argsort(keys, kind="stable")
            self._sorted = keys[self._order]

    def _rows(self, numbers: Sequence[int]) -> list[Json]:
        if not numbers:
            return []
        rows = []
        with self.path.open("rb") as stream:
            for number in numbers:
                stream.seek(self._offsets[number])
                rows.append(self.parse(stream.read(self._sizes[number])))
        return rows


class _Scanner:
    """Reads JSON in chunks; bytes stand for themselves as Latin-1, so that offsets are exact."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream, self.text, self.at, self.base = stream, "", 0, 0
        self.decode = json.JSONDecoder().raw_decode
        if stream.read(len(_BOM)) == _BOM:
            self.base = len(_BOM)
        else:
            stream.seek(0)

    def items(self) -> Iterator[Item]:
        """The items of the whole file."""
        if self.peek() == "[":
            yield from self.inside("")
        else:
            yield from self.sections()
        if self.peek():
            raise ValueError(f"something follows the end, at byte {self.base + self.at}")

    def sections(self) -> Iterator[Item]:
        """The items of the lists and objects in an object."""
        for key in self.names():
            if self.peek() in ("[", "{"):
                yield from self.inside(key)
            else:
                self.value()

    def inside(self, section: str) -> Iterator[Item]:
        """The items of a list or object."""
        names: Iterator[str | int] = self.numbers() if self.peek() == "[" else self.names()
        for name in names:
            yield Item(section, name, *self.value())

    def numbers(self) -> Iterator[int]:
        """Numbers of the items of a list; the scanner stands before each."""
        for number, _ in enumerate(self.separated("[", "]")):
            yield number

    def names(self) -> Iterator[str]:
        """Keys of an object; the scanner stands before each value."""
        for _ in self.separated("{", "}"):
            _, _, key = self.value()
            if not isinstance(key, str):
                raise ValueError(f"a key is no text, at byte {self.base + self.at}")
            self.take(":")
            yield key

    def separated(self, begin: str, end: str) -> Iterator[None]:
        """Stands before each thing between commas, up to the end."""
        self.take(begin)
        if self.peek() != end:
            yield
            while self.peek() == ",":
                self.take(",")
                yield
        self.take(end)

    def value(self) -> tuple[int, int, Any]:
        """Offset, size and value of what comes next."""
        self.peek()
        while True:
            try:
                value, end = self.decode(self.text, self.at)
            except json.JSONDecodeError as error:
                if not self.more():
                    raise ValueError(f"{error.msg} at byte {self.base + error.pos}") from error
                continue
            whole = not isinstance(value, (int, float)) or self.text[end : end + 1] in _AFTER_NUMBER
            if (whole and end < len(self.text)) or not self.more():
                break
        raw, offset = self.text[self.at : end], self.base + self.at
        self.at = end
        if not raw.isascii():
            value = json.loads(raw.encode("latin-1"))
        return offset, len(raw), value

    def peek(self) -> str:
        """The next sign that is not blank, "" at the end."""
        while True:
            blank = _BLANK.match(self.text, self.at)
            self.at = blank.end() if blank else self.at
            if self.at < len(self.text) or not self.more():
                return self.text[self.at : self.at + 1]

    def take(self, sign: str) -> None:
        """Pass over a sign that must come next."""
        found = self.peek()
        if found != sign:
            raise ValueError(
                f"expected {sign!r}, found {found or 'the end'!r} at byte {self.base + self.at}"
            )
        self.at += 1

    def more(self) -> bool:
        """Read on, at least as much as is held, so that long items cost no more than twice.

        False at the end of the file, and of an item that is too long to be one.
        """
        held = len(self.text) - self.at
        chunk = self.stream.read(max(CHUNK, held)) if held <= LONGEST else b""
        self.base += self.at
        self.text = self.text[self.at :] + chunk.decode("latin-1")
        self.at = 0
        return bool(chunk)


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(
        f'"{path}" cannot be read: {error}.\n  It may be incomplete; compare its size or copy it'
        " again.",
        code="bad_record",
    )
