"""Errors: one table, one tree."""

import ast
from pathlib import Path

import pytest

from perceive_anything import errors
from perceive_anything.errors import CODES, MissingExtraError, PerceiveError, require_package

PACKAGE = Path(errors.__file__).parent


def codes_raised():
    return {
        node.value.value
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.keyword)
        and node.arg == "code"
        and isinstance(node.value, ast.Constant)
    }


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_code_has_an_exit_code_a_status_and_a_summary(code):
    error = PerceiveError("what, got.\n  Expected, next.", code=code)
    assert error.exit_code in (errors.USER, errors.BUG)
    assert 400 <= error.http_status < 600
    assert CODES[code].summary.endswith(".")
    assert str(error) == "what, got.\n  Expected, next."


def test_the_table_lists_what_is_raised_and_nothing_else():
    assert codes_raised() == set(CODES)


def test_an_unknown_code_is_our_bug():
    with pytest.raises(AssertionError, match="nonsense"):
        PerceiveError("x", code="nonsense")


@pytest.mark.parametrize(
    "name", ["PromptError", "MediaError", "OptionError", "ConfigError", "DataError"]
)
def test_input_errors_are_value_errors_too(name):
    assert issubclass(getattr(errors, name), ValueError)


def test_everything_raised_on_purpose_is_of_one_tree():
    raised = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    kinds = [kind for kind in raised if issubclass(kind, Exception)]
    assert len(kinds) >= 8
    assert all(issubclass(kind, PerceiveError) for kind in kinds)


def test_a_missing_package_comes_with_its_command():
    with pytest.raises(
        MissingExtraError, match=r'pip install "perceive-anything\[train\]"'
    ) as caught:
        require_package("no_such_package_anywhere", extra="train")
    assert caught.value.code == "missing_extra"
    assert require_package("json", extra="train").__name__ == "json"
