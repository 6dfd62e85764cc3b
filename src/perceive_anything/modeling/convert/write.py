"""A released checkpoint -> a folder in our layout, one shard at a time.

Never holds more than one shard, and nothing appears under the target's name before it is whole.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from huggingface_hub import split_state_dict_into_shards_factory
from safetensors.torch import save_file
from torch import Tensor

from perceive_anything.errors import OptionError
from perceive_anything.modeling.convert.checkpoint import OriginalCheckpoint
from perceive_anything.modeling.convert.files import INDEX
from perceive_anything.modeling.convert.load import original_processor
from perceive_anything.modeling.convert.names import EMBEDDING, HEAD
from perceive_anything.modeling.model import KEPT_IN_FLOAT32

SHARD_SIZE = "1GB"


def convert_original(
    checkpoint: OriginalCheckpoint,
    target: Path,
    dtype: torch.dtype | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> None:
    """Write configuration, shards, tokenizer and processor.

    Args:
        checkpoint: From `open_original`.
        target: The new folder; must not exist or be empty.
        dtype: Precision on disk; None keeps each tensor's own.
        progress: Called with a line after each shard.

    Raises:
        OptionError: The target is in use or cannot be written.
        ModelError: The tokenizer is missing.
    """
    check_target(target)
    processor = original_processor(checkpoint.folder, checkpoint.config)
    partial = target.parent / f".{target.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        _write_weights(checkpoint, partial, dtype, progress)
        checkpoint.config.architectures = ["PamForConditionalGeneration"]
        checkpoint.config.dtype = _stored(checkpoint, EMBEDDING, dtype).dtype
        checkpoint.config.save_pretrained(partial)
        checkpoint.generation.to_json_file(partial / "generation_config.json")
        processor.save_pretrained(partial)
        if target.exists():
            target.rmdir()
        partial.rename(target)
    except OSError as error:
        raise OptionError(
            f"{target} cannot be written: {error.strerror or error}\n"
            "  Nothing is left of it; make room or name another folder.",
            code="out_unwritable",
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def check_target(target: Path) -> None:
    """See that a folder can be made.

    Raises:
        OptionError: Something is there already.
    """
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise OptionError(
            f"{target} exists already.\n  Name a new folder, or remove this one first.",
            code="out_unwritable",
        )


def _write_weights(
    checkpoint: OriginalCheckpoint,
    folder: Path,
    dtype: torch.dtype | None,
    progress: Callable[[str], None],
) -> None:
    names = [
        name
        for name in checkpoint.tensors
        if not (name == HEAD and checkpoint.config.tie_word_embeddings)
    ]
    sizes = {name: sum(part.num_bytes for part in checkpoint.tensors[name]) for name in names}
    shards = split_state_dict_into_shards_factory(
        sizes,
        get_storage_size=lambda size: size,
        get_storage_id=lambda _: None,
        filename_pattern="model{suffix}.safetensors",
        max_shard_size=SHARD_SIZE,
    )
    files = shards.filename_to_tensors
    for done, (file, held) in enumerate(files.items(), start=1):
        state = {name: _stored(checkpoint, name, dtype) for name in held}
        save_file(state, folder / file, metadata={"format": "pt"})
        progress(f"{done}/{len(files)} {file}")
    if shards.is_sharded:
        index = {"metadata": shards.metadata, "weight_map": shards.tensor_to_filename}
        (folder / INDEX).write_text(json.dumps(index, indent=1), "utf-8")


def _stored(checkpoint: OriginalCheckpoint, name: str, dtype: torch.dtype | None) -> Tensor:
    """A tensor as it is written: always a copy, so that no file stays mapped."""
    tensor = checkpoint.read(name)
    if dtype is None or name.endswith(KEPT_IN_FLOAT32) or not tensor.is_floating_point():
        return tensor.clone(memory_format=torch.contiguous_format)
    return tensor.to(dtype, copy=True, memory_format=torch.contiguous_format)
