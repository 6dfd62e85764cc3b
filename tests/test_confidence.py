"""Confidence of labels: its error by hand, a curve that is found again, and what models say."""

import json
import math
import shutil

import numpy as np
import pytest

from pack_fixtures import make_packs
from perceive_anything import Box, CaptionEvent, Mask, Perceiver
from perceive_anything.assets import NANO
from perceive_anything.data.lexicon import Lexicon
from perceive_anything.data.packs import read_packs
from perceive_anything.evaluation.confidence import calibration_error, fit_calibration
from perceive_anything.evaluation.packs import calibrate_labels, serves_to_fit
from perceive_anything.modeling.confidence import is_uncertain, label_confidence


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
    assert set(one.log_probabilities) == set(one.texts)
    assert all(value < 0 for value in one.log_probabilities.values())
    chunks = list(image.perceive(Box(5, 5, 50, 50), tasks=["recognize"], stream=True))
    assert [chunk.log_probability is None for chunk in chunks] == [True] * (len(chunks) - 1) + [
        False
    ]
    assert (chunks[-1].label_confidence, chunks[-1].uncertain) == (
        one.label_confidence, one.uncertain,
    )  # fmt: skip
    assert chunks[-1].log_probability == one.log_probabilities["label"]
    without = image.perceive(Box(5, 5, 50, 50), tasks=["caption"])
    assert (without.label_confidence, without.uncertain) == (None, False)
    assert list(without.log_probabilities) == ["caption"]


def test_what_is_more_likely_wrong_than_right_is_uncertain():
    assert is_uncertain(0.49, 0.5)
    assert not is_uncertain(0.5, 0.5)
    assert not is_uncertain(0.01, None)  # nobody fitted it, so nobody knows
    pam = Perceiver.from_pretrained()
    image = pam.image(np.full((60, 80, 3), 90, np.uint8))
    said = {}
    for threshold in (0.0, 1.1, None):
        pam.model.config.label_threshold = threshold
        region = image.perceive(Box(5, 5, 50, 50), tasks=["recognize"])
        said[threshold] = (region.uncertain, region.title == f"{region.label}?")
    assert said == {0.0: (False, False), 1.1: (True, True), None: (False, False)}


def test_a_track_and_a_caption_of_a_stream_say_how_sure_they_are():
    pam = Perceiver.from_pretrained()
    pam.model.config.label_threshold = 1.1
    frames = [np.full((60, 80, 3), 90, np.uint8)] * 2
    mask = Mask(np.tri(60, 80, dtype=bool))
    track = pam.video(frames).perceive(mask, tasks=["recognize", "caption"])
    assert track.uncertain
    assert track.title == f"{track.label}?"
    assert set(track.log_probabilities) == {"label", "caption"}
    assert track.to_json()["uncertain"] is True
    stream = pam.stream(caption_every=9)
    stream.add(mask)
    stream.push(frames[0])
    said = [event for event in stream.close() if isinstance(event, CaptionEvent)]
    assert (said[0].title, said[0].uncertain) == (track.title, True)
    assert said[0].log_probability == pytest.approx(track.log_probabilities["caption"], abs=0.05)


def test_a_model_is_calibrated_on_half_of_the_records(tmp_path):
    data, folder = make_packs(tmp_path), tmp_path / "model"
    shutil.copytree(NANO, folder)
    records = [record for record in read_packs(data) if record.regions]
    assert {serves_to_fit(record) for record in records} == {True, False}
    fitted = calibrate_labels(folder, records, Lexicon.load(data))
    assert json.loads((folder / "config.json").read_text())["label_calibration"] == fitted
    assert json.loads((folder / "config.json").read_text())["label_threshold"] == 0.5
    model = Perceiver.from_pretrained(folder).model
    assert list(model.config.label_calibration) == fitted
