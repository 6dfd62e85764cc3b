"""The training loop of every stage: steps, schedule, log, checkpoints, resume.

Knows a module to train and a function that gives the loss terms of a step; no data, no model.
"""

from __future__ import annotations

import json
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from perceive_anything.training.config import StageConfig

CHECKPOINT = "checkpoint.safetensors"
TRUNK_BLOCKS = "sam.vision_encoder.backbone.groups."
LossFunction = Callable[[int], dict[str, Tensor]]


def cosine_with_warmup(step: int, steps: int, warmup: float) -> float:
    """Factor of the learning rate at a step: linear up, then a cosine down to 2 %."""
    first = max(1, round(steps * warmup))
    if step < first:
        return (step + 1) / first
    progress = (step - first) / max(1, steps - first)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress))


def train_stage(
    module: nn.Module,
    loss: LossFunction,
    settings: StageConfig,
    folder: Path,
    *,
    report: Callable[[str], None] = print,
) -> None:
    """Train the parameters of `module` that require gradients for `settings.steps` steps.

    Args:
        module: Holds every trainable parameter of the stage.
        loss: Terms of the loss of a step; must depend on the step's number alone.
        settings: Steps, learning rate, clipping, logging and checkpoint intervals.
        folder: Receives `metrics.jsonl` and `checkpoint.safetensors`; a checkpoint found there
            is resumed.
        report: Where progress lines go.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(
        parameter_groups(parameters, settings), lr=settings.learning_rate, betas=(0.9, 0.98)
    )
    start = load_checkpoint(folder, parameters, optimizer)
    began = saved = time.monotonic()
    with (folder / "metrics.jsonl").open("a") as log:
        for step in range(start, settings.steps):
            factor = cosine_with_warmup(step, settings.steps, settings.warmup)
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * factor * group["rate"]
            terms = loss(step)
            total = torch.stack(list(terms.values())).sum()
            total.backward()
            norm = nn.utils.clip_grad_norm_(parameters.values(), settings.clip_norm)
            if torch.isfinite(norm):
                optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if step % settings.log_every == 0 or step == settings.steps - 1:
                row = {"step": step, "total": total.item(), "norm": norm.item()}
                row |= {name: round(term.item(), 5) for name, term in terms.items()}
                row["elapsed_s"] = round(time.monotonic() - began, 1)
                log.write(json.dumps(row) + "\n")
                log.flush()
                report(progress_line(row, start, settings.steps))
            if time.monotonic() - saved > settings.checkpoint_every_s:
                save_checkpoint(folder, step + 1, parameters, optimizer)
                saved = time.monotonic()
    save_checkpoint(folder, settings.steps, parameters, optimizer)


def parameter_groups(parameters: dict[str, nn.Parameter], settings: StageConfig) -> list[dict]:
    """Weight decay for matrices only; a rate of its own for the trunk."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in parameters.items():
        groups[TRUNK_BLOCKS in name, parameter.ndim > 1].append(parameter)
    return [
        {
            "params": group,
            "weight_decay": settings.weight_decay if matrices else 0.0,
            "rate": settings.trunk_rate if trunk else 1.0,
        }
        for (trunk, matrices), group in groups.items()
    ]


def progress_line(row: dict, start: int, steps: int) -> str:
    """One line for people: step, loss and the time that is left."""
    done = row["step"] - start + 1
    left = row["elapsed_s"] / done * (steps - row["step"] - 1)
    terms = " ".join(
        f"{key} {value:.3f}" for key, value in row.items() if key not in ("step", "elapsed_s")
    )
    return f"step {row['step']}/{steps} {terms} (about {left / 60:.0f} min left)"


def save_checkpoint(
    folder: Path, step: int, parameters: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer
) -> None:
    """Parameters and AdamW's moments; written beside the old checkpoint, then renamed."""
    tensors = {f"model.{name}": p.detach() for name, p in parameters.items()}
    for name, p in parameters.items():
        for key in ("exp_avg", "exp_avg_sq", "step"):
            if p in optimizer.state:
                tensors[f"{key}.{name}"] = optimizer.state[p][key]
    fresh = folder / f"{CHECKPOINT}.new"
    save_file(
        {key: value.contiguous() for key, value in tensors.items()}, fresh, {"step": str(step)}
    )
    fresh.replace(folder / CHECKPOINT)


def load_checkpoint(
    folder: Path, parameters: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer
) -> int:
    """Restore the newest checkpoint; the number of steps that are done (0 without one)."""
    path = folder / CHECKPOINT
    if not path.exists():
        return 0
    tensors = load_file(path)
    for name, p in parameters.items():
        p.data.copy_(tensors[f"model.{name}"])
        if f"step.{name}" in tensors:
            keys: Iterable[str] = ("exp_avg", "exp_avg_sq", "step")
            optimizer.state[p] = {key: tensors[f"{key}.{name}"].clone() for key in keys}
    return checkpoint_step(path)


def checkpoint_step(path: Path) -> int:
    """The step that a checkpoint was saved at."""
    with safe_open(path, "pt") as file:
        return int(file.metadata()["step"])
