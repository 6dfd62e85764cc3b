"""Clicks as SAM is evaluated: the first in the middle, each further one where the mask is wrong.

Knows an image session and the true mask.
"""

from __future__ import annotations

from collections.abc import Collection

from perceive_anything.masks import BoolMask, central_point
from perceive_anything.sessions.image import ImageSession
from perceive_anything.tasks import SEGMENT
from perceive_anything.types import Points

__all__ = ["click_masks"]


def click_masks(
    session: ImageSession, truth: BoolMask, counts: Collection[int]
) -> dict[int, BoolMask]:
    """The masks after so many clicks.

    Each click lies at the deepest point of what is missed, or of what is too much (then it is
    negative), whichever has more pixels. A perfect mask gets no further click.

    Args:
        session: The encoded image.
        truth: True mask, bool (H, W), not empty.
        counts: After how many clicks to look.

    Returns:
        Masks (H, W) by number of clicks.
    """
    clicks, labels = [central_point(truth)], [1]
    found: dict[int, BoolMask] = {}
    for count in range(1, max(counts) + 1):
        if len(clicks) == count:  # else the last mask was perfect
            answer = session.perceive(Points(clicks, labels=labels), tasks=[SEGMENT]).mask
        if count in counts:
            found[count] = answer
        missed, too_much = truth & ~answer, answer & ~truth
        label = int(missed.sum() >= too_much.sum())
        mistake = missed if label else too_much
        if mistake.any():
            clicks.append(central_point(mistake))
            labels.append(label)
    return found
