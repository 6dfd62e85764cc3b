"""DeepSpeed's ZeRO stages 1 and 2: its engine steps, clips and keeps its state by itself.

Knows accelerate's DeepSpeed settings and folders of checkpoints in DeepSpeed's own format. Stage 3
is left to FSDP2, which does the same in torch.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from accelerate import Accelerator
from accelerate.utils import DistributedType

from perceive_anything.errors import ConfigError
from perceive_anything.training.config import StageConfig

STATE, STEP = "deepspeed", "step.json"


def uses_zero(accelerator: Accelerator) -> bool:
    """Whether DeepSpeed runs the processes."""
    return accelerator.distributed_type is DistributedType.DEEPSPEED


def set_up_zero(accelerator: Accelerator, settings: StageConfig) -> None:
    """Tell the engine what the recipe says.

    Raises:
        ConfigError: ZeRO-3, or averages, which the engine does not keep.
    """
    config = accelerator.state.deepspeed_plugin.deepspeed_config
    if config["zero_optimization"]["stage"] > 2 or settings.ema:
        raise ConfigError(
            "with DeepSpeed, `ema` and ZeRO-3 are not supported.\n"
            "  Use recipes/accelerate/fsdp2.yaml for them.",
            code="bad_config",
        )
    config["train_micro_batch_size_per_gpu"] = 1  # it has no say in the result
    config["gradient_accumulation_steps"] = accelerator.gradient_accumulation_steps
    config["gradient_clipping"] = settings.clip_norm
    config["zero_allow_untested_optimizer"] = True


def save_zero(folder: Path, step: int, accelerator: Accelerator) -> None:
    """Write the engine's state beside the old one, then put it in its place; all must call."""
    fresh = folder / f"{STATE}.new"
    accelerator.save_state(str(fresh))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        (fresh / STEP).write_text(json.dumps(step), encoding="utf-8")
        shutil.rmtree(folder / STATE, ignore_errors=True)
        fresh.replace(folder / STATE)


def load_zero(folder: Path, accelerator: Accelerator) -> int:
    """Restore the engine's state; the number of steps that are done (0 without one)."""
    if not (folder / STATE / STEP).exists():
        return 0
    accelerator.load_state(str(folder / STATE))
    return int(json.loads((folder / STATE / STEP).read_text(encoding="utf-8")))
