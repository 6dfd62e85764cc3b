"""Released PAM and SAM 2.1 checkpoints in their original layout: open, load, write in ours."""

from perceive_anything.modeling.convert.checkpoint import (
    OriginalCheckpoint,
    is_original,
    open_original,
)
from perceive_anything.modeling.convert.load import load_original, original_processor
from perceive_anything.modeling.convert.write import check_target, convert_original

__all__ = [
    "OriginalCheckpoint",
    "check_target",
    "convert_original",
    "is_original",
    "load_original",
    "open_original",
    "original_processor",
]
