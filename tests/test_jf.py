"""J and F against trackeval's numbers, and following made-up clips with the embedded model."""

import numpy as np
import pytest

from perceive_anything.data.masklets import Masklet
from perceive_anything.evaluation.tracking import (
    boundary_accuracy,
    evaluate_masklets,
    follow,
    region_similarity,
)
from perceive_anything.pipeline import Perceiver

Y, X = np.mgrid[:120, :160]
EMPTY = np.zeros((120, 160), dtype=bool)


def disc(x, y, radius):
    return np.hypot(X - x, Y - y) < radius


# J and F of (truth, prediction) by trackeval 1.3.0, JAndF._compute_j and ._compute_f at 0.008.
CASES = {
    "shifted disc": (disc(70, 60, 30), disc(75, 58, 28), 0.7763513513513514, 0.3289473684210526),
    "at the edges": (
        disc(0, 119, 50), (X < 45) & (Y > 75), 0.8351749539594844, 0.26020081179235205,
    ),
    "stripes": (
        (X // 8) % 2 == 0, (X // 8 + Y // 40) % 2 == 0, 0.5, 0.973968762515018,
    ),
    "nothing found": (disc(80, 60, 20), EMPTY, 0.0, 0.0),
    "nothing there": (EMPTY, disc(80, 60, 20), 0.0, 0.0),
    "both empty": (EMPTY, EMPTY, 1.0, 1.0),
    "ring": (
        disc(80, 60, 40) & ~disc(80, 60, 20), disc(80, 60, 41),
        0.7178510192417603, 0.8020304568527918,
    ),
    "far apart": (disc(30, 30, 15), disc(120, 90, 15), 0.0, 0.0),
    "no boundary": (~EMPTY, disc(80, 60, 55), 0.49296875, 0.0),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_j_and_f_are_those_of_the_reference(name):
    truth, predicted, j, f = CASES[name]
    assert region_similarity(predicted, truth) == pytest.approx(j, abs=1e-6)
    assert boundary_accuracy(predicted, truth) == pytest.approx(f, abs=1e-6)


def still_clip(num_frames):
    """A red disc and a blue square that stand still; the square is gone on the last frame."""
    rows, columns = np.mgrid[:320, :320]
    masks = np.zeros((num_frames, 2, 320, 320), dtype=bool)
    masks[:, 0] = np.hypot(columns - 90, rows - 160) < 50
    masks[:-1, 1, 100:200, 200:300] = True
    frames = np.full((num_frames, 320, 320, 3), 200, dtype=np.uint8)
    frames[masks[:, 0]] = (220, 30, 30)
    frames[masks[:, 1]] = (30, 30, 220)
    return Masklet(frames, masks)


def test_scores_come_from_the_frames_behind_the_first(monkeypatch):
    pam, clip = Perceiver.from_pretrained(), still_clip(3)
    followed = follow(pam, clip)
    assert followed["mask"].shape == followed["box"].shape == (2, 3, 320, 320)
    scores = evaluate_masklets(pam, [clip])
    for kind, masks in followed.items():
        per_object = [
            [region_similarity(masks[n, t], clip.masks[t, n]) for t in (1, 2)] for n in (0, 1)
        ]
        assert scores[kind]["j"] == pytest.approx(np.mean(per_object))
        assert scores[kind]["jf"] == pytest.approx((scores[kind]["j"] + scores[kind]["f"]) / 2)
        assert scores[kind]["absence"] == float(not masks[1, 2].any())
        assert scores[kind]["num_objects"] == 2
