"""What the released code does wrong and this package does not; words and precision as released."""

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import FIRST, FIXTURE, FRAMES, SECOND, SIZE_WH
from perceive_anything import Box, Mask, Perceiver, Points
from perceive_anything.errors import OptionError
from perceive_anything.modeling.generation import generation_settings, write_answers
from perceive_anything.modeling.processing import clip_frames, restore_masks
from perceive_anything.modeling.prompts import TASK_TEXTS, chat_pieces
from perceive_anything.modeling.tracking import Tracker

PICTURE = np.asarray(Image.open(FIXTURE / "image.png").convert("RGB"))


@pytest.fixture(scope="module")
def pam(released):
    return Perceiver.from_pretrained(released)


def follow(pam, prompts, frames, first=0):
    """Push frames; `prompts` maps object ids to (frame, prompt)."""
    tracker, seen = Tracker(pam.model.sam), []
    for index, frame in enumerate(frames, start=first):
        for object_id, (start, prompt) in prompts.items():
            if start == index:
                tracker.add(object_id, index, pam.processor.prompt_tensors([prompt], [SIZE_WH]))
        seen.append(tracker.push(index, pam.processor.pixel_values([frame]).to(pam.model.dtype)))
    return seen


def assert_equal(ours, expected):
    assert ours.tensors().keys() == expected.tensors().keys()
    for name, values in ours.tensors().items():
        assert torch.equal(values, getattr(expected, name)), name


def test_an_image_is_encoded_once(pam):
    calls = []
    handle = pam.model.sam.vision_encoder.register_forward_hook(lambda *_: calls.append(1))
    image = pam.image(PICTURE)
    image.perceive([Box(3, 4, 90, 80), Points([(30, 20)])], max_new_tokens=2)
    image.perceive(Points([(130, 120)]), max_new_tokens=2)
    handle.remove()
    assert len(calls) == 1


def test_the_vocabulary_is_computed_where_a_token_is_chosen(pam):
    rows = []
    head = pam.model.language_model.lm_head
    handle = head.register_forward_hook(lambda _, inputs, __: rows.append(inputs[0].shape[1]))
    pam.image(PICTURE).perceive(Box(3, 4, 90, 80), tasks=["caption"], max_new_tokens=3)
    handle.remove()
    assert set(rows) == {1}


def test_objects_of_one_video_do_not_disturb_each_other(pam):
    both = follow(pam, {7: (0, FIRST), 8: (2, SECOND)}, FRAMES[:5])
    first = follow(pam, {7: (0, FIRST)}, FRAMES[:5])
    second = follow(pam, {8: (2, SECOND)}, FRAMES[2:5], first=2)
    assert [sorted(seen) for seen in both] == [[7], [7], [7, 8], [7, 8], [7, 8]]
    for seen, alone in zip(both, first, strict=True):
        assert_equal(seen[7], alone[7])
    for seen, alone in zip(both[2:], second, strict=True):
        assert_equal(seen[8], alone[8])


def test_a_clip_may_have_fewer_than_sixteen_frames(pam):
    assert clip_frames(1) == [0]
    assert clip_frames(5) == [0, 1, 2, 3, 4]
    assert clip_frames(16) == list(range(16))
    assert clip_frames(100)[:3] == [0, 1, 8]
    assert clip_frames(100)[-1] == 99
    assert len(clip_frames(100)) == 16
    seen = [objects[0] for objects in follow(pam, {0: (0, FIRST)}, FRAMES[:3])]
    with torch.inference_mode():
        rows = pam.model.clip_rows(seen)
        assert rows.shape[:2] == (1, (64 + 1 + 16 + 1 + 1) + 2 * (16 + 1 + 16 + 1 + 1))
        assert write_answers(pam.model, pam.processor, rows, "video", "en", 2) != [""]


def test_a_mask_prompt_starts_a_track(pam):
    mask = np.zeros(FRAMES[0].shape[:2], bool)
    mask[79:161, 39:121] = True
    other = np.zeros_like(mask)
    other[20:60, 200:300] = True
    here, there = (
        follow(pam, {0: (0, Mask(array))}, FRAMES[:2])[1][0].mask_logits for array in (mask, other)
    )
    assert here.isfinite().all()
    assert not torch.allclose(here, there, atol=1e-2)


def test_conversations_are_those_of_the_release():
    head, tail = chat_pieces("caption", "en")
    assert f"{head}<image>{tail}" == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n<image>\n"
        "Provide a concise caption for this subject.<|im_end|>\n<|im_start|>assistant\n"
    )
    assert chat_pieces("video", "zh", "一只猫")[1].startswith(
        "\n对该视频中的目标对象提供一个描述。\n历史描述：一只猫<|im_end|>"
    )
    assert "Previous caption: None<" in chat_pieces("video", "en")[1]
    assert sum(len(texts) for texts in TASK_TEXTS.values()) == 10


def test_text_in_front_of_and_behind_the_image_is_tokenised_apart(pam):
    tokenizer, rows = pam.processor.tokenizer, pam.processor.image_rows
    head, tail = chat_pieces("explain", "zh")
    expected = [*tokenizer(head).input_ids, *[-200] * rows, *tokenizer(tail).input_ids]
    assert pam.processor.input_ids("explain", "zh") == expected
    assert rows == 64 + 1 + 16 + 1


def test_answers_keep_all_their_text(pam):
    text = "A spoon.\n\nDefinition: a tool, made of metal; 勺子。"
    ids = pam.processor.tokenizer(f"{text}<|im_end|>").input_ids
    assert pam.processor.decode_answer(ids) == text


def test_greedy_by_default_and_the_release_s_sampling_on_demand(pam):
    greedy = generation_settings(pam.model, pam.processor, "describe")
    assert (greedy.do_sample, greedy.max_new_tokens) == (False, 512)
    sampled = generation_settings(pam.model, pam.processor, "describe", 5, 0.1)
    assert (sampled.do_sample, sampled.temperature, sampled.top_p) == (True, 0.1, None)
    assert sampled.max_new_tokens == 5
    image = pam.image(PICTURE)
    texts = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        region = image.perceive(
            Box(3, 4, 90, 80), tasks=["describe"], temperature=2.0, max_new_tokens=12
        )
        texts.append(region.description)
    assert texts[0] == texts[1] != texts[2]
    with pytest.raises(OptionError, match=r"temperature is -1"):
        image.perceive(Box(3, 4, 90, 80), temperature=-1)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_keeps_coordinates_exact(released, pam, dtype):
    """The release rounds 218.5 to 219 before it scales; ours reach the sine unrounded."""
    half = Perceiver.from_pretrained(released, dtype=dtype)
    size = (1000, 1000)
    for prompt in (Points([(218.5, 999.25)]), Box(218.5, 300.25, 900.75, 999.0)):
        tensors = half.processor.prompt_tensors([prompt], [size])
        tokens = [
            p.model.sam.prompt_encoder(tensors.points[:, None], tensors.labels[:, None], None, None)
            for p in (half, pam)
        ]
        assert tokens[0][0].dtype == torch.float32
        weights = pam.model.sam.prompt_encoder.point_embed.weight
        rounding = torch.finfo(getattr(torch, dtype)).eps * weights.abs().max().item()
        torch.testing.assert_close(tokens[0][0], tokens[1][0], atol=rounding, rtol=0)
    assert half.model.perceiver.positional_embedding.dtype == torch.float32
    grids = [p.model.sam.get_image_wide_positional_embeddings() for p in (half, pam)]
    assert torch.equal(*grids)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_answers_like_float32(released, pam, dtype):
    half = Perceiver.from_pretrained(released, dtype=dtype)
    prompts = [Box(129, 99, 232, 202), Points([(180, 150)])]
    exact, rounded = (p.image(PICTURE).perceive(prompts, max_new_tokens=3) for p in (pam, half))
    for one, other in zip(exact, rounded, strict=True):
        assert (one.mask == other.mask).mean() > 0.97
        assert one.score == pytest.approx(other.score, abs=0.02)
    seen = follow(half, {0: (0, FIRST)}, FRAMES[:3])
    expected = follow(pam, {0: (0, FIRST)}, FRAMES[:3])
    agree = (seen[2][0].mask_logits > 0) == (expected[2][0].mask_logits > 0)
    assert agree.float().mean() > 0.97


def test_masks_are_enlarged_in_float32():
    logits = torch.randn(2, 16, 16, generator=torch.manual_seed(0)).bfloat16()
    expected = restore_masks(logits.float(), (333, 257))
    assert np.array_equal(restore_masks(logits, (333, 257)), expected)


def test_nothing_asks_for_cuda_or_flash_attention(pam):
    parts = (pam.model, pam.model.sam, pam.model.language_model)
    assert {part.config._attn_implementation for part in parts} <= {"sdpa", "eager"}
    assert {parameter.device.type for parameter in pam.model.parameters()} == {"cpu"}
