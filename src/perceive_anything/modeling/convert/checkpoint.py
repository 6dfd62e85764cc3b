"""A released PAM checkpoint, opened: every tensor of ours is found and fits before one is read.

Knows the original layout (`model_type: llava_qwen`) and our model's shapes; moves no weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, Qwen2Config

from perceive_anything.errors import ModelError
from perceive_anything.modeling.configuration import PamConfig, PamPerceiverConfig
from perceive_anything.modeling.convert.files import (
    StoredTensor,
    placed_tensors,
    read_json,
    tensors_of_folder,
)
from perceive_anything.modeling.convert.names import SAM_PREFIX, original_names
from perceive_anything.modeling.convert.sam2 import Sam2Source, find_sam2
from perceive_anything.modeling.model import PamForConditionalGeneration

ORIGINAL_TYPE = "llava_qwen"
# The release's own; greedy decoding is our default, its temperature of 0.1 an option.
MAX_NEW_TOKENS = 512
_TEXT_SETTINGS = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "hidden_act",
    "num_attention_heads",
    "num_key_value_heads",
    "max_position_embeddings",
    "rms_norm_eps",
    "tie_word_embeddings",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
)
NAMED_IN_MESSAGES = 3


@dataclass(frozen=True, slots=True)
class OriginalCheckpoint:
    """Configuration and whereabouts of a released PAM.

    Attributes:
        folder: Where it lies.
        config: Ours.
        generation: How it writes.
        tensors: Key of our state dict -> its parts, to be concatenated along the first axis.
    """

    folder: Path
    config: PamConfig
    generation: GenerationConfig
    tensors: dict[str, tuple[StoredTensor, ...]]

    def read(self, name: str) -> Tensor:
        """One tensor of our state dict, as stored."""
        parts = [part.read() for part in self.tensors[name]]
        return parts[0] if len(parts) == 1 else torch.cat(parts)


def is_original(folder: Path) -> bool:
    """Whether a folder holds a PAM in the layout of the release."""
    config = folder / "config.json"
    return config.is_file() and read_json(config).get("model_type") == ORIGINAL_TYPE


def open_original(
    folder: Path, sam2: str | Path | None, fetch: Callable[[str], Path]
) -> OriginalCheckpoint:
    """Look up all tensors of a released checkpoint.

    Args:
        folder: `config.json`, safetensors shards, tokenizer.
        sam2: Where SAM 2.1 comes from; see `find_sam2`.
        fetch: Hub id -> local folder.

    Raises:
        ModelError: A tensor is missing, left over or of another shape; a file is missing or
            damaged.
    """
    settings = read_json(folder / "config.json")
    found = tensors_of_folder(folder)
    inside = any(name.startswith(SAM_PREFIX) for name in found)
    tower = str(settings.get("mm_vision_tower", ""))
    source = find_sam2(sam2, folder, tower, inside=inside, fetch=fetch)
    if source.tensors:
        found = {name: t for name, t in found.items() if not name.startswith(SAM_PREFIX)}
        found |= source.tensors
    config = PamConfig(
        sam_config=source.config,
        perceiver_config=PamPerceiverConfig(),
        text_config=_text_config(settings, folder),
    )
    tensors = _match(_shapes(config), found, config.tie_word_embeddings, folder, source)
    return OriginalCheckpoint(folder, config, _generation(folder, settings), tensors)


def _generation(folder: Path, settings: Mapping[str, Any]) -> GenerationConfig:
    """The folder's own `generation_config.json` if it has one; the length is the release's."""
    if (folder / "generation_config.json").is_file():
        generation = GenerationConfig.from_pretrained(folder)
    else:
        generation = GenerationConfig(eos_token_id=settings.get("eos_token_id"))
    generation.max_new_tokens = MAX_NEW_TOKENS
    return generation


def _text_config(settings: Mapping[str, Any], folder: Path) -> Qwen2Config:
    given = {name: settings[name] for name in _TEXT_SETTINGS if name in settings}
    if missing := [name for name in ("vocab_size", "hidden_size") if name not in given]:
        raise ModelError(
            f"{folder / 'config.json'} lacks {', '.join(missing)}, expected Qwen2's settings.\n"
            "  Download the file again.",
            code="bad_model",
        )
    rope = {"rope_type": "default", "rope_theta": settings.get("rope_theta", 1e6)}
    return Qwen2Config(**given, rope_parameters=rope)


def _shapes(config: PamConfig) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        model = PamForConditionalGeneration(config)
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def _match(
    shapes: Mapping[str, tuple[int, ...]],
    found: Mapping[str, StoredTensor],
    tied: bool,
    folder: Path,
    source: Sam2Source,
) -> dict[str, tuple[StoredTensor, ...]]:
    """Our names -> where they lie; everything that does not fit is named at once."""
    names = {name: (name,) if name in found else original_names(name, tied=tied) for name in shapes}
    used = dict.fromkeys(part for parts in names.values() for part in parts)
    tensors = {
        name: tuple(found[part] for part in parts)
        for name, parts in names.items()
        if found.keys() >= set(parts)
    }
    misshapen = [
        f"{names[name][0]} is {list(shape)} in {parts[0].file.name}, expected {list(shapes[name])}"
        for name, parts in tensors.items()
        if (shape := _joined_shape(parts)) != shapes[name]
    ]
    missing = [
        f"{name} (expected in {_place(name, source, folder)})" for name in used if name not in found
    ]
    unexpected = [
        f"{name} in {tensor.file.name}"
        for name, tensor in found.items()
        if name not in used and not _harmless(name, tied)
    ]
    complaints = [
        _listing("missing", missing),
        _listing("of the wrong shape", misshapen),
        _listing("unexpected", unexpected),
    ]
    if any(complaints):
        raise ModelError(
            f"the checkpoint {folder} does not fit: {'; '.join(filter(None, complaints))}.\n"
            "  Download these files again; config.json and SAM 2.1 must be those of the weights.",
            code="bad_model",
        )
    return tensors


def _joined_shape(parts: Sequence[StoredTensor]) -> tuple[int, ...]:
    if len(parts) == 1:
        return parts[0].shape
    return (sum(part.shape[0] for part in parts), *parts[0].shape[1:])


def _harmless(name: str, tied: bool) -> bool:
    """What some savers add: a copy of the tied head, the rotary frequencies."""
    return name.endswith("rotary_emb.inv_freq") or (tied and name == "lm_head.weight")


def _place(name: str, source: Sam2Source, folder: Path) -> str:
    if name.startswith(SAM_PREFIX) and source.place is not None:
        return str(source.place)
    placed = placed_tensors(folder)
    return placed.get(name, "model.safetensors" if not placed else "one of the shards")


def _listing(what: str, items: list[str]) -> str:
    if not items:
        return ""
    shown = ", ".join(items[:NAMED_IN_MESSAGES])
    more = f" and {len(items) - NAMED_IN_MESSAGES} more" if len(items) > NAMED_IN_MESSAGES else ""
    return f"{len(items)} {what}: {shown}{more}"
