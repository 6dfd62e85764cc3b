"""The model: ordinary transformers classes, tensors in and tensors out."""

from perceive_anything.modeling.backbone import EfficientNetLiteModel
from perceive_anything.modeling.configuration import (
    EfficientNetLiteConfig,
    PamConfig,
    PamPerceiverConfig,
)
from perceive_anything.modeling.model import PamForConditionalGeneration

__all__ = [
    "EfficientNetLiteConfig",
    "EfficientNetLiteModel",
    "PamConfig",
    "PamForConditionalGeneration",
    "PamPerceiverConfig",
]
