"""Verdicts that are kept on disk, so that nothing is asked or paid for twice."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from perceive_anything.evaluation.judges.judge import Case, Judge, Points, Rubric

__all__ = ["KeptJudge"]


class KeptJudge:
    """A judge whose verdicts are written to a file, one line each, as they come.

    Args:
        judge: Who is asked if there is no verdict yet.
        path: The file; a line that was cut off is ignored.
    """

    def __init__(self, judge: Judge, path: Path) -> None:
        self._judge, self._path = judge, path
        self.name, self.sees, self.note = judge.name, judge.sees, judge.note
        self._kept: dict[str, Points] = {}
        if path.exists():
            for line in path.read_text(encoding="utf-8").split("\n"):
                try:
                    row = json.loads(line)
                    self._kept[row["key"]] = row["points"]
                except (ValueError, KeyError, TypeError):
                    continue

    def judge(self, rubric: Rubric, case: Case) -> Points | None:
        """The kept verdict, or a new one."""
        told = [self.name, rubric.name, rubric.prompt(case)]
        key = hashlib.sha256("\0".join(told).encode() + case.picture).hexdigest()[:32]
        if key not in self._kept:
            points = self._judge.judge(rubric, case)
            if points is None:
                return None
            self._kept[key] = points
            self._append({"key": key, "judge": self.name, "rubric": rubric.name, "points": points})
        return self._kept[key]

    def _append(self, row: dict[str, object]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as file:
            begun = file.tell() > 0 and not self._path.read_bytes().endswith(b"\n")
            file.write((b"\n" if begun else b"") + json.dumps(row).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
