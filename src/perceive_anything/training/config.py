"""Settings of a training run: frozen, typed, read from a recipe."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class StageConfig(BaseModel):
    """One stage: how long and how fast."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int
    learning_rate: float
    warmup: float = 0.03
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    images: int = 8
    regions: int = 6
    log_every: int = 25
    checkpoint_every_s: float = 600.0
