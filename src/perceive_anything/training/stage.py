"""What a stage of training is: something that draws numbered batches and gives terms of a loss.

Knows modules and tensors; no schedule, no optimiser, no files.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Generic, TypeVar, cast

import torch
from torch import Tensor, nn

B = TypeVar("B")
T = TypeVar("T")


class Stage(nn.Module, Generic[B]):
    """Base of all stages; its parameters that require gradients are what learns.

    `batch` runs on the CPU, maybe in another process; `forward` runs on the device of the model. A
    batch, and the chance in `forward`, depend on the stage's seed and the batch's number alone, so
    that neither an interruption nor the number of processes changes a run.
    """

    seed: int = 0

    def batch(self, number: int) -> B:
        """Batch `number`, on the CPU."""
        raise NotImplementedError

    def weight(self, batch: B) -> float:
        """How much a batch counts beside the others of its step."""
        return 1.0

    def forward(self, batch: B) -> dict[str, Tensor]:
        """Terms of the loss; their sum is minimised."""
        raise NotImplementedError


def to_device(value: T, device: torch.device) -> T:
    """The same value with every tensor on `device`; looks into lists, dicts and dataclasses."""
    return cast("T", _moved(value, device))


def _moved(value: object, device: torch.device) -> object:
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, list):
        return [_moved(item, device) for item in value]
    if isinstance(value, dict):
        return {key: _moved(item, device) for key, item in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        parts = {field.name: _moved(getattr(value, field.name), device) for field in fields(value)}
        return replace(value, **parts)
    return value
