"""Checkpoints of a stage: what learns, AdamW's moments and the averages, as one safetensors file.

Knows parameters by name, whole or sharded; the files are whole, so that any number of processes
can go on from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

CHECKPOINT = "checkpoint.safetensors"
MOMENTS = ("exp_avg", "exp_avg_sq", "step")


@dataclass(slots=True)
class Learning:
    """What changes while a stage is trained.

    Attributes:
        parameters: What learns, by name.
        optimizer: AdamW over them.
        averages: Exponential moving averages of the parameters; empty without.
    """

    parameters: dict[str, nn.Parameter]
    optimizer: torch.optim.Optimizer
    averages: dict[str, Tensor] = field(default_factory=dict)


def write_text(file: Path, text: str) -> None:
    """Write a small file at once: it is the old one or the new one, whenever the process dies."""
    fresh = file.with_name(f"{file.name}.new")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(file)


def whole(tensor: Tensor) -> Tensor:
    """The tensor without gradient, gathered from all processes if it is sharded."""
    tensor = tensor.detach()
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


@torch.no_grad()
def fill(target: Tensor, source: Tensor) -> None:
    """Copy a whole tensor into one that may be sharded."""
    if isinstance(target, DTensor):
        source = source.to(target.device)
        source = distribute_tensor(source, target.device_mesh, target.placements)
    target.copy_(source)


def save_checkpoint(
    folder: Path, step: int, learning: Learning, facts: Mapping[str, str], *, write: bool = True
) -> None:
    """Write the state after `step` steps beside the old checkpoint, then put it in its place.

    Args:
        folder: Receives the file.
        step: Steps that are done.
        learning: What to save.
        facts: Recipe, data and versions, kept in the file's header.
        write: False in all processes but one; all must call, as shards are gathered.
    """
    tensors = {}
    for name, parameter in learning.parameters.items():
        tensors[f"model.{name}"] = whole(parameter).cpu()
        state = learning.optimizer.state.get(parameter, {})
        tensors |= {f"{key}.{name}": whole(value).cpu() for key, value in state.items()}
    for name, average in learning.averages.items():
        tensors[f"average.{name}"] = whole(average).cpu()
    if not write:
        return
    fresh = folder / f"{CHECKPOINT}.new"
    tensors = {key: value.contiguous() for key, value in tensors.items()}
    save_file(tensors, fresh, {**facts, "step": str(step)})
    fresh.replace(folder / CHECKPOINT)


def load_checkpoint(folder: Path, learning: Learning) -> int:
    """Restore the newest checkpoint; the number of steps that are done (0 without one)."""
    path = folder / CHECKPOINT
    if not path.exists():
        return 0
    with safe_open(path, "pt") as file:
        stored = set(file.keys())
        for name, parameter in learning.parameters.items():
            fill(parameter, file.get_tensor(f"model.{name}"))
            if f"step.{name}" in stored:
                learning.optimizer.state[parameter] = {
                    "step": file.get_tensor(f"step.{name}"),
                    **{
                        key: _like(parameter, file.get_tensor(f"{key}.{name}"))
                        for key in MOMENTS[:2]
                    },
                }
        for name, average in learning.averages.items():
            fill(average, file.get_tensor(f"average.{name}"))
        return int(file.metadata()["step"])


def _like(parameter: Tensor, source: Tensor) -> Tensor:
    made = torch.empty_like(parameter.detach())
    fill(made, source)
    return made
