"""Fine-tuning: nano learns a word it did not know and keeps its own; runs resume, never mix."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from skimage import data

from perceive_anything import Box, Perceiver
from perceive_anything.cli import main

pytest.importorskip("peft")
RECIPE = Path(__file__).parent.parent / "recipes" / "finetune_lora.yaml"
GROUNDS = (data.coffee, data.rocket, data.astronaut)
SIDE = 320


def draw_zorb(rng):
    """A yellow face with three red eyes on a photo; the picture and the face's box."""
    image = Image.fromarray(rng.choice(GROUNDS)()).resize((SIDE, SIDE))
    size = rng.randint(70, 140)
    x, y = (rng.randint(0, SIDE - size - 1) for _ in range(2))
    draw = ImageDraw.Draw(image)
    draw.ellipse((x, y, x + size, y + size), fill=(250, 200, 30), outline=(60, 40, 0), width=3)
    for eye in (0.2, 0.45, 0.7):
        left, top = x + size * eye, y + size * 0.3
        draw.ellipse((left, top, left + size * 0.12, top + size * 0.2), fill=(200, 20, 120))
    return image, (x, y, x + size, y + size)


def make_folder(folder, count):
    """Pictures and a COCO file, as a user has them."""
    rng, images, annotations = random.Random(0), [], []
    folder.mkdir()
    for number in range(count):
        image, (x1, y1, x2, y2) = draw_zorb(rng)
        image.save(folder / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": SIDE, "height": SIDE})
        annotations.append({
            "id": number, "image_id": number, "category_id": 1, "bbox": [x1, y1, x2 - x1, y2 - y1],
            "caption": "a zorb with three eyes",
        })  # fmt: skip
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "zorb"}],
    }
    (folder / "zorbs.json").write_text(json.dumps(content))
    return folder


def train(folder, output, *settings):
    return main([
        "train", str(RECIPE), "--data", str(folder), "--set", f"output={output}",
        *(part for setting in settings for part in ("--set", setting)),
    ])  # fmt: skip


def test_nano_learns_a_word_and_keeps_its_own(tmp_path, capsys):
    folder, output = make_folder(tmp_path / "zorbs", 8), tmp_path / "run"
    quick = ("training.steps=24", "training.rows=10", "rehearsal=3")
    assert train(folder, output, *quick) == 0
    assert f"--model {output / 'model'}" in capsys.readouterr().out
    before, after = Perceiver.from_pretrained(), Perceiver.from_pretrained(output / "model")
    rng = random.Random(1)
    for _ in range(4):
        image, box = draw_zorb(rng)
        pixels = np.asarray(image)
        old, new = (
            pam.image(pixels).perceive(Box(*box), tasks=["recognize"]) for pam in (before, after)
        )
        assert old.label != "zorb"
        assert new.label == "zorb"
    cat = (data.chelsea(), Box(60, 20, 400, 280))
    old, new = (pam.image(cat[0]).perceive(cat[1], tasks=["recognize"]) for pam in (before, after))
    assert np.array_equal(old.mask, new.mask)
    assert old.label == new.label == "cat"
    weights = (output / "model" / "model.safetensors").read_bytes()
    assert train(folder, output, *quick) == 0  # done already: nothing is trained again
    assert "step " not in capsys.readouterr().out
    assert (output / "model" / "model.safetensors").read_bytes() == weights
    assert train(folder, output, "training.steps=25") == 2
    assert "another recipe or other data" in capsys.readouterr().err


def test_all_weights_can_learn_instead(tmp_path):
    folder, output = make_folder(tmp_path / "zorbs", 2), tmp_path / "run"
    tiny = ("training.steps=1", "training.rows=2", "rehearsal=0", "lora=null")
    assert train(folder, output, *tiny) == 0
    assert Perceiver.from_pretrained(output / "model").model_name == str(output / "model")
