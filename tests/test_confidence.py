"""Confidence of labels: its error by hand, a curve that is found again, and what models say."""

import json
import math
import shutil

import numpy as np
import pytest

from pack_fixtures import make_packs
from perceive_anything import Box, Perceiver
from perceive_anything.assets import NANO
from perceive_anything.data.lexicon import Lexicon
from perceive_anything.data.packs import read_packs
from perceive_anything.evaluation.confidence import calibration_error, fit_calibration
from perceive_anything.evaluation.packs import calibrate_labels, serves_to_fit
from perceive_anything.sessions.regions import label_confidence


def test_the_error_is_the_gap_of_each_bin():
    assert calibration_error([0.95, 0.95], [1, 0]) == pytest.approx(0.45)
    assert calibration_error([0.25] * 4 + [1.0], [1, 0, 0, 0, 1]) == pytest.approx(0)
    assert calibration_error([0.85, 0.15], [0, 1]) == pytest.approx(0.85)


def test_a_curve_is_found_again():
    rng = np.random.default_rng(0)
    inputs = -rng.exponential(1, 4000)
    right = rng.random(4000) < 1 / (1 + np.exp(-(3 * inputs + 2)))
    slope, offset = fit_calibration(inputs, right)
    assert slope == pytest.approx(3, abs=0.3)
    assert offset == pytest.approx(2, abs=0.2)
    sure = [label_confidence(value, (slope, offset)) for value in inputs]
    plain = [label_confidence(value, None) for value in inputs]
    assert calibration_error(sure, right) < 0.03 < calibration_error(plain, right)


def test_all_right_still_gives_a_finite_curve():
    slope, offset = fit_calibration([-0.1, -0.2, -0.3], [1, 1, 1])
    assert math.isfinite(slope)
    assert 0.9 < label_confidence(-0.2, (slope, offset)) <= 1


def test_labels_come_with_their_confidence():
    image = Perceiver.from_pretrained().image(np.full((60, 80, 3), 90, np.uint8))
    one = image.perceive(Box(5, 5, 50, 50))
    assert 0 <= one.label_confidence <= 1
    assert one.to_json()["label_confidence"] == one.label_confidence
    chunks = list(image.perceive(Box(5, 5, 50, 50), tasks=["recognize"], stream=True))
    assert [chunk.log_probability is None for chunk in chunks] == [True] * (len(chunks) - 1) + [
        False
    ]
    assert image.perceive(Box(5, 5, 50, 50), tasks=["caption"]).label_confidence is None


def test_a_model_is_calibrated_on_half_of_the_records(tmp_path):
    data, folder = make_packs(tmp_path), tmp_path / "model"
    shutil.copytree(NANO, folder)
    records = [record for record in read_packs(data) if record.regions]
    assert {serves_to_fit(record) for record in records} == {True, False}
    fitted = calibrate_labels(folder, records, Lexicon.load(data))
    assert json.loads((folder / "config.json").read_text())["label_calibration"] == fitted
    model = Perceiver.from_pretrained(folder).model
    assert list(model.config.label_calibration) == fitted
