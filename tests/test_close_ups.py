"""Close-ups: what is cut out, what the perceiver is told of it, and that every path cuts alike."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from perceive_anything.modeling import PamConfig, PamForConditionalGeneration
from perceive_anything.modeling.close_ups import AT_ONCE, CONTEXT, cut_close_ups, look, mask_boxes
from perceive_anything.modeling.tracking import Tracker
from perceive_anything.training.initialise import initialise
from perceive_anything.training.nano import nano_config
from perceive_anything.types import Box, Mask, Points
from test_modeling import PICTURE, PROMPTS, SIDE, SIZES, hiera_config, segment

SIZE = 32


@pytest.fixture(scope="module", params=["efficientnet", "hiera"])
def model(request):
    torch.manual_seed(0)
    config = nano_config(SIZES) if request.param == "efficientnet" else hiera_config()
    made = PamForConditionalGeneration(
        PamConfig.from_dict(config.to_dict() | {"close_up_size": SIZE})
    )
    initialise(made)
    torch.nn.init.normal_(made.perceiver.region_means.proj.weight)
    return made.eval()


def test_a_close_up_is_a_square_around_the_box_at_its_size():
    rng = np.random.default_rng(1)
    image = np.asarray(Image.fromarray(rng.integers(0, 255, (8, 8, 3), np.uint8)).resize((64, 64)))
    pixels = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float()
    box = (20.0, 24.0, 36.0, 40.0)
    cut = cut_close_ups(pixels, torch.tensor([0]), torch.tensor([box]), 20)[0]
    half = 8 * CONTEXT
    window = (28 - half, 32 - half, 28 + half, 32 + half)
    expected = np.asarray(
        Image.fromarray(image).transform(
            (20, 20), Image.Transform.EXTENT, window, Image.Resampling.BILINEAR
        )
    )
    difference = np.abs(cut.permute(1, 2, 0).numpy() - expected)
    assert difference.max() <= 1.5  # Pillow rounds


def test_what_lies_beyond_the_picture_is_the_mean_colour():
    cut = cut_close_ups(
        torch.ones(1, 3, 64, 64), torch.tensor([0]), torch.tensor([[0.0, 16, 32, 48]]), 40
    )[0]
    assert (cut[:, 10:30, :3] == 0).all()
    assert torch.allclose(cut[:, 10:30, 6:], torch.tensor(1.0))


def test_boxes_of_masks_and_of_empty_ones():
    logits = torch.full((2, 16, 16), -1.0)
    logits[0, 3:5, 7:11] = 1
    assert mask_boxes(logits, 64).tolist() == [[28, 12, 44, 20], [0, 0, 64, 64]]


def test_the_trunk_is_read_where_the_region_is():
    inner = torch.zeros(1, 10, 10, 4)
    inner[:, 1:9, 1:9] = 5.0

    def trunk(_):
        return SimpleNamespace(last_hidden_state=inner)

    assert look(trunk, torch.empty(1, 3, 8, 8)).tolist() == [[5.0] * 4]


def test_many_regions_are_looked_at_some_at_a_time():
    asked = []

    def trunk(close_ups):
        asked.append(len(close_ups))
        return SimpleNamespace(last_hidden_state=close_ups.permute(0, 2, 3, 1))

    close_ups = torch.rand(2 * AT_ONCE + 1, 3, 10, 10)
    expected = close_ups[:, :, 1:9, 1:9].mean((2, 3))
    torch.testing.assert_close(look(trunk, close_ups), expected)
    assert asked == [AT_ONCE, AT_ONCE, 1]


def test_a_box_is_cut_as_given_and_a_click_as_found(model, processor):
    regions = segment(model, processor, [Box(8, 6, 40, 30), Points([(30, 20)])])
    with torch.inference_mode():
        pixels = processor.pixel_values([PICTURE])
    scale = torch.tensor([SIDE / 80, SIDE / 60] * 2)
    given = torch.tensor([[8.0, 6, 40, 30]]) * scale
    boxes = torch.cat([given, mask_boxes(regions.mask_logits[1:], SIDE)])
    expected = cut_close_ups(pixels, torch.tensor([0, 0]), boxes, SIZE)
    torch.testing.assert_close(regions.close_ups, expected)


def test_rows_change_with_each_of_the_region_s_means(model, processor):
    regions = segment(model, processor, PROMPTS)
    with torch.inference_mode():
        seen = model.see(regions)
        rows = model.rows_of(seen)
        for name in ("close", "inside"):
            other = model.rows_of(replace(seen, **{name: getattr(seen, name).flip(0)}))
            assert not torch.allclose(rows[0], other[0])
        assert torch.equal(rows, model.visual_rows(regions))
    assert seen.close.shape == (len(PROMPTS), model.config.close_up_width)


def test_a_prompted_frame_is_cut_as_a_picture_is(model, processor):
    prompt = Box(3, 4, 40, 50)
    tracker = Tracker(model.sam)
    tracker.add(0, 0, processor.prompt_tensors([prompt], [(80, 60)]))
    seen = tracker.push(0, processor.pixel_values([PICTURE]))[0]
    assert torch.equal(seen.close_ups, segment(model, processor, [prompt]).close_ups)


def test_released_models_have_none(processor):
    plain = PamForConditionalGeneration(hiera_config())
    assert plain.perceiver.region_means is None
    assert segment(plain.eval(), processor, [Mask(np.ones((60, 80), bool))]).close_ups is None


def test_a_close_up_survives_saving(model, tmp_path):
    model.save_pretrained(tmp_path)
    again = PamForConditionalGeneration.from_pretrained(tmp_path)
    assert again.config.close_up_size == SIZE
    expected = model.perceiver.region_means.proj.weight
    assert torch.equal(again.perceiver.region_means.proj.weight, expected)
