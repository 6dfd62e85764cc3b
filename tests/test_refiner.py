"""The network that sharpens masks: it begins as nothing, changes masks alone, and learns."""

import pytest
import torch

from perceive_anything.modeling import PamForConditionalGeneration
from perceive_anything.training.initialise import (
    freeze_all_but,
    initialise,
    load_finished,
)
from perceive_anything.training.losses import segmentation_loss
from perceive_anything.training.nano import nano_config
from perceive_anything.training.segmentation import REFINER_PARTS
from test_modeling import PROMPTS, SIZES, segment

TAPPED = ("embedding", "mask_tokens", "object_logit")


def make(refiner):
    torch.manual_seed(0)
    sizes = SIZES.model_copy(update={"mask_refiner": refiner})
    model = PamForConditionalGeneration(nano_config(sizes))
    initialise(model)
    return model.eval()


@pytest.fixture(scope="module")
def plain():
    return make(None)


@pytest.fixture
def refined(plain):
    model = make((8, 16, 24))
    load_finished(model, plain)
    return model


def shake(model):
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.sam.mask_refiner.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))


def test_it_begins_by_changing_nothing(plain, refined, processor):
    before, now = (segment(model, processor, PROMPTS) for model in (plain, refined))
    assert torch.equal(before.all_masks, now.all_masks)
    assert torch.equal(before.iou, now.iou)


def test_masks_change_and_what_texts_are_written_from_does_not(plain, refined, processor):
    shake(refined)
    before, now = (segment(model, processor, PROMPTS) for model in (plain, refined))
    assert not torch.allclose(before.all_masks, now.all_masks)
    assert not torch.allclose(before.iou, now.iou)
    for name in TAPPED:
        assert torch.equal(getattr(before, name), getattr(now, name)), name


def test_a_row_does_not_depend_on_its_neighbours(refined, processor):
    shake(refined)
    together = segment(refined, processor, PROMPTS)
    for row, prompt in enumerate(PROMPTS):
        alone = segment(refined, processor, [prompt])
        torch.testing.assert_close(together.all_masks[row : row + 1], alone.all_masks)
        torch.testing.assert_close(together.iou[row : row + 1], alone.iou)


def test_it_learns_what_the_frozen_decoder_misses(refined, processor):
    freeze_all_but(refined, REFINER_PARTS)
    learning = [p for p in refined.parameters() if p.requires_grad]
    assert {id(p) for p in learning} == {id(p) for p in refined.sam.mask_refiner.parameters()}
    target = torch.zeros(len(PROMPTS), 16, 16)
    target[:, 4:12, 3:9] = 1
    picture = torch.rand(1, 3, 64, 64)
    tensors = processor.prompt_tensors(PROMPTS, [(64, 64)])
    optimizer, losses = torch.optim.AdamW(learning, lr=3e-3), []
    for _ in range(25):
        regions = refined.segment(refined.encode_image(picture), tensors)
        loss = sum(segmentation_loss(regions, target).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]


def test_it_is_saved_and_loaded(refined, processor, tmp_path):
    shake(refined)
    refined.save_pretrained(tmp_path)
    again = PamForConditionalGeneration.from_pretrained(tmp_path).eval()
    assert again.config.mask_refiner == [8, 16, 24]
    pair = [segment(model, processor, PROMPTS).all_masks for model in (refined, again)]
    torch.testing.assert_close(*pair)


def test_models_that_differ_in_more_are_refused(refined):
    other = SIZES.model_copy(update={"sam_width": 64})
    model = PamForConditionalGeneration(nano_config(other))
    with pytest.raises(RuntimeError, match="size mismatch"):
        load_finished(refined, model)
