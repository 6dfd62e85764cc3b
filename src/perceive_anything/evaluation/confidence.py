"""How far the confidence of labels can be believed: its error, and a curve that mends it.

Knows log-probabilities and right or wrong; no model. Source: Guo et al., arXiv 1706.04599 (expected
calibration error), Platt 1999 (the curve).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

BINS = 10
NEWTON_STEPS = 50
RIDGE = 1e-3  # keeps the curve finite where right and wrong do not overlap


def calibration_error(confidences: Sequence[float], right: Sequence[float]) -> float:
    """Expected calibration error: mean gap between confidence and accuracy over ten bins.

    Args:
        confidences: 0..1.
        right: 1 where the answer was right, 0 where it was wrong.
    """
    sure, hit = np.asarray(confidences, float), np.asarray(right, float)
    bins = np.minimum((sure * BINS).astype(int), BINS - 1)
    gaps = [abs((sure - hit)[bins == number].sum()) for number in range(BINS)]
    return float(sum(gaps) / max(1, len(sure)))


def fit_calibration(
    log_probabilities: Sequence[float], right: Sequence[float]
) -> tuple[float, float]:
    """Slope and offset of the logistic curve that fits best, see `label_confidence`.

    Args:
        log_probabilities: Mean over the tokens of each label.
        right: 1 where the label was right, 0 where it was wrong.
    """
    inputs = np.stack([np.asarray(log_probabilities, float), np.ones(len(right))], 1)
    target, weights = np.asarray(right, float), np.zeros(2)
    for _ in range(NEWTON_STEPS):
        likely = 1 / (1 + np.exp(-inputs @ weights))
        gradient = inputs.T @ (likely - target) + RIDGE * weights
        curvature = (inputs * (likely * (1 - likely))[:, None]).T @ inputs + RIDGE * np.eye(2)
        weights -= np.linalg.solve(curvature, gradient)
    return float(weights[0]), float(weights[1])
