"""8-bit weights: how near they come, what they save, and that everything works with them."""

import copy
import weakref

import numpy as np
import pytest
import torch
from skimage import data
from torch import nn

from conftest import FIRST, FRAMES
from perceive_anything import Box, Perceiver
from perceive_anything.errors import OptionError
from perceive_anything.events import CaptionEvent
from perceive_anything.modeling import PamForConditionalGeneration
from perceive_anything.modeling.generation import write_answers
from perceive_anything.modeling.quantize import (
    ROWS,
    Int8Linear,
    int8_engine,
    quantize_int8,
    weight_bytes,
)
from perceive_anything.training.initialise import initialise
from test_modeling import PROMPTS, hiera_config, segment

pytestmark = pytest.mark.skipif(int8_engine() is None, reason="this torch has no fast int8")
CAT = Box(60, 20, 400, 280)


@pytest.fixture(scope="module")
def linear():
    torch.manual_seed(0)
    return nn.Linear(256, 96)


@pytest.fixture(scope="module")
def nano():
    return Perceiver.from_pretrained()


@pytest.fixture(scope="module")
def small_nano():
    return Perceiver.from_pretrained(quantize="int8")


def row_errors(got, expected):
    """Relative error of each row."""
    return (got - expected).norm(dim=-1) / expected.norm(dim=-1)


@torch.inference_mode()
def test_each_row_stays_near_the_float_layer(linear):
    x = torch.randn(2 * ROWS + 3, 256)
    errors = row_errors(Int8Linear(linear)(x), linear(x))
    assert errors.mean() < 0.02
    assert errors.max() < 0.03


@torch.inference_mode()
def test_a_row_of_large_numbers_spoils_no_other(linear):
    x = torch.randn(32, 256)
    x[5] *= 1e4
    small = Int8Linear(linear)
    assert row_errors(small(x), linear(x)).max() < 0.02
    one_grid = torch.ops.quantized.linear_dynamic(x, small.packed, True) + linear.bias
    assert row_errors(one_grid, linear(x)).median() > 0.5


@torch.inference_mode()
def test_a_row_answers_the_same_alone_and_in_a_batch(linear):
    x = torch.randn(40, 256) * torch.logspace(-3, 3, 40)[:, None]
    x[7] = x[7].sign()  # its ends lie between two numbers of the grid
    small = Int8Linear(linear)
    assert torch.equal(torch.cat([small(row[None]) for row in x]), small(x))


@torch.inference_mode()
def test_rows_of_one_sign_or_one_number(linear):
    ones, noise = torch.ones(256), torch.rand(256)
    x = torch.stack([ones, -ones, noise, -noise, ones + noise, -ones - noise, 1e-20 * noise])
    for rows in (x, *x[:, None]):
        assert (Int8Linear(linear)(rows) - linear(rows)).abs().max() < 0.03


@torch.inference_mode()
def test_rows_of_zeros_give_the_bias(linear):
    x = torch.zeros(3, 256)
    assert torch.equal(Int8Linear(linear)(x), linear.bias.expand(3, -1))
    x[1, 7] = 9
    assert torch.equal(Int8Linear(linear)(x)[::2], linear.bias.expand(2, -1))
    dead = copy.deepcopy(linear)
    nn.init.zeros_(dead.weight)
    assert torch.equal(Int8Linear(dead)(x), linear.bias.expand(3, -1))


@pytest.mark.parametrize("shape", [(256,), (0, 256), (1, 256), (2, 3, 256), (2, 1, 5, 256)])
@pytest.mark.parametrize("bias", [True, False])
@torch.inference_mode()
def test_leading_shapes(linear, shape, bias):
    wanted = nn.Linear(256, 96, bias=bias)
    x = torch.randn(shape)
    y = Int8Linear(wanted)(x)
    assert y.dtype == torch.float32
    assert y.shape == wanted(x).shape
    torch.testing.assert_close(y, wanted(x), atol=0.1, rtol=0)


def test_the_language_model_of_nano_shrinks_and_the_floats_are_freed(nano):
    model = copy.deepcopy(nano.model)
    before = [weakref.ref(layer) for layer in model.modules() if isinstance(layer, nn.Linear)]
    gone = [weakref.ref(layer.weight) for layer in model.language_model.model.layers.modules()
            if isinstance(layer, nn.Linear)]  # fmt: skip
    language = model.language_model
    embedding = language.get_input_embeddings().weight
    assert language.lm_head.weight is embedding
    floats = weight_bytes(language) - embedding.nbytes
    quantize_int8(model)
    assert not any(isinstance(layer, nn.Linear) for layer in language.modules())
    assert isinstance(language.lm_head, Int8Linear)
    assert language.get_input_embeddings().weight is embedding
    assert gone
    assert not any(weight() is not None for weight in gone)
    assert sum(layer() is None for layer in before) == len(gone) + 1
    # Without the embedding, which the float head shares; the 8-bit head is counted.
    assert weight_bytes(language) - embedding.nbytes <= 0.45 * floats


def test_weights_are_counted_once(nano):
    language = nano.model.language_model
    state = {value.data_ptr(): value.nbytes for value in language.state_dict().values()}
    rotary = sum(buffer.nbytes for buffer in language.buffers())
    assert weight_bytes(language) == sum(state.values()) + rotary


def test_nano_answers_with_int8(nano, small_nano):
    image = data.chelsea()
    region, plain = small_nano.image(image).perceive(CAT), nano.image(image).perceive(CAT)
    assert np.array_equal(region.mask, plain.mask)  # nano's trunk is convolutions alone
    assert region.score == plain.score
    assert "cat" in region.label
    assert all(region.texts.values())
    assert (small_nano.model.dtype, small_nano.device.type) == (torch.float32, "cpu")


def test_the_plain_path_writes_with_int8_too(small_nano):
    model, processor = small_nano.model, small_nano.processor
    with torch.inference_mode():
        features = model.encode_image(processor.pixel_values([data.chelsea()]))
        regions = model.segment(features, processor.prompt_tensors([CAT], [(451, 300)]))
        rows = model.visual_rows(regions)
    assert "cat" in write_answers(model, processor, rows, "recognize", "en")[0]


def test_a_released_model_follows_and_describes_with_int8(released):
    pam = Perceiver.from_pretrained(released, quantize="int8")
    track = pam.video(FRAMES[:3]).perceive(FIRST, tasks=["segment", "caption"], max_new_tokens=4)
    assert len(track.masks) == 3
    assert track.caption is not None


def test_a_stream_is_captioned_with_int8(small_nano):
    session = small_nano.stream(caption_every=0.2)
    session.add(FIRST)
    events = [event for i, frame in enumerate(FRAMES[:3]) for event in session.push(frame, i / 10)]
    captions = [event for event in events if isinstance(event, CaptionEvent)]
    assert len(captions) == 1
    assert captions[0].text


def test_a_hiera_trunk_keeps_its_masks(processor):
    torch.manual_seed(0)
    model = PamForConditionalGeneration(hiera_config())
    initialise(model)
    plain = segment(model.eval(), processor, PROMPTS).all_masks
    quantize_int8(model)
    linears = [m for m in model.sam.vision_encoder.modules() if isinstance(m, Int8Linear)]
    assert linears
    changed = segment(model, processor, PROMPTS).all_masks
    assert 0 < (changed - plain).norm() / plain.norm() < 0.03


def test_a_model_with_int8_is_not_saved(small_nano, tmp_path):
    with pytest.raises(OptionError, match=r"int8 weights cannot be saved\.\n  .*without quantize"):
        small_nano.model.save_pretrained(tmp_path / "model")
    assert not list(tmp_path.rglob("*.safetensors"))
    with pytest.raises(OptionError, match="cannot be saved"):
        small_nano.model.state_dict()


def test_other_kernels_and_precisions_are_refused(monkeypatch, nano):
    with pytest.raises(OptionError, match="the model is float16 on cpu"):
        quantize_int8(copy.deepcopy(nano.model).half())
    monkeypatch.setattr("perceive_anything.modeling.quantize.int8_engine", lambda: None)
    with pytest.raises(OptionError, match="kernels x86 or fbgemm"):
        quantize_int8(nano.model)
