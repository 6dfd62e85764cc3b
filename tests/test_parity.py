"""The same function as the released code: its stored answers, with the same weights.

The fixture holds outputs of the released PAM in float32 on a small model (`parity/`); weights are
rebuilt from their seed under the original names, so these tests cover the converter too.
"""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from parity.weights import fixture_tensor
from perceive_anything.errors import ModelError
from perceive_anything.modeling import PamForConditionalGeneration
from perceive_anything.modeling.convert import (
    SAM_PREFIX,
    config_from_original,
    load_original,
    rename_original,
)
from perceive_anything.modeling.processing import PamImageProcessor, PamProcessor
from perceive_anything.types import Box, Points

FIXTURE = Path(__file__).parent / "parity" / "tiny256_s0"
RUNS = ("image_box", "image_point", "image_points", "image_batch4", "image_box_noobj")
PLACEHOLDER = -200


def read_json(name):
    return json.loads((FIXTURE / name).read_text("utf-8"))


def stored_run(run):
    """Stored arrays of a run, and the weights that it replaces."""
    arrays = dict(np.load(FIXTURE / f"{run}.npz"))
    overrides = {name: arrays.pop(name) for name in list(arrays) if name.startswith("override:")}
    weights = {name.removeprefix("override:"): torch.from_numpy(v) for name, v in overrides.items()}
    return {name: torch.from_numpy(array) for name, array in arrays.items()}, weights


def stored_prompts(run):
    prompts, labels = read_json("meta.json")["prompts"][run.removesuffix("_noobj")]
    if run != "image_batch4":
        prompts, labels = [prompts], [labels]
    pairs = zip(prompts, labels, strict=True)
    return [Box(*prompt) if label is None else Points(prompt, label) for prompt, label in pairs]


@pytest.fixture(scope="module")
def original():
    """A state dict as the released code would save it."""
    meta, shapes = read_json("meta.json"), read_json("state_dict_shapes.json")
    make = partial(fixture_tensor, meta)
    return {key: torch.from_numpy(make(key, tuple(shape))) for key, shape in shapes.items()}


@pytest.fixture(scope="module")
def config():
    sam2 = yaml.safe_load((FIXTURE / "sam2_config.yaml").read_text("utf-8"))
    return config_from_original(read_json("config.json"), sam2)


@pytest.fixture
def model(config, original):
    made = PamForConditionalGeneration(config).eval()
    load_original(made, original)
    return made


@pytest.fixture(scope="module")
def processor(config):
    size = {"height": config.image_size, "width": config.image_size}
    made = PamProcessor.__new__(PamProcessor)  # the fixture stores token ids, there is no tokenizer
    made.image_processor = PamImageProcessor(size=size)
    return made


def with_placeholders(input_ids, num_rows):
    """The one placeholder of the released code -> one for each visual row."""
    rows = []
    for ids in input_ids:
        at = int((ids == PLACEHOLDER).nonzero())
        rows.append(torch.cat([ids[:at], torch.full((num_rows,), PLACEHOLDER), ids[at + 1 :]]))
    return torch.stack(rows)


def answers(model, processor, prompts, input_ids):
    """Our side of what a run stores, under the names of the fixture."""
    picture = np.asarray(Image.open(FIXTURE / "image.png").convert("RGB"))
    features = model.encode_image(processor.pixel_values([picture]))
    tensors = processor.prompt_tensors(prompts, [picture.shape[1::-1]])
    regions = model.segment(features, tensors)
    rows = model.visual_rows(regions)
    embeds = model.splice(with_placeholders(input_ids, model.config.image_rows), rows)
    language = model.language_model
    return {
        "low_res_masks": regions.mask_logits[:, None],
        "object_score_logits": regions.object_logit[:, None],
        "iou": regions.iou[:, :1],
        "all4_iou": regions.iou,
        "mid_mask_tokens_out": regions.mask_tokens,
        "mid_image_embed_sub": regions.embedding[:, :, ::4, ::4],
        "semantic_tokens": rows[:, -17:-1],
        "inputs_embeds_head": embeds[:, :24],
        "inputs_embeds_tail": embeds[:, -40:],
        "visual_tokens_rowmean": embeds.mean(-1),
        "last_logits": language(inputs_embeds=embeds).logits[:, -1],
        "generated_ids": language.generate(
            inputs_embeds=embeds,
            attention_mask=torch.ones(embeds.shape[:2], dtype=torch.long),
            max_new_tokens=16,
            do_sample=False,
        ),
    }


@pytest.mark.parametrize("run", RUNS)
def test_the_answers_of_the_released_code(model, processor, original, run):
    stored, weights = stored_run(run)
    if weights:
        load_original(model, original | weights)
    with torch.inference_mode():
        ours = answers(model, processor, stored_prompts(run), stored["input_ids"])
    compared = [name for name in ours if name in stored]
    assert len(compared) == (8 if run == "image_batch4" else 12)
    for name in compared:
        if name == "generated_ids":
            assert torch.equal(ours[name], stored[name])
        else:
            np.testing.assert_allclose(ours[name], stored[name], atol=1e-4, rtol=0, err_msg=name)
    assert torch.equal(ours["low_res_masks"] > 0, stored["low_res_masks"] > 0)


def test_no_tensor_is_left_over(model, original):
    renamed = rename_original(original)
    assert set(model.state_dict()) - set(renamed) == {"language_model.lm_head.weight"}
    assert set(renamed) <= set(model.state_dict())


def test_sam2_may_come_from_its_own_checkpoint(original):
    bare = {key.removeprefix(SAM_PREFIX): tensor for key, tensor in original.items()}
    expected, renamed = rename_original(original), rename_original(bare)
    assert renamed.keys() == expected.keys()
    assert all(torch.equal(renamed[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda state: state.pop("model.semT_newline"), "semantic_newline"),
        (lambda state: state.update({"model.surprise": torch.zeros(1)}), "surprise"),
        (lambda state: state.update({"model.semT_newline": torch.zeros(3)}), "size mismatch"),
        (lambda state: state.pop(f"{SAM_PREFIX}no_mem_embed"), "no_memory_embedding"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_named(model, original, change, says):
    state = dict(original)
    change(state)
    with pytest.raises(ModelError, match=says) as caught:
        load_original(model, state)
    assert caught.value.code == "bad_model"
