"""What a run is made of: recipe, data, versions, seed; kept beside its checkpoints and in them.

Knows settings and files; no tensors.
"""

from __future__ import annotations

import json
import platform
from importlib.metadata import version
from pathlib import Path

from perceive_anything.config import Settings
from perceive_anything.errors import ConfigError
from perceive_anything.training.checkpoint import write_text

RUN_FILE = "run.json"
PACKAGES = ("perceive-anything", "torch", "transformers", "accelerate", "safetensors", "numpy")
# Settings that change how a run goes, not what it gives.
MANNERS = frozenset({"num_threads", "workers", "log_every", "checkpoint_every_s", "tensorboard"})


def claim_folder(
    folder: Path, recipe: Settings, data: str, *, resume: bool = False, write: bool = True
) -> dict[str, str]:
    """Write down what a folder's run is made of; another run must not go on from it.

    Args:
        folder: Made if missing.
        recipe: The resolved recipe; its seed is part of it.
        data: Fingerprint of the data.
        resume: The folder must hold a run already.
        write: False in all processes but one.

    Returns:
        The same facts as texts, for the header of checkpoints.

    Raises:
        ConfigError: The folder holds another run, or none to resume.
    """
    file = folder / RUN_FILE
    facts = {"recipe": recipe.model_dump(mode="json"), "data": data, "versions": _versions()}
    if file.exists():
        before = json.loads(file.read_text(encoding="utf-8"))
        if any(_essence(before.get(part)) != _essence(facts[part]) for part in ("recipe", "data")):
            raise ConfigError(
                f'"{folder}" holds a run of another recipe or other data, see {file}.\n'
                "  Give another folder, --set output=FOLDER, or remove this one.",
                code="bad_config",
            )
    elif resume:
        raise ConfigError(
            f'"{folder}" holds no run to resume.\n'
            "  Check --set output=FOLDER, or leave --resume out to begin one.",
            code="bad_config",
        )
    if write:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(file, json.dumps(facts, indent=2))
    return {name: json.dumps(value) for name, value in facts.items()}


def _versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def _essence(value: object) -> object:
    """A recipe without its `MANNERS`."""
    if not isinstance(value, dict):
        return value
    return {key: _essence(part) for key, part in value.items() if key not in MANNERS}
