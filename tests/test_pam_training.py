"""Stages 1, 1.5 and 2 of PAM on a toy: what learns, resuming, processes, and where it begins."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, Sam2VideoModel

from pack_fixtures import make_packs
from perceive_anything import Box, Perceiver
from perceive_anything.assets import NANO
from perceive_anything.cli import main
from perceive_anything.config import load_config
from perceive_anything.data.schema import RegionRecord, TrackRecord
from perceive_anything.data.shards import write_shards
from perceive_anything.errors import ConfigError
from perceive_anything.modeling.processing import PamProcessor
from perceive_anything.modeling.sizes import config_of_size, random_model
from perceive_anything.training.config import PamRecipe, PartsConfig, StageConfig
from perceive_anything.training.drawing import draw_prompt, known_frames, on_frame
from perceive_anything.training.export import save_model
from perceive_anything.training.loop import train_stage
from perceive_anything.training.pam import make_stage, open_sources
from perceive_anything.training.regions import make_region
from perceive_anything.training.start import start_model
from perceive_anything.training.texts import ComposedTexts, WrittenTexts

RECIPES = Path(__file__).parent.parent / "recipes"
RECIPE = RECIPES / "pam_1.5b_stage1.5.yaml"
SIDE = 64
COLOURS = {"red": (220, 30, 30), "blue": (30, 60, 220)}


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """A finished model with random weights."""
    torch.manual_seed(0)
    model, processor = random_model("tiny")
    folder = tmp_path_factory.mktemp("toy")
    save_model(model, processor, folder)
    return folder


def square(path, colour, left):
    pixels = np.full((SIDE, SIDE, 3), 128, np.uint8)
    pixels[20:44, left : left + 24] = COLOURS[colour]
    Image.fromarray(pixels).save(path)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two coloured squares as a COCO folder, and as clips of PAM-data with a previous caption."""
    root = tmp_path_factory.mktemp("data")
    (root / "pictures").mkdir()
    (root / "clips").mkdir()
    images, annotations, rows = [], [], []
    for number, colour in enumerate(COLOURS):
        square(root / "pictures" / f"{number}.png", colour, 10)
        images.append({"id": number, "file_name": f"{number}.png", "width": SIDE, "height": SIDE})
        annotations.append({
            "id": number, "image_id": number, "category_id": number, "bbox": [10, 20, 24, 24],
            "caption": f"a {colour} square", "caption_zh": "方块",
        })  # fmt: skip
        names = [f"{colour}/{frame}.png" for frame in range(3)]
        (root / "clips" / colour).mkdir()
        for frame, name in enumerate(names):
            square(root / "clips" / name, colour, 8 + 4 * frame)
        rows.append({
            "type": "video", "image_root": "", "frames": names, "masked_frames": names[:1],
            "bbox": [[8, 20, 24, 24]], "points": None, "labels": None, "obj_id": 1,
            "conversations": [
                {"from": "human", "value": "<image>\nWhat now?\nPrevious caption: it stood"},
                {"from": "gpt", "value": f"the {colour} square moves"},
            ],
        })  # fmt: skip
    categories = [{"id": number, "name": colour} for number, colour in enumerate(COLOURS)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / "pictures" / "squares.json").write_text(json.dumps(content))
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (root / "clips" / "clips.jsonl").write_text(lines)
    return root


def settings(toy, output, *more):
    sources = "[{path: pictures, format: coco}, {path: clips, format: pam}]"
    return (
        f"start_from={toy}", f"output={output}", f"data={sources}", "published=tiny",
        "num_threads=1", "precision=float32", "texts=2",
        "training={steps: 6, learning_rate: 1.0e-2, rows: 2, per_row: 2, batches: 2, log_every: 1, "
        "checkpoint_every_s: 0}",
        *more,
    )  # fmt: skip


def command(toy, data, output, *more):
    changes = [part for change in settings(toy, output, *more) for part in ("--set", change)]
    return ["train", str(RECIPE), "--data", str(data), *changes]


def losses(folder):
    rows = [json.loads(line) for line in (folder / "training" / "metrics.jsonl").open()]
    assert [row["step"] for row in rows] == list(range(len(rows)))
    return [row["text"] for row in rows]


@pytest.fixture(scope="module")
def straight(toy, data, tmp_path_factory):
    """An uninterrupted run in one process."""
    folder = tmp_path_factory.mktemp("straight") / "run"
    assert main(command(toy, data, folder)) == 0
    return folder


def test_only_what_lies_between_learns(toy, straight):
    before, after = (load_file(f / "model.safetensors") for f in (toy, straight / "model"))
    changed = {name.split(".")[0] for name in before if (before[name] != after[name]).any()}
    assert changed == {
        "perceiver", "image_projector", "semantic_projector", "image_newline", "semantic_newline",
        "frame_newline",
    }  # fmt: skip
    pixels = np.full((SIDE, SIDE, 3), 128, np.uint8)
    region = Perceiver.from_pretrained(straight / "model").image(pixels).perceive(Box(9, 9, 40, 40))
    assert region.mask.shape == (SIDE, SIDE)


def test_a_run_says_what_it_is_made_of(toy, data, straight, capsys):
    run = json.loads((straight / "run.json").read_text())
    assert run["recipe"]["seed"] == 0
    assert run["recipe"]["training"]["steps"] == 6
    assert run["versions"]["torch"] == torch.__version__.split("+")[0] or run["versions"]["torch"]
    from safetensors import safe_open

    with safe_open(straight / "training" / "checkpoint.safetensors", "pt") as file:
        header = file.metadata()
    assert header["step"] == "6"
    assert json.loads(header["recipe"]) == run["recipe"]
    assert json.loads(header["data"]) == run["data"]
    assert main(command(toy, data, straight, "seed=1")) == 2
    assert "another recipe or other data" in capsys.readouterr().err
    assert main([*command(toy, data, straight / "new"), "--resume"]) == 2
    assert "no run to resume" in capsys.readouterr().err


def start(arguments, **more):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **more}
    worker = Path(__file__).parent / "processes.py"
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", str(worker), *arguments], env=environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(process):
    error = process.communicate(timeout=300)[1]
    assert process.returncode == 0, error[-2000:]


def test_a_killed_run_goes_on_with_the_same_losses(toy, data, straight, tmp_path):
    folder = tmp_path / "killed"
    process = start(command(toy, data, folder))
    metrics = folder / "training" / "metrics.jsonl"
    while not (metrics.exists() and len(metrics.read_text().splitlines()) >= 3):
        assert process.poll() is None, process.stderr.read()[-2000:]
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (folder / "model").exists()
    finish(start([*command(toy, data, folder), "--resume"]))
    assert losses(folder) == losses(straight)
    one, other = ((f / "model" / "model.safetensors").read_bytes() for f in (folder, straight))
    assert one == other


def same_run(folder, other):
    assert losses(folder) == pytest.approx(losses(other), abs=2e-4)
    mine, theirs = (load_file(f / "model" / "model.safetensors") for f in (folder, other))
    assert {k: v.shape for k, v in mine.items()} == {k: v.shape for k, v in theirs.items()}


def free_port():
    return str(random.Random(os.getpid()).randint(20000, 40000))


def test_two_data_parallel_processes_give_the_losses_of_one(toy, data, straight, tmp_path):
    launch = [sys.executable, "-m", "accelerate.commands.launch"]
    launch += ["--config_file", str(RECIPES / "accelerate" / "cpu.yaml")]
    launch += ["--main_process_port", free_port(), "-m", "perceive_anything.cli"]
    run = subprocess.run(
        launch + command(toy, data, tmp_path / "run"), env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-2000:]
    assert run.stdout.count("step 5/6") == 1
    same_run(tmp_path / "run", straight)


def test_two_sharded_processes_give_the_losses_of_one(toy, data, straight, tmp_path):
    """FSDP2 over gloo."""
    world = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    world |= {"MASTER_PORT": free_port(), "ACCELERATE_USE_CPU": "true", "SHARD": "1"}
    arguments = command(toy, data, tmp_path / "run")
    both = [start(arguments, RANK=str(i), LOCAL_RANK=str(i), **world) for i in range(2)]
    for process in both:
        finish(process)
    same_run(tmp_path / "run", straight)


@pytest.mark.parametrize("name", ["cpu", "ddp", "fsdp2", "zero2"])
def test_configurations_of_accelerate_are_read_by_it(name):
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(RECIPES / "accelerate" / f"{name}.yaml"))
    assert config.num_processes in (2, 8)


def test_batches_must_be_shared_out_evenly(toy, data, tmp_path):
    stage, settings = stage_of(toy, data), StageConfig(steps=1, learning_rate=1, rows=1, per_row=1)
    two = type("Two", (), {"num_processes": 2})()
    with pytest.raises(ConfigError, match="1 batches a step cannot be shared by 2 processes"):
        train_stage(stage, settings, tmp_path, accelerator=two)


def test_the_language_model_learns_whole_or_through_low_ranks(toy, data, tmp_path):
    pytest.importorskip("peft")
    for name, more in (("whole", ()), ("lora", ("lora={rank: 4, alpha: 8}",))):
        learn = "learn=[perceiver, language_model]"
        folder = tmp_path / name
        assert main(command(toy, data, folder, learn, *more)) == 0
        assert losses(folder)[-1] < (0.8 if name == "whole" else 0.97) * losses(folder)[0]
        before, after = (load_file(f / "model.safetensors") for f in (toy, folder / "model"))
        assert before.keys() == after.keys()
        changed = {name for name in before if (before[name] != after[name]).any()}
        assert not [name for name in changed if name.startswith("sam.")]
        projections = [name for name in changed if "language_model" in name and "q_proj.w" in name]
        assert projections
        embeddings = "language_model.model.embed_tokens.weight" in changed
        assert embeddings == (name == "whole")


def test_a_model_can_begin_as_two_that_never_met(tmp_path):
    torch.manual_seed(0)
    config = config_of_size("tiny")
    sam = Sam2VideoModel(config.sam_config)
    language_model = AutoModelForCausalLM.from_config(config.text_config)
    sam.save_pretrained(tmp_path / "sam")
    language_model.save_pretrained(tmp_path / "words")
    PamProcessor.from_pretrained(NANO).tokenizer.save_pretrained(tmp_path / "words")
    parts = PartsConfig(sam=str(tmp_path / "sam"), language_model=str(tmp_path / "words"))
    model, processor = start_model(parts)
    assert processor.side == model.config.image_size == 128
    for whole, part in ((model.sam, sam), (model.language_model, language_model)):
        stored = part.state_dict()
        assert all(torch.equal(value, stored[name]) for name, value in whole.state_dict().items())
    decoder = model.sam.mask_decoder.transformer.state_dict()
    assert all(
        torch.equal(v, decoder[k]) for k, v in model.perceiver.transformer.state_dict().items()
    )


def test_parts_that_are_missing_are_an_error(tmp_path, toy, data, capsys):
    parts = f"start_from={{sam: {tmp_path}, language_model: {toy}}}"
    assert main(command(toy, data, tmp_path / "run", parts)) == 2
    assert "no PAM can be made of" in capsys.readouterr().err


def stage_of(toy, data, *more):
    recipe = load_config(RECIPE, PamRecipe, settings(toy, "unused", *more))
    return make_stage(recipe, *start_model(recipe.start_from), open_sources(recipe, data, print))


def test_batches_hold_pictures_or_one_clip(toy, data):
    stage = stage_of(toy, data)
    tokenizer, kinds = stage.processor.tokenizer, set()
    for number in range(12):
        batch = stage.batch(number)
        assert batch.is_clip == stage.batch(number // 2 * 2).is_clip  # of the same step
        kinds.add(batch.is_clip)
        assert len(batch.pixel_values) == (3 if batch.is_clip else 2)
        assert len(batch.prompts.labels) == len(batch.branches)
        said = tokenizer.decode(batch.branches[0][0].ids)
        assert ("Previous caption: it stood" in said) == batch.is_clip
        assert stage.weight(batch) > 0
    assert kinds == {True, False}


def test_batches_of_a_step_hold_answers_of_like_length(toy, data):
    sources = "data=[{path: pictures, format: coco}]"
    stage = stage_of(toy, data, sources, "training.batches=6", "training.rows=3")
    lengths = [[pick.length for pick in stage.drawer.draw(number)] for number in range(6)]
    flat = [length for batch in lengths for length in batch]
    assert flat == sorted(flat)


def test_prompts_are_boxes_clicks_and_masks():
    region = RegionRecord(0, "cat", None, (16.0, 8.0, 48.0, 40.0), None, "instance", {})
    record = type("Record", (), {"size_wh": (64, 64)})()
    rng, side = random.Random(0), 128

    def kinds(extra):
        placed = make_region(0, record, RegionRecord(**{**fields(region), "extra": extra}), side)
        drawn = [draw_prompt(placed, (64, 64), side, rng, 4) for _ in range(60)]
        return {tuple(label for *_, label in prompt.clicks) for prompt in drawn}, drawn

    assert kinds({})[0] == {(2, 3)}
    points = ((20.0, 20.0, 1), (60.0, 60.0, 0), (30.0, 30.0, 1))
    both, drawn = kinds({"points": points})
    assert (2, 3) in both
    assert {(1,), (1, 0)} < both
    clicked = [click for prompt in drawn for click in prompt.clicks if click[2] < 2]
    assert set(clicked) == {(2 * x, 2 * y, label) for x, y, label in points}
    assert (2, 3) not in kinds({"points": points, "points_only": True})[0]


def fields(record):
    return {name: getattr(record, name) for name in record.__dataclass_fields__}


@pytest.mark.parametrize("recipe", sorted(path.name for path in RECIPES.glob("pam_*.yaml")))
def test_recipes_run_dry(recipe, capsys):
    assert main(["train", str(RECIPES / recipe), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "million learn" in said
    assert "step 0/1" in said
    assert "all shapes fit" in said


def test_shards_and_packs_give_batches_too(toy, data, tmp_path):
    pytest.importorskip("webdataset")
    stage = stage_of(toy, data)
    records = [record for source in stage.drawer.images for record in source.records]
    records += [record for source in stage.drawer.clips for record in source.records]
    write_shards(records, tmp_path / "shards")
    make_packs(tmp_path)
    shards, packs = f"path: {tmp_path}/shards, format: shards", f"path: {tmp_path}, format: packs"
    stage = stage_of(toy, data, f"data=[{{{shards}}}, {{{packs}}}]")
    kinds = [type(source.texts) for source in stage.drawer.images]
    assert kinds == [WrittenTexts, ComposedTexts]
    assert {stage.batch(number).is_clip for number in range(0, 16, 2)} == {True, False}


def test_a_clip_begins_where_its_region_is_first_known():
    points = ((3.0, 5.0, 1), (9.0, 7.0, 1))
    track = TrackRecord(0, "", None, {4: (1.0, 2.0, 8.0, 9.0)}, {2: points})
    assert known_frames(track) == [2, 4]
    clicked, boxed = on_frame(track, 2), on_frame(track, 4)
    assert clicked.box_xyxy == (3, 5, 9, 7)
    assert clicked.extra["points_only"]
    assert clicked.extra["points"] == points
    assert boxed.box_xyxy == (1, 2, 8, 9)
    assert "points" not in boxed.extra
