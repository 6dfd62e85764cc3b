"""Tasks and languages: checked, and a slip of the pen is met with the right name."""

import pytest

from perceive_anything import tasks
from perceive_anything.errors import OptionError
from perceive_anything.results import Region


def test_five_tasks_of_which_four_write():
    assert tasks.ALL_TASKS == ("segment", "recognize", "explain", "caption", "describe")
    assert set(tasks.ALL_TASKS) - set(tasks.TEXT_TASKS) == {tasks.SEGMENT}
    assert set(tasks.TASK_FIELD) == set(tasks.TEXT_TASKS)
    assert all(field in Region.__dataclass_fields__ for field in tasks.TASK_FIELD.values())


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (["caption", "segment", "caption"], ("caption", "segment")),
        (iter(["explain"]), ("explain",)),
        ("describe", ("describe",)),
        (tasks.ALL_TASKS, tasks.ALL_TASKS),
    ],
)
def test_tasks_keep_their_order_and_lose_repetitions(asked, expected):
    assert tasks.check_tasks(asked) == expected


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (["recognise"], 'Did you mean "recognize"'),
        (["zzz"], "Expected one of segment"),
        ([], "no task"),
    ],
)
def test_unknown_tasks(asked, says):
    with pytest.raises(OptionError, match=says) as caught:
        tasks.check_tasks(asked)
    assert caught.value.code == "unknown_task"
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize("language", tasks.LANGUAGES)
def test_languages(language):
    assert tasks.check_language(language) == language


@pytest.mark.parametrize("language", ["EN", "", "german"])
def test_unknown_languages(language):
    with pytest.raises(OptionError, match="en, zh") as caught:
        tasks.check_language(language)
    assert caught.value.code == "unknown_language"
