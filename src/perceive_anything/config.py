"""Settings of runs: frozen models read from YAML, changed by `--set a.b=1`.

Knows files and names of settings; nothing of what they mean.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from perceive_anything.errors import ConfigError

S = TypeVar("S", bound="Settings")


class Settings(BaseModel):
    """Base of all settings: frozen, and an unknown name is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def load_config(path: Path, kind: type[S], overrides: Sequence[str] = ()) -> S:
    """Read settings from a YAML file.

    Args:
        path: The file.
        kind: Which settings it holds.
        overrides: Changes such as "training.steps=50"; values are YAML.

    Raises:
        ConfigError: The file is missing or malformed, or a name or value is wrong; the message
            names the dotted path.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except FileNotFoundError as error:
        raise ConfigError(
            f'there is no recipe "{path}".\n  Check the path; recipes/ holds the ones that ship.',
            code="file_missing",
        ) from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(
            f'the recipe "{path}" cannot be read: {_first_line(error)}\n  Expected a YAML file.',
            code="bad_config",
        ) from error
    if not isinstance(values, dict):
        raise ConfigError(
            f'the recipe "{path}" holds {type(values).__name__}.\n  Expected names and values.',
            code="bad_config",
        )
    for override in overrides:
        _set(values, override)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_explain(error, kind, path), code="bad_config") from error


def value_of(path: Path, name: str) -> object:
    """One value at the top of a YAML file; None without it, or where `load_config` complains."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None
    return values.get(name) if isinstance(values, dict) else None


def _set(values: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    if not equals or not name:
        raise ConfigError(
            f'cannot read the setting "{override}".\n  Expected --set a.b=VALUE.', code="bad_config"
        )
    *parents, leaf = name.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise ConfigError(
                f'"{name}" does not exist: "{parent}" is a value, not a group.\n'
                "  See the recipe for the names.",
                code="bad_config",
            )
    try:
        values[leaf] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(
            f'cannot read the setting "{override}": {_first_line(error)}\n'
            "  Expected --set a.b=VALUE, where VALUE is YAML.",
            code="bad_config",
        ) from error


def _explain(error: ValidationError, kind: type[Settings], path: Path) -> str:
    first = error.errors()[0]
    dotted = ".".join(str(part) for part in first["loc"])
    if first["type"] != "extra_forbidden":
        told = first["msg"].removeprefix("Value error, ")
        if not dotted:  # values that do not go together
            return f"{path}: {told}.\n  Mend the recipe."
        return f'"{dotted}" in {path}: {told}, got {first["input"]!r}.\n  Mend the value.'
    near = difflib.get_close_matches(dotted, _names(kind), n=1)
    hint = f' Did you mean "{near[0]}"?' if near else ""
    return f'unknown setting "{dotted}" in {path}.{hint}\n  Remove it or mend its name.'


def _names(kind: type[Settings], prefix: str = "") -> list[str]:
    names = []
    for name, info in kind.model_fields.items():
        names.append(prefix + name)
        inner = info.annotation
        if isinstance(inner, type) and issubclass(inner, Settings):
            names += _names(inner, f"{prefix}{name}.")
    return names


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
