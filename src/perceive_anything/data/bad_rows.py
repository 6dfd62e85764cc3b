"""Rows that cannot be used: each is reported and left out, and too many are an error.

Knows places and reasons as text; nothing of formats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from perceive_anything.errors import DataError

__all__ = ["MALFORMED", "BadRows", "reason_of"]

Row = TypeVar("Row")
Made = TypeVar("Made")

# What reading a row raises where a field is missing, of another kind or of a wrong value.
MALFORMED = (AttributeError, IndexError, KeyError, TypeError, ValueError)


class BadRows:
    """Counts what is left out while one source is read.

    Args:
        max_bad: How many may be left out.
        report: Where a line about each goes.
        expected: One sentence on the format, for the error.
    """

    def __init__(self, max_bad: int, report: Callable[[str], None], expected: str = "") -> None:
        self.max_bad, self.report, self.expected, self.num_bad = max_bad, report, expected, 0
        self.too_many: DataError | None = None

    def leave_out(self, place: str, reason: str | Exception) -> None:
        """Count and report a row.

        Args:
            place: Where it stands, such as "rows.jsonl:12".
            reason: Why it cannot be used.

        Raises:
            DataError: It is one too many.
        """
        if self.too_many is not None:  # of a part of this row; what is around it has no more to say
            raise self.too_many
        self.num_bad += 1
        if self.num_bad <= self.max_bad:
            self.report(f"{place} is left out: {reason_of(reason)}")
            return
        next_step = f"{self.expected} Mend it, or allow more bad rows (max_bad).".lstrip()
        self.too_many = DataError(
            f"{place} cannot be used: {reason_of(reason)}; that makes {self.num_bad} and "
            f"{self.max_bad} may be left out.\n  {next_step}",
            code="bad_record",
        )
        raise self.too_many from (reason if isinstance(reason, Exception) else None)

    def usable(
        self,
        rows: Iterable[tuple[str, Row]],
        make: Callable[[int, Row], Made],
        failures: tuple[type[Exception], ...] = MALFORMED,
    ) -> tuple[Made, ...]:
        """What can be made of rows; those of which nothing can be made are left out.

        Args:
            rows: Their places, and they.
            make: Makes something of a number, counted from 0 over what was made, and a row.
            failures: What it raises where the row is at fault.

        Raises:
            DataError: There is one bad row too many.
        """
        made: list[Made] = []
        for place, row in rows:
            try:
                made.append(make(len(made), row))
            except failures as error:
                self.leave_out(place, error)
        return tuple(made)


def reason_of(error: str | Exception) -> str:
    """What is wrong with a row, in one line."""
    if isinstance(error, KeyError):
        return f"{error} is missing or unknown"
    return str(error).partition("\n")[0]
