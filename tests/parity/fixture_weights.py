"""Weights of the parity fixtures, a pure function of (seed, original key, shape), bit for bit."""

import hashlib
import math
from typing import Any

import numpy as np

TOKENS = (
    "point_embeddings",
    "not_a_point_embed",
    "no_mask_embed",
    "iou_token",
    "mask_tokens",
    "obj_score_token",
    "sem_tokens",
)
HALVED = (
    "maskmem_tpos_enc",
    "no_mem_embed",
    "no_mem_pos_enc",
    "no_obj_ptr",
    "no_obj_embed_spatial",
    "image_newline",
    "semT_newline",
    "frame_newline",
)


def fixture_tensor(meta: dict[str, Any], key: str, shape: tuple[int, ...]) -> np.ndarray:
    """Value of the original parameter or buffer `key` in the fixture that `meta` describes.

    Its scale follows the kind of parameter; `meta["overrides"]` then applies `w * mul + add` to the
    keys that hold a pattern, in order.
    """
    scale, shift = _scale_and_shift(key, shape)
    value = shift + scale * _standard_normal(meta["args"]["seed"], key, shape)
    for pattern, (mul, add) in meta["overrides"].items():
        if pattern in key:
            value = value * mul + add
    return value.astype(np.float32)


def _standard_normal(seed: int, key: str, shape: tuple[int, ...]) -> np.ndarray:
    words = np.frombuffer(hashlib.sha256(f"{seed}|{key}".encode()).digest(), dtype=np.uint32)
    values = np.random.RandomState(words).standard_normal(math.prod(shape))
    return values.astype(np.float32).reshape(shape)


def _scale_and_shift(key: str, shape: tuple[int, ...]) -> tuple[float, float]:
    leaf = key.rsplit(".", 1)[-1]
    by_leaf = {"gamma": (0.1, 0.5), "pos_embed": (0.3, 0.0), "pos_embed_window": (0.3, 0.0)}
    if leaf == "positional_encoding_gaussian_matrix":
        return 1.0, 0.0
    if leaf in by_leaf:
        return by_leaf[leaf]
    if leaf in HALVED:
        return 0.5, 0.0
    if len(shape) == 1:
        return (0.2, 1.0) if leaf == "weight" else (0.1, 0.0)
    if "embed_tokens" in key:
        return 0.15, 0.0
    if any(token in key for token in TOKENS):
        return 1.0, 0.0
    fan_in = shape[0] if "output_upscaling" in key and len(shape) == 4 else math.prod(shape[1:])
    return math.sqrt(1.0 / fan_in), 0.0
