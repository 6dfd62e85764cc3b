"""Prompts back from a file of regions: our JSON, COCO, Label Studio, CVAT; told apart by content.

Knows which file belongs to which reader, and which entry to which image.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from perceive_anything.errors import PromptError
from perceive_anything.export.answers import RESULT_SCHEMA, RESULTS_SCHEMA, prompt_from_json
from perceive_anything.export.prompts_coco import coco_prompts
from perceive_anything.export.prompts_cvat import cvat_prompts
from perceive_anything.export.prompts_label_studio import label_studio_prompts
from perceive_anything.types import Prompt

PromptTable = dict[str, list[Prompt]]


def read_prompts(path: str | Path) -> PromptTable:
    """Prompts by the name of their image, as the file names it.

    Args:
        path: Our result JSON, COCO instances, Label Studio tasks, or CVAT for images 1.1.

    Raises:
        PromptError: The file is missing, of no such format, or damaged.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from error
    try:
        return _reader(content)(content)
    except PromptError as error:
        raise _unreadable(path, str(error)) from error
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise _unreadable(path, what) from error


def prompts_for(name: str, table: Mapping[str, Sequence[Prompt]]) -> list[Prompt]:
    """The prompts of one image.

    Args:
        name: Its path; names of the table agree with it in as many trailing parts as they have, or
            at least in the file name.
        table: From `read_prompts`.

    Raises:
        PromptError: There is none, or several images of the table have that file name.
    """
    parts = PurePosixPath(Path(name).as_posix()).parts
    shared = {key: _shared_parts(parts, PurePosixPath(key).parts) for key in table}
    most = max(shared.values(), default=0)
    found = [key for key, count in shared.items() if count == most and most > 0]
    if len(found) == 1 and table[found[0]]:
        return list(table[found[0]])
    why = f"{len(found)} images of that name" if len(found) > 1 else "no region for it"
    known = ", ".join([*list(table)[:3], *["..."][: len(table) > 3]]) or "no image"
    raise PromptError(
        f'the file of prompts has {why}: "{name}".\n  It names {known}.',
        code="prompt_missing",
    )


def _shared_parts(first: Sequence[str], second: Sequence[str]) -> int:
    """How many trailing parts of two paths are equal."""
    count = 0
    for one, other in zip(reversed(first), reversed(second), strict=False):
        if one != other:
            break
        count += 1
    return count


def _reader(content: bytes) -> Callable[[bytes], PromptTable]:
    if content.lstrip().startswith(b"<"):
        return cvat_prompts
    value = json.loads(content)
    if isinstance(value, list):
        return lambda _: label_studio_prompts(value)
    if not isinstance(value, dict):
        raise ValueError("it holds neither an object nor a list")
    if value.get("schema") in (RESULT_SCHEMA, RESULTS_SCHEMA):
        return lambda _: _our_prompts(value)
    if "annotations" in value:
        return lambda _: coco_prompts(value)
    raise ValueError("it is none of the formats")


def _our_prompts(value: Mapping[str, Any]) -> PromptTable:
    entries = value["results"] if value["schema"] == RESULTS_SCHEMA else [value]
    return {
        entry["source"]: [prompt_from_json(region["prompt"]) for region in entry["regions"]]
        for entry in entries
        if "regions" in entry
    }


def _unreadable(path: str | Path, why: str) -> PromptError:
    return PromptError(
        f'cannot read prompts from "{path}": {why.splitlines()[0]}.\n'
        "  Expected JSON of perceive, COCO or Label Studio, or XML of CVAT for images 1.1.",
        code="prompt_syntax",
    )
