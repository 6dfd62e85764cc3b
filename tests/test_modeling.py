"""The model on tiny random configurations: shapes, batching, saving, generating."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

from perceive_anything.modeling import (
    EfficientNetLiteModel,
    PamConfig,
    PamForConditionalGeneration,
)
from perceive_anything.modeling.backbone import SamePaddedConv2d
from perceive_anything.modeling.close_ups import mask_boxes
from perceive_anything.modeling.generation import write_answers
from perceive_anything.modeling.perceiver import pixel_shuffle_tokens
from perceive_anything.modeling.processing import PamProcessor, restore_masks
from perceive_anything.modeling.segmenter import (
    NO_OBJECT_LOGIT,
    PromptTensors,
    best_mask,
    decode_regions,
    render_prompts,
    with_boxes,
)
from perceive_anything.training.config import ModelConfig
from perceive_anything.training.initialise import initialise
from perceive_anything.training.nano import nano_config
from perceive_anything.types import Box, Mask, Points

SIDE = 64
SIZES = ModelConfig(
    image_size=SIDE,
    sam_width=32,
    sam_heads=2,
    text_width=32,
    text_layers=1,
    text_heads=2,
    vocab_size=400,
)
PROMPTS = [
    Box(3, 4, 40, 50),
    Points([(30, 20)]),
    Points([(30, 20), (5, 6), (7, 8)], labels=[1, 0, 1]),
    Points([(30, 20)], box=Box(3, 4, 40, 50)),
    Mask(np.tri(60, 80, dtype=bool)),
]
PICTURE = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)


def hiera_config():
    """PAM over SAM 2's own Hiera trunk, as in the released checkpoints, but tiny."""
    config = nano_config(SIZES).to_dict()
    vision = config["sam_config"]["vision_config"]
    vision["backbone_config"] = {
        "model_type": "sam2_hiera_det_model", "hidden_size": 16, "num_attention_heads": 1,
        "blocks_per_stage": [1, 1, 2, 1], "embed_dim_per_stage": [16, 32, 64, 128],
        "num_attention_heads_per_stage": [1, 2, 4, 8], "window_size_per_stage": [4, 2, 4, 2],
        "global_attention_blocks": [3], "image_size": [SIDE, SIDE],
        "window_positional_embedding_background_size": [4, 4],
    }  # fmt: skip
    vision["backbone_channel_list"] = [128, 64, 32, 16]
    return PamConfig.from_dict(config | {"render_prompts": False, "close_up_size": 0})


@pytest.fixture(scope="module", params=["efficientnet", "hiera"])
def model(request):
    torch.manual_seed(0)
    config = nano_config(SIZES) if request.param == "efficientnet" else hiera_config()
    made = PamForConditionalGeneration(config)
    initialise(made)
    return made.eval()


def segment(model, processor, prompts):
    with torch.inference_mode():
        features = model.encode_image(processor.pixel_values([PICTURE]))
        return model.segment(features, processor.prompt_tensors(prompts, [(80, 60)]))


def test_shapes(model, processor):
    regions = segment(model, processor, PROMPTS)
    count = len(PROMPTS)
    assert regions.mask_logits.shape == (count, 16, 16)
    assert regions.all_masks.shape == (count, 4, 16, 16)
    assert regions.iou.shape == (count, 4)
    assert regions.embedding.shape == (count, 32, 4, 4)
    assert regions.mask_tokens.shape == (count, 2, 32)
    with torch.inference_mode():
        assert model.visual_rows(regions).shape == (count, 4 + 1 + 16 + 1, 32)
        assert model.visual_rows(regions, dense=False).shape == (count, 1 + 1 + 16 + 1, 32)
    assert model.config.image_rows == 22


def test_a_batch_of_mixed_prompts_answers_like_one_at_a_time(model, processor):
    together = segment(model, processor, PROMPTS)
    for row, prompt in enumerate(PROMPTS):
        alone = segment(model, processor, [prompt])
        for name, values in together.tensors().items():
            torch.testing.assert_close(values[row], getattr(alone, name)[0], atol=1e-5, rtol=1e-4)


def test_prompts_make_a_difference(model, processor):
    regions = segment(model, processor, PROMPTS)
    for first in range(len(PROMPTS)):
        for second in range(first):
            assert not torch.allclose(
                regions.all_masks[first], regions.all_masks[second], atol=1e-6
            )


def test_saved_and_loaded_models_are_equal(model, processor, tmp_path):
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path)
    again = AutoProcessor.from_pretrained(tmp_path)
    assert isinstance(AutoConfig.from_pretrained(tmp_path), PamConfig)
    assert isinstance(loaded, PamForConditionalGeneration)
    assert isinstance(again, PamProcessor)
    state, other = model.state_dict(), loaded.state_dict()
    assert state.keys() == other.keys()
    assert all(torch.equal(value, other[name]) for name, value in state.items())
    inputs, same = (p([PICTURE], PROMPTS, task="caption") for p in (processor, again))
    assert all(torch.equal(inputs[name], same[name]) for name in inputs)
    with torch.inference_mode():
        torch.testing.assert_close(model(**inputs).logits, loaded.eval()(**same).logits)


def test_forward_and_generate(model, processor):
    inputs = processor([PICTURE], PROMPTS, task="explain", language="zh")
    loss = model(**inputs, labels=inputs["input_ids"].clamp(min=0)).loss
    assert loss.isfinite()
    ids = model.generate(**inputs, max_new_tokens=3, do_sample=False)
    assert ids.shape[0] == len(PROMPTS)
    regions = segment(model, processor, PROMPTS)
    with torch.inference_mode():
        answers = write_answers(model, processor, model.visual_rows(regions), "explain", "zh", 3)
    assert answers == [processor.decode_answer(row) for row in ids]


def test_a_wrong_number_of_placeholders_is_named(model, processor):
    inputs = processor([PICTURE], PROMPTS[:1])
    inputs["input_ids"] = inputs["input_ids"][:, :20]
    with pytest.raises(ValueError, match="placeholders, expected"):
        model(**inputs)


def test_an_absent_object_has_no_mask_but_keeps_its_features(model, processor, monkeypatch):
    present = segment(model, processor, PROMPTS[:1])
    head = model.sam.mask_decoder.pred_obj_score_head
    monkeypatch.setattr(head, "forward", lambda tokens: torch.full((len(tokens), 1), -1.0))
    absent = segment(model, processor, PROMPTS[:1])
    assert (absent.mask_logits == NO_OBJECT_LOGIT).all()
    torch.testing.assert_close(absent.embedding, present.embedding)


def test_the_shuffle_is_that_of_a_plain_loop():
    side, width, shuffle = 4, 3, 2
    cells = torch.arange(side * side * width, dtype=torch.float32).view(1, side * side, width)
    expected = []
    for column in range(0, side, shuffle):
        for row in range(0, side, shuffle):
            patch = [
                cells[0, (row + dy) * side + column + dx]
                for dy in range(shuffle)
                for dx in range(shuffle)
            ]
            expected.append(torch.cat(patch))
    assert torch.equal(pixel_shuffle_tokens(cells, shuffle)[0], torch.stack(expected))


def test_coordinates_stay_exact(processor):
    tensors = processor.prompt_tensors([Points([(218.5, 1000.25)])], [(4096, 4096)])
    assert tensors.points.dtype == torch.float32
    assert tensors.points[0, 0].tolist() == [218.5 * SIDE / 4096, 1000.25 * SIDE / 4096]


def test_boxes_come_first_and_missing_points_are_padding(processor):
    tensors = processor.prompt_tensors(PROMPTS, [(80, 60)])
    assert tensors.labels.tolist() == [
        [2, 3, -10], [1, -10, -10], [1, 0, 1], [2, 3, 1], [-1, -10, -10],
    ]  # fmt: skip
    assert tensors.masks.shape == (5, 1, SIDE, SIDE)
    assert [bool(mask.any()) for mask in tensors.masks] == [False] * 4 + [True]


def test_folded_normalisation_is_the_plain_one_and_follows_the_weights():
    torch.manual_seed(0)
    trunk = nano_config(SIZES).sam_config.vision_config.backbone_config
    trunk = EfficientNetLiteModel(trunk).eval()
    pixels = torch.randn(2, 3, SIDE, SIDE)
    for change in (0.0, 0.3):
        for name, value in trunk.state_dict().items():
            if name.endswith(("running_mean", "1.weight")):
                value.add_(change)
        plain = [stage.detach() for stage in trunk.stages(pixels)]
        with torch.inference_mode():
            folded = trunk.stages(pixels)
        for one, other in zip(plain, folded, strict=True):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    assert not any("folded" in name for name in trunk.state_dict())


@pytest.mark.parametrize("kernel", [3, 5])
def test_strided_convolutions_are_padded_as_in_tensorflow(kernel):
    """The odd pixel of padding goes right and below, written out by hand."""
    torch.manual_seed(0)
    conv = SamePaddedConv2d(3, 4, kernel, 2, bias=False)
    pixels = torch.randn(1, 3, 16, 32)
    before = (kernel - 2) // 2
    after = kernel - 2 - before
    padded = torch.nn.functional.pad(pixels, (before, after, before, after))
    wanted = torch.nn.functional.conv2d(padded, conv.weight, stride=2)
    torch.testing.assert_close(conv(pixels).detach(), wanted.detach(), atol=1e-5, rtol=1e-5)


def test_rendered_prompts_say_where():
    points = torch.tensor([[[16.0, 16.0], [48.0, 48.0]]] * 2)
    labels = torch.tensor([[2, 3], [1, 0]])
    box, clicks = render_prompts(PromptTensors(points, labels, torch.zeros(2, dtype=int)), 16)[:, 0]
    assert box[8, 8] > 0.8
    assert box[1, 1] < 0
    assert clicks[4, 4] > 2
    assert clicks[12, 12] < -2


def test_the_best_of_the_four_masks_is_sure_stable_and_in_the_box():
    wide, unstable, narrow = (torch.full((16, 16), -9.0) for _ in range(3))
    wide[2:14, 2:14] = 9
    unstable[4:12, 4:12] = 0.5
    narrow[4:12, 4:9] = 9
    masks = torch.stack([unstable, wide, narrow, narrow])[None]
    iou = torch.tensor([[0.9, 0.8, 0.7, 0.6]])
    corners, none = torch.tensor([[[16.0, 16.0], [48.0, 48.0]]]), torch.zeros(1, dtype=int)

    def best(points, *labels):
        prompts = PromptTensors(points, torch.tensor([labels]), none)
        return best_mask(masks, iou, prompts).item()

    assert best(corners, 1, 1) == 1
    assert best(corners[:, :1], 1) == 1
    assert best(corners, 2, 3) == 2  # most of `wide` lies outside
    assert best(torch.cat([corners, corners], 1), 2, 3, 1, 0) == 2
    clicks = torch.tensor([[[22.0, 22.0], [42.0, 42.0]]])
    assert best(clicks, 1, 1) == 1
    assert best(clicks, 1, 0) == 2  # the others take in what is not meant
    assert best(torch.cat([clicks, clicks], 1), 1, 0, -10, -10) == 2


def test_only_models_that_choose_do_so_and_only_where_they_are_asked(model):
    pixels = torch.randn(1, 3, SIDE, SIDE)
    points, none = torch.tensor([[[20.0, 20.0]]] * 2), torch.zeros(2, dtype=int)
    prompts = PromptTensors(points, torch.tensor([[1], [-1]]), none)
    with torch.inference_mode():
        features = model.encode_image(pixels)
        plain, chosen = (
            decode_regions(model.sam, features, prompts, render=True, choose=choose)
            for choose in (False, True)
        )
    best = best_mask(chosen.all_masks, chosen.iou, prompts).tolist()
    assert torch.equal(plain.score, plain.iou[:, 0])
    assert chosen.score.tolist() == [chosen.iou[0, best[0]].item(), chosen.iou[1, 0].item()]


def test_clicks_alone_are_asked_again_with_the_box_of_what_they_found(model):
    torch.manual_seed(0)
    model = deepcopy(model)
    model.sam.mask_decoder.pred_obj_score_head.proj_out.bias.data.fill_(9)
    points = torch.tensor([[[20.0, 20.0], [30.0, 40.0]]] * 3)
    labels = torch.tensor([[1, -10], [2, 3], [-1, -10]])
    prompts = PromptTensors(points, labels, torch.zeros(3, dtype=int))

    def ask(prompts, **options):
        return decode_regions(model.sam, features, prompts, render=True, choose=True, **options)

    with torch.inference_mode():
        features = model.encode_image(torch.randn(1, 3, SIDE, SIDE))
        if not (ask(prompts).mask_logits[0] > 0).any():  # an untrained model may find nothing
            for head in model.sam.mask_decoder.output_hypernetworks_mlps:
                head.proj_out.weight.neg_()
                head.proj_out.bias.neg_()
        once, twice = ask(prompts), ask(prompts, twice=True)
        click = prompts.rows(torch.tensor([0]), 1)
        again = ask(with_boxes(click, mask_boxes(once.mask_logits[:1], SIDE)))
    mean = (once.mask_logits[0] + again.mask_logits[0]) / 2
    assert not torch.equal(mean, once.mask_logits[0])
    torch.testing.assert_close(twice.mask_logits[0], mean)
    assert twice.score[0] == (once.score[0] + again.score[0]) / 2
    assert torch.equal(twice.mask_logits[1:], once.mask_logits[1:])
    assert torch.equal(twice.embedding, once.embedding)


def test_masks_are_restored_to_the_picture():
    logits = torch.full((2, 16, 16), -1.0)
    logits[0, :8] = 1
    masks = restore_masks(logits, (80, 60))
    assert masks.shape == (2, 60, 80)
    assert masks[0, :28].all()
    assert not masks[0, 32:].any()
    assert not masks[1].any()


@pytest.mark.parametrize(
    ("change", "says"),
    [({"image_shuffle": 3}, "does not divide"), ({"hidden_size": 48}, "must be equal")],
)
def test_parts_that_do_not_fit(change, says):
    config = nano_config(SIZES).to_dict()
    config["perceiver_config"] |= change
    with pytest.raises(ValueError, match=says):
        PamConfig.from_dict(config)
