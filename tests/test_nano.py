"""The embedded model on photos that scikit-image ships, against stored answers."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from skimage import data

import perceive_anything as pa
from perceive_anything.assets import NANO
from perceive_anything.masks import decode_rle, mask_iou
from perceive_anything.tasks import TASK_FIELD
from perceive_anything.training.export import save_model

GOLDEN = json.loads((Path(__file__).parent / "golden" / "nano.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def pam():
    return pa.Perceiver.from_pretrained()


def test_it_does_not_begin_to_make_up_looks_and_neither_do_its_children(pam, tmp_path):
    (word,) = pam.model.language_model.generation_config.suppress_tokens
    assert pam.processor.tokenizer.decode(word) == " typically"
    save_model(pam.model, pam.processor, tmp_path)
    again = pa.Perceiver.from_pretrained(tmp_path).model
    assert again.language_model.generation_config.suppress_tokens == [word]


def prompt_of(case):
    return pa.Box(*case["box"]) if "box" in case else pa.Points([case["point"]])


@pytest.mark.parametrize(
    "case", GOLDEN["cases"], ids=lambda case: f"{case['photo']}-{case['language']}"
)
def test_golden_answers(pam, case):
    image = pam.image(getattr(data, case["photo"])())
    region = image.perceive(prompt_of(case), language=case["language"])
    assert mask_iou(region.mask, decode_rle(case["mask"])) > 0.98
    assert region.score == pytest.approx(case["score"], abs=0.02)
    assert region.texts == case["texts"]
    assert region.label_confidence == pytest.approx(case["label_confidence"], abs=0.05)
    assert region.uncertain == case["uncertain"]
    assert dict(region.log_probabilities) == pytest.approx(case["log_probability"], abs=0.05)


def test_the_mask_covers_the_cat(pam):
    """What `make run` shows: a box around the cat gives a mask over its face."""
    region = pam.image(data.chelsea()).perceive(pa.Box(*GOLDEN["cat_box"]), tasks=["segment"])
    assert region.mask[120:180, 150:300].mean() > 0.9
    assert region.score > 0.5


def test_the_cat_is_a_cat(pam):
    region = pam.image(data.chelsea()).perceive(pa.Box(*GOLDEN["cat_box"]))
    for text in (region.label, region.explanation, region.caption, region.description):
        assert "cat" in re.findall(r"\w+", text)


def test_a_list_answers_like_one_at_a_time(pam):
    image = pam.image(data.astronaut())
    prompts = [
        pa.Box(20, 5, 400, 510),
        pa.Points([(220, 110)]),
        pa.Points([(220, 110), (30, 30)], labels=[1, 0]),
        pa.Points([(220, 110)], box=pa.Box(20, 5, 400, 510)),
        pa.Mask(np.tri(512, dtype=bool)),
    ]
    together = image.perceive(prompts)
    for region, prompt in zip(together, prompts, strict=True):
        alone = image.perceive(prompt)
        assert mask_iou(alone.mask, region.mask) > 0.999
        assert alone.texts == region.texts


def test_a_mask_prompt_is_its_own_mask(pam):
    mask = np.zeros((300, 451), dtype=bool)
    mask[50:250, 100:400] = True
    region = pam.image(data.chelsea()).perceive(pa.Mask(mask), tasks=["recognize"])
    assert np.array_equal(region.mask, mask)
    assert region.box_xyxy == (100, 50, 400, 250)


def test_only_the_asked_texts_are_written(pam):
    region = pam.image(data.coffee()).perceive(pa.Box(100, 50, 500, 350), tasks=["caption"])
    assert region.caption
    assert [region.texts[name] for name in TASK_FIELD.values() if name != "caption"] == [None] * 3


def test_the_image_is_encoded_once(pam, monkeypatch):
    calls = []
    encode = type(pam.model).encode_image
    monkeypatch.setattr(
        type(pam.model),
        "encode_image",
        lambda self, pixels: calls.append(1) or encode(self, pixels),
    )
    image = pam.image(data.chelsea())
    image.perceive(pa.Box(5, 5, 400, 290), tasks=["segment"])
    image.perceive([pa.Points([(200, 150)]), pa.Points([(20, 20)])], tasks=["segment"])
    assert calls == [1]


@pytest.mark.parametrize("shape", [(8, 8, 3), (200, 4000, 3), (90, 10, 3)])
def test_odd_shapes(pam, shape):
    image = pam.image(np.full(shape, 128, dtype=np.uint8))
    region = image.perceive(pa.Box(0, 0, shape[1], shape[0]), tasks=["segment", "recognize"])
    assert region.mask.shape == shape[:2]
    assert region.label


def test_prompts_outside_name_the_image(pam):
    with pytest.raises(pa.PerceiveError, match="451x300"):
        pam.image(data.chelsea()).perceive(pa.Box(0, 0, 452, 300))


def test_memory_comes_from_its_own_file(pam):
    """The first file still holds the untrained one; the index decides."""
    state = pam.model.state_dict()
    stored = load_file(NANO / "model-00002-of-00002.safetensors")
    assert any(name.startswith("sam.memory_attention.") for name in stored)
    assert all(torch.equal(state[name], value.float()) for name, value in stored.items())


def test_a_moving_cat_is_followed(pam):
    cat = data.chelsea()
    frames = [np.roll(cat, 4 * step, axis=1) for step in range(8)]
    track = pam.video(frames).perceive(pa.Box(*GOLDEN["cat_box"]), tasks=["segment"])
    assert track.visible.all()
    for step in range(8):
        moved = np.roll(track.masks[0], 4 * step, axis=1)
        assert mask_iou(track.masks[step], moved) > 0.7
