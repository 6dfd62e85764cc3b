"""How far a label can be believed, from the probabilities of its tokens.

Knows numbers only; how they are fitted stands in `evaluation.confidence`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def label_confidence(log_probability: float, calibration: Sequence[float] | None) -> float:
    """How likely a label is right, 0..1.

    Args:
        log_probability: Mean over its tokens.
        calibration: Slope and offset of a logistic curve over it, fitted on labelled regions; None
            where that was not done, which leaves the mean probability of a token.
    """
    if calibration is None:
        return round(math.exp(log_probability), 4)
    slope, offset = calibration
    return round(1 / (1 + math.exp(-slope * log_probability - offset)), 4)


def is_uncertain(confidence: float, threshold: float | None) -> bool:
    """Whether a label of this confidence is said with a question mark.

    Args:
        confidence: From `label_confidence`.
        threshold: `PamConfig.label_threshold`; None, where confidence was never fitted, says it of
            no label.
    """
    return threshold is not None and confidence < threshold
