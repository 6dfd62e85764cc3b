"""Names of the five tasks and two languages, and the check of what a user asks for."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from perceive_anything.errors import OptionError

SEGMENT, RECOGNIZE, EXPLAIN = "segment", "recognize", "explain"
CAPTION, DESCRIBE = "caption", "describe"
ALL_TASKS = (SEGMENT, RECOGNIZE, EXPLAIN, CAPTION, DESCRIBE)
TEXT_TASKS = (RECOGNIZE, EXPLAIN, CAPTION, DESCRIBE)
LANGUAGES = ("en", "zh")
# Said without a model, which would make something up about a region that is not there.
ABSENT = {"en": "The region is not visible.", "zh": "该目标不可见。"}
TASK_FIELD = {
    RECOGNIZE: "label",
    EXPLAIN: "explanation",
    CAPTION: "caption",
    DESCRIBE: "description",
}


def check_tasks(tasks: Iterable[str]) -> tuple[str, ...]:
    """The tasks without repetition, in the given order.

    Raises:
        OptionError: One of them does not exist, or there is none.
    """
    wanted = (tasks,) if isinstance(tasks, str) else tuple(dict.fromkeys(tasks))
    if not wanted:
        raise OptionError(
            f"no task was given.\n  Expected some of {', '.join(ALL_TASKS)}.", code="unknown_task"
        )
    for task in wanted:
        if task not in ALL_TASKS:
            raise OptionError(unknown("task", task, ALL_TASKS), code="unknown_task")
    return wanted


def check_language(language: str) -> str:
    """The language itself.

    Raises:
        OptionError: It is neither "en" nor "zh".
    """
    if language not in LANGUAGES:
        raise OptionError(unknown("language", language, LANGUAGES), code="unknown_language")
    return language


def check_temperature(temperature: float) -> float:
    """The temperature itself.

    Raises:
        OptionError: It is no number from 0 (greedy) to 2.
    """
    if isinstance(temperature, (int, float)) and 0 <= temperature <= 2:
        return float(temperature)
    raise OptionError(
        f"temperature is {temperature!r}.\n"
        "  Expected 0 (the likeliest words) to 2; the released models' authors use 0.1.",
        code="bad_number",
    )


def unknown(kind: str, got: object, expected: Sequence[str]) -> str:
    """Message for a name that does not exist, with the nearest that does."""
    near = difflib.get_close_matches(str(got), expected, n=1)
    hint = f' Did you mean "{near[0]}"?' if near else ""
    return f'unknown {kind} "{got}".{hint}\n  Expected one of {", ".join(expected)}.'
