"""The training loop: AdamW, warm-up and cosine, one or many processes, JSONL log, checkpoints.

Knows a stage that draws batches and gives terms of a loss; no data, no model. Processes, sharding
and precision are accelerate's business, set by its own configuration file (recipes/accelerate).
"""

from __future__ import annotations

import json
import math
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState
from accelerate.utils import gather_object
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from perceive_anything.errors import ConfigError, require_package
from perceive_anything.training.checkpoint import (
    Learning,
    load_checkpoint,
    save_checkpoint,
    whole,
    write_text,
)
from perceive_anything.training.config import StageConfig
from perceive_anything.training.stage import Stage, to_device
from perceive_anything.training.stopping import StopRequest
from perceive_anything.training.zero import load_zero, save_zero, set_up_zero, uses_zero

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

TRUNK_BLOCKS = "sam.vision_encoder.backbone.groups."
METRICS = "metrics.jsonl"
Report = Callable[[str], None]


def cosine_with_warmup(step: int, steps: int, warmup: float) -> float:
    """Factor of the learning rate at a step: linear up, then a cosine down to 2 %."""
    first = max(1, round(steps * warmup))
    if step < first:
        return (step + 1) / first
    progress = (step - first) / max(1, steps - first)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress))


def silent(_: str) -> None:
    """Says nothing: the report of every process but the main one."""


def make_accelerator(precision: str = "float32") -> Accelerator:
    """The processes of this run, as `accelerate launch` started them; one without it.

    Args:
        precision: "float32", or "bfloat16" for products in bfloat16 over float32 weights.
    """
    # A step may leave parts out: the frame newline has no say in pictures.
    unused = DistributedDataParallelKwargs(find_unused_parameters=True)
    mixed = "bf16" if precision == "bfloat16" else "no"
    AcceleratorState._reset_state()  # one of an earlier run may have another precision
    return Accelerator(mixed_precision=mixed, kwargs_handlers=[unused])


def train_stage(
    stage: Stage,
    settings: StageConfig,
    folder: Path,
    *,
    accelerator: Accelerator | None = None,
    facts: Mapping[str, str] | None = None,
    report: Report = print,
) -> None:
    """Train the parameters of `stage` that require gradients for `settings.steps` steps.

    A step's gradient is that of the mean over all its batches, each by its weight, however many
    processes share them.

    Args:
        stage: Draws batches and gives terms of the loss; trained in place.
        settings: Steps, batches a step, learning rate, clipping, logging and checkpoints.
        folder: Receives `metrics.jsonl` and `checkpoint.safetensors`; a checkpoint found there
            is resumed.
        accelerator: From `make_accelerator`.
        facts: Kept in the header of every checkpoint: recipe, data, versions.
        report: Where the main process's progress lines go.

    Raises:
        ConfigError: The batches of a step cannot be shared out among the processes.
        KeyboardInterrupt: Ctrl-C or SIGTERM came; the steps until then are in the checkpoint.
    """
    loop = _Loop(stage, settings, folder, accelerator or make_accelerator(), facts or {}, report)
    with StopRequest(loop.report) as stop:
        loop.run(stop)


class _Loop:
    def __init__(
        self,
        stage: Stage,
        settings: StageConfig,
        folder: Path,
        accelerator: Accelerator,
        facts: Mapping[str, str],
        report: Report,
    ) -> None:
        self.settings, self.folder, self.facts = settings, folder, facts
        self.accelerator, self.report = accelerator, report
        folder.mkdir(parents=True, exist_ok=True)
        if settings.batches % accelerator.num_processes:
            raise ConfigError(
                f"{settings.batches} batches a step cannot be shared by "
                f"{accelerator.num_processes} processes.\n"
                "  Set `batches` to a multiple of them.",
                code="bad_config",
            )
        accelerator.gradient_accumulation_steps = settings.batches // accelerator.num_processes
        if uses_zero(accelerator):
            set_up_zero(accelerator, settings)
        wanted = settings.tensorboard and accelerator.is_main_process
        self.board = _board(folder) if wanted else None
        groups = parameter_groups(learning_parameters(stage), settings)
        optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.98))
        self.stage = stage
        self.wrapped, self.optimizer = accelerator.prepare(stage, optimizer)
        parameters = learning_parameters(stage)  # sharding replaces them
        averages = (
            {name: p.detach().clone() for name, p in parameters.items()} if settings.ema else {}
        )
        self.learning = Learning(parameters, self.optimizer.optimizer, averages)

    def run(self, stop: StopRequest) -> None:
        settings, accelerator = self.settings, self.accelerator
        start = self._load()
        self._forget_rows_after(start)
        share = _Share(self.stage, settings.batches, accelerator)
        loader = DataLoader(
            share,
            batch_size=None,
            sampler=range(start, settings.steps),
            num_workers=settings.workers,
            collate_fn=_as_it_is,
        )
        began = saved = time.monotonic()
        for step, batches in zip(range(start, settings.steps), loader, strict=True):
            factor = cosine_with_warmup(step, settings.steps, settings.warmup)
            for group in self.optimizer.param_groups:
                group["lr"] = settings.learning_rate * factor * group["rate"]
            terms, norm = self._step(step, batches)
            if step % settings.log_every == 0 or step == settings.steps - 1:
                self._log(step, terms, norm, time.monotonic() - began, start)
            late, stopped = self._due(saved, stop)
            if late or stopped:
                self._save(step + 1)
                saved = time.monotonic()
            if stopped:
                self.report(f"stopped after step {step}; the same command goes on from there")
                raise KeyboardInterrupt
        if start < settings.steps:
            self._save(settings.steps)
        for name, average in self.learning.averages.items():
            self.learning.parameters[name].data.copy_(average)
        accelerator.free_memory(self.wrapped, self.optimizer)
        if self.board is not None:
            self.board.close()

    def _step(self, step: int, batches: list[Any]) -> tuple[dict[str, Tensor], float]:
        """One optimiser step: this process's part of each term, and the gradient's norm."""
        accelerator, settings = self.accelerator, self.settings
        weights = [self.stage.weight(batch) for batch in batches]
        everything = torch.tensor(sum(weights), device=accelerator.device)
        everything = accelerator.reduce(everything, "sum").item()
        sums: dict[str, Tensor] = {}
        norm = math.nan
        for place, (batch, weight) in enumerate(zip(batches, weights, strict=True)):
            number = _number(step, place, settings.batches, accelerator)
            torch.manual_seed(zlib.crc32(f"{self.stage.seed}/{number}".encode()))
            with accelerator.accumulate(self.wrapped):
                with accelerator.autocast():
                    terms = self.wrapped(to_device(batch, accelerator.device))
                share = weight / everything
                total = torch.stack(list(terms.values())).sum()
                accelerator.backward(total * (share * settings.batches))
                for name, term in terms.items():
                    sums[name] = sums.get(name, 0) + share * term.detach()
                if accelerator.sync_gradients:
                    norm = self._clip()
                    if math.isfinite(norm):
                        self.optimizer.step()
                self.optimizer.zero_grad()
        self._average()
        return sums, norm

    def _clip(self) -> float:
        """Clip the gradient; its norm before that."""
        learnt = list(self.learning.parameters.values())
        norm = self.accelerator.clip_grad_norm_(learnt, self.settings.clip_norm)
        if norm is None:  # DeepSpeed clips by itself, and has no norm before its first step
            return math.nan
        return float(whole(torch.as_tensor(norm)))

    @torch.no_grad()
    def _average(self) -> None:
        for name, average in self.learning.averages.items():
            average.lerp_(self.learning.parameters[name].detach(), 1 - self.settings.ema)

    def _due(self, saved: float, stop: StopRequest) -> tuple[bool, bool]:
        """Whether it is time for a checkpoint, by the main process's clock, and to stop."""
        late = time.monotonic() - saved > self.settings.checkpoint_every_s
        flags = torch.tensor([late and self.accelerator.is_main_process, stop.asked]).int()
        late, stopped = self.accelerator.reduce(flags.to(self.accelerator.device), "sum").tolist()
        return bool(late), bool(stopped)

    def _load(self) -> int:
        if uses_zero(self.accelerator):
            return load_zero(self.folder, self.accelerator)
        return load_checkpoint(self.folder, self.learning)

    def _save(self, step: int) -> None:
        if uses_zero(self.accelerator):
            save_zero(self.folder, step, self.accelerator)
        else:
            main = self.accelerator.is_main_process
            save_checkpoint(self.folder, step, self.learning, self.facts, write=main)
        self.accelerator.wait_for_everyone()

    def _log(
        self, step: int, parts: dict[str, Tensor], norm: float, elapsed_s: float, start: int
    ) -> None:
        """Add up the processes' parts of the terms and write them down."""
        parts_of_all = gather_object([{name: part.item() for name, part in parts.items()}])
        names = dict.fromkeys(name for part in parts_of_all for name in part)
        terms = {name: sum(part.get(name, 0.0) for part in parts_of_all) for name in names}
        row = {"step": step, "total": sum(terms.values()), "norm": norm}
        row |= {name: round(term, 5) for name, term in terms.items()}
        row["elapsed_s"] = round(elapsed_s, 1)
        if self.accelerator.is_main_process:
            with (self.folder / METRICS).open("a", encoding="utf-8") as log:
                log.write(json.dumps(row) + "\n")
            if self.board is not None:
                for name, value in row.items():
                    self.board.add_scalar(name, value, step)
            self.report(progress_line(row, start, self.settings.steps))

    def _forget_rows_after(self, start: int) -> None:
        """Rows of steps that are done again."""
        file = self.folder / METRICS
        if self.accelerator.is_main_process and file.exists():
            lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
            whole_lines = [line for line in lines if line.endswith("\n")]
            kept = [line for line in whole_lines if json.loads(line)["step"] < start]
            write_text(file, "".join(kept))


def _number(step: int, place: int, batches: int, accelerator: Accelerator) -> int:
    """Number of this process's batch at a place of a step."""
    return step * batches + place * accelerator.num_processes + accelerator.process_index


class _Share(Dataset):
    """The batches of this process, a list for each step."""

    def __init__(self, stage: Stage, batches: int, accelerator: Accelerator) -> None:
        self.stage, self.batches, self.accelerator = stage, batches, accelerator

    def __getitem__(self, step: int) -> list[Any]:
        places = range(self.batches // self.accelerator.num_processes)
        return [
            self.stage.batch(_number(step, place, self.batches, self.accelerator))
            for place in places
        ]


def _as_it_is(batches: list[Any]) -> list[Any]:
    return batches


def _board(folder: Path) -> SummaryWriter:
    require_package("tensorboard", extra="tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder))


def learning_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that require gradients, by name."""
    return {name: p for name, p in module.named_parameters() if p.requires_grad}


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
