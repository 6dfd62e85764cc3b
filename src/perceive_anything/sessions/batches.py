"""How many regions go through the model at once, and what happens when memory runs out.

Knows sizes and errors; what is done with a batch is the caller's.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

import torch

from perceive_anything.errors import ModelError

if TYPE_CHECKING:
    from perceive_anything.modeling import PamForConditionalGeneration

Item = TypeVar("Item")
Result = TypeVar("Result")
CPU_BUDGET = 2 << 30
GPU_SHARE = 0.5
# Copies of a region's image embedding in the mask decoder: a guess on the safe side, not measured.
DECODER_COPIES = 20
TEXT_POSITIONS = 192


def regions_at_once(model: PamForConditionalGeneration, num_tasks: int) -> int:
    """Regions whose tensors fit 2 GiB on a CPU, or half of what a GPU has left.

    Args:
        model: Any PAM.
        num_tasks: Texts of each region.
    """
    text, sam, size = model.language_model.config, model.sam.config, model.dtype.itemsize
    head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    position = 2 * text.num_hidden_layers * text.num_key_value_heads * head_dim * size
    embedding = sam.mask_decoder_config.hidden_size * (sam.image_size // 16) ** 2 * size
    region = DECODER_COPIES * embedding
    region += num_tasks * (model.config.image_rows + TEXT_POSITIONS) * position
    return max(1, int(memory_budget(model.device) // region))


def memory_budget(device: torch.device) -> float:
    """Bytes that the regions of one batch may take."""
    if device.type == "cuda":
        return GPU_SHARE * torch.cuda.mem_get_info(device)[0]
    return CPU_BUDGET


def in_batches(
    items: Sequence[Item], at_once: int, work: Callable[[Sequence[Item], int], Iterable[Result]]
) -> Iterator[Result]:
    """Results of all items in order; a batch that is too large for the memory is halved, for good.

    Args:
        items: What to work on.
        at_once: Items of a batch at first.
        work: From a batch and the number of its first item to its results.

    Raises:
        ModelError: One item alone is too large, or memory ran out halfway through its results.
    """
    start = 0
    while start < len(items):
        batch, given = items[start : start + at_once], 0
        try:
            for result in work(batch, start):
                yield result
                given += 1
        except (RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
            if given or len(batch) == 1:
                raise ModelError(
                    f"memory ran out with {len(batch)} of {len(items)} regions at once.\n"
                    "  Ask for fewer tasks or shorter texts, or take a smaller model or --dtype "
                    "bfloat16 on a GPU.",
                    code="out_of_memory",
                ) from error
            at_once = len(batch) // 2
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            warnings.warn(
                f"memory ran out with {len(batch)} regions at once; going on with {at_once}",
                stacklevel=2,
            )
        else:
            start += len(batch)


def _is_out_of_memory(error: BaseException) -> bool:
    """CUDA and MPS have an error of their own; a CPU's allocator only says so."""
    told = isinstance(error, (torch.OutOfMemoryError, MemoryError))
    return told or "can't allocate memory" in str(error) or "out of memory" in str(error)
