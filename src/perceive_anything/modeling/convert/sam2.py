"""Where the SAM 2.1 part of a PAM comes from, and what it is.

Knows files, yaml and size names; the hub is reached through the function that the caller hands in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from transformers import Sam2VideoConfig

from perceive_anything.errors import ModelError
from perceive_anything.modeling.convert.files import (
    PICKLES,
    StoredTensor,
    read_json,
    tensors_of_file,
    tensors_of_folder,
)
from perceive_anything.modeling.convert.names import SAM, SAM_PREFIX
from perceive_anything.modeling.convert.sizes import (
    SIZES,
    sam_config_of_size,
    sam_config_of_yaml,
    size_named,
)

WEIGHTS = (".safetensors", *PICKLES)
YAMLS = (".yaml", ".yml")
# Two copies of one matrix in transformers; a checkpoint may hold only one of them.
_POSITIONS = (
    f"{SAM}shared_image_embedding.positional_embedding",
    f"{SAM}prompt_encoder.shared_embedding.positional_embedding",
)


@dataclass(frozen=True, slots=True)
class Sam2Source:
    """SAM 2.1 from outside the PAM folder, or only its configuration.

    Attributes:
        config: Sizes of the model.
        tensors: Its tensors under the names of a PAM checkpoint, or under ours from a transformers
            folder; empty if the PAM checkpoint holds them itself.
        place: File or folder that they were looked for in.
    """

    config: Sam2VideoConfig
    tensors: dict[str, StoredTensor] = field(default_factory=dict)
    place: Path | None = None


def find_sam2(
    given: str | Path | None,
    folder: Path,
    tower: str,
    *,
    inside: bool,
    fetch: Callable[[str], Path],
) -> Sam2Source:
    """Settle the SAM 2.1 part of the PAM in `folder`.

    Args:
        given: A size, yaml, weights file, folder or hub id; None takes what `folder` holds, or the
            size that `tower` names from the hub.
        folder: The PAM checkpoint; a `sam2*.yaml` in it counts if none lies beside the weights.
        tower: `mm_vision_tower` of its configuration.
        inside: Whether its state dict holds SAM 2's tensors.
        fetch: Hub id -> local folder.

    Raises:
        ModelError: The weights or the configuration cannot be found or read.
    """
    size = str(given) if str(given) in SIZES else None
    path = Path(given) if given is not None and size is None else None
    if path is not None and path.suffix in (*WEIGHTS, *YAMLS) and not path.is_file():
        raise _missing(folder, f'there is no file "{given}"')
    if path is not None and path.suffix in YAMLS:
        if not inside:
            raise _missing(folder, "a yaml is only the configuration")
        return Sam2Source(_read_yaml(path))
    if path is not None:
        weights: Path | None = path if path.exists() else fetch(str(given))
    else:
        wanted = size or size_named(tower)
        if not inside and wanted is None:
            raise _missing(folder, f'mm_vision_tower "{tower}" names no known size')
        weights = None if inside else _fetch_size(str(wanted), folder, fetch)
    if weights is not None and (weights / "config.json").is_file():
        return _from_transformers(weights)
    config = sam_config_of_size(size) if size else _config_beside(weights, folder, tower)
    if weights is None:
        return Sam2Source(config)
    return Sam2Source(config, dict(_original_tensors(weights)), weights)


def _fetch_size(name: str, folder: Path, fetch: Callable[[str], Path]) -> Path:
    try:
        return fetch(f"facebook/sam2.1-hiera-{name}")
    except ModelError as error:
        why = str(error).splitlines()[0].rstrip(".")
        raise _missing(folder, f"it holds none, and {why}") from error


def _from_transformers(folder: Path) -> Sam2Source:
    kind = read_json(folder / "config.json").get("model_type")
    if kind not in ("sam2", "sam2_video"):
        raise ModelError(
            f'sam2 folder {folder} has the model_type "{kind}", expected "sam2_video".\n'
            "  Give a SAM 2.1 of transformers or one of SAM 2's own files.",
            code="bad_model",
        )
    config = Sam2VideoConfig.from_pretrained(folder)
    config.multimask_output_in_sam = False
    found = {SAM + name: tensor for name, tensor in tensors_of_folder(folder).items()}
    for name, twin in (_POSITIONS, _POSITIONS[::-1]):
        if twin in found:
            found.setdefault(name, found[twin])
    return Sam2Source(config, found, folder)


def _original_tensors(path: Path) -> Iterator[tuple[str, StoredTensor]]:
    for name, tensor in tensors_of_file(_weights_file(path)).items():
        yield SAM_PREFIX + name.removeprefix(SAM_PREFIX), tensor


def _weights_file(path: Path) -> Path:
    if path.is_file():
        return path
    files = sorted(file for file in path.iterdir() if file.suffix in WEIGHTS)
    if len(files) == 1:
        return files[0]
    raise ModelError(
        f"sam2 folder {path} holds {len(files)} weights files, expected one.\n"
        "  Name the file itself.",
        code="bad_model",
    )


def _config_beside(weights: Path | None, folder: Path, tower: str) -> Sam2VideoConfig:
    """By a yaml beside the weights or in the PAM folder, else by the size in a name."""
    places = [] if weights is None else [weights if weights.is_dir() else weights.parent]
    for place in [*places, folder]:
        if yamls := sorted(p for p in place.glob("sam2*") if p.suffix in YAMLS):
            return _read_yaml(yamls[0])
    size = size_named(weights.name if weights is not None else tower) or size_named(tower)
    if size is None:
        raise _missing(folder, f'neither "{weights or tower}" names a size nor is there a yaml')
    return sam_config_of_size(size)


def _read_yaml(path: Path) -> Sam2VideoConfig:
    try:
        settings = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ModelError(
            f"SAM 2 configuration {path} cannot be read: {error}\n  Expected a yaml file.",
            code="bad_model",
        ) from error
    return sam_config_of_yaml(settings, str(path))


def _missing(folder: Path, why: str) -> ModelError:
    return ModelError(
        f"the SAM 2.1 part of {folder} is not settled: {why}.\n"
        "  Give sam2 (--sam2): sam2.1_hiera_large.pt, a SAM 2.1 folder of transformers, or one of "
        f"the sizes {', '.join(SIZES)}.",
        code="bad_model",
    )
