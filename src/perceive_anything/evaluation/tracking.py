"""How well regions are followed: J, F and J&F as DAVIS defines them, and clips to measure on.

Knows masks as arrays and a `Perceiver`. Shape suffixes: T frames, N objects, H W rows and columns.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable

import numpy as np

from perceive_anything.data.masklets import Masklet
from perceive_anything.errors import require_package
from perceive_anything.masks import mask_iou, mask_to_box_xyxy
from perceive_anything.modeling.processing import restore_masks
from perceive_anything.modeling.tracking import Tracker
from perceive_anything.pipeline import Perceiver
from perceive_anything.types import Box, Mask, Prompt

BOUNDARY_TOLERANCE = 0.008
PROMPT_KINDS = ("mask", "box")


def region_similarity(predicted: np.ndarray, truth: np.ndarray) -> float:
    """J: intersection over union of two bool masks (H, W); 1 for two empty ones."""
    return mask_iou(predicted, truth)


def boundary_accuracy(predicted: np.ndarray, truth: np.ndarray) -> float:
    """F: harmonic mean of the boundaries' precision and recall.

    Two boundary pixels match within 0.008 of the image's diagonal, rounded up to whole pixels.

    Args:
        predicted: Bool mask (H, W).
        truth: Bool mask (H, W).
    """
    reach = math.ceil(BOUNDARY_TOLERANCE * math.hypot(*truth.shape))
    found, wanted = boundary(predicted), boundary(truth)
    if not found.any() or not wanted.any():
        return float(found.any() == wanted.any())
    precision = (found & _near(wanted, reach)).sum() / found.sum()
    recall = (wanted & _near(found, reach)).sum() / wanted.sum()
    total = precision + recall
    return float(2 * precision * recall / total) if total else 0.0


def boundary(mask: np.ndarray) -> np.ndarray:
    """Pixels that differ from their right, lower or diagonal neighbour; one pixel wide.

    Beyond the last row and column the mask goes on as it is there.
    """
    padded = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    right, lower, diagonal = padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
    return (mask ^ right) | (mask ^ lower) | (mask ^ diagonal)


def _near(pixels: np.ndarray, reach: int) -> np.ndarray:
    """Pixels within `reach` (Euclidean) of a set one."""
    require_package("scipy", extra="eval")
    from scipy.ndimage import distance_transform_edt

    distance: np.ndarray = distance_transform_edt(~pixels)
    return distance <= reach


def evaluate_masklets(
    perceiver: Perceiver,
    masklets: Iterable[Masklet],
    *,
    report: Callable[[str], None] = lambda _: None,
) -> dict[str, dict[str, float]]:
    """Follow each object of each clip from its mask (and from its box) on the first frame.

    Args:
        perceiver: The model.
        masklets: Clips of two or more frames.
        report: Where progress lines go.

    Returns:
        For "mask" and "box" prompts: mean `j`, `f` and `jf` over all frames but the first of all
        objects, `absence` (share of frames without the object that got an empty mask; nan without
        any) and `num_objects`.
    """
    scores: dict[str, dict[str, list[float]]] = {kind: defaultdict(list) for kind in PROMPT_KINDS}
    for number, masklet in enumerate(masklets, start=1):
        followed = follow(perceiver, masklet)
        for kind, masks_NTHW in followed.items():
            for index, masks_THW in enumerate(masks_NTHW):
                _score(scores[kind], masks_THW, masklet.masks[:, index])
        if number % 10 == 0:
            report(f"{number} clips, J {np.mean(scores['mask']['j']):.3f} from masks")
    return {kind: _summary(table) for kind, table in scores.items()}


def follow(perceiver: Perceiver, masklet: Masklet) -> dict[str, np.ndarray]:
    """Masks (N, T, H, W) of a clip's objects, followed from each kind of prompt."""
    tracker, size_wh = Tracker(perceiver.model.sam), masklet.frames.shape[2:0:-1]
    num_objects = masklet.masks.shape[1]
    for row, kind in enumerate(PROMPT_KINDS):
        for index, mask in enumerate(masklet.masks[0]):
            tensors = perceiver.processor.prompt_tensors([_prompt(mask, kind)], [size_wh])
            tracker.add(row * num_objects + index, 0, tensors)
    frames = []
    for number, frame in enumerate(masklet.frames):
        seen = tracker.push(number, perceiver.processor.pixel_values([frame]))
        frames.append([restore_masks(seen[i].mask_logits, size_wh)[0] for i in sorted(seen)])
    masks = np.stack(frames, 1).reshape(len(PROMPT_KINDS), num_objects, *masklet.masks[:, 0].shape)
    return dict(zip(PROMPT_KINDS, masks, strict=True))


def _prompt(mask: np.ndarray, kind: str) -> Prompt:
    return Mask(mask) if kind == "mask" else Box(*(mask_to_box_xyxy(mask) or (0, 0, 1, 1)))


def _score(table: dict[str, list[float]], predicted: np.ndarray, truth: np.ndarray) -> None:
    """One object's frames behind the first; each object counts alike."""
    pairs = list(zip(predicted[1:], truth[1:], strict=True))
    table["j"].append(float(np.mean([region_similarity(*pair) for pair in pairs])))
    table["f"].append(float(np.mean([boundary_accuracy(*pair) for pair in pairs])))
    table["absence"] += [float(not found.any()) for found, wanted in pairs if not wanted.any()]


def _summary(table: dict[str, list[float]]) -> dict[str, float]:
    j, f = float(np.mean(table["j"])), float(np.mean(table["f"]))
    absence = float(np.mean(table["absence"])) if table["absence"] else math.nan
    return {"j": j, "f": f, "jf": (j + f) / 2, "absence": absence, "num_objects": len(table["j"])}
