"""A folder as the release has it, from a fixture's seed."""

import json
import shutil
from pathlib import Path

import torch
from fixture_weights import fixture_tensor
from safetensors.torch import save_file

from perceive_anything.data.tokenizer import train_tokenizer
from perceive_anything.modeling.prompts import TASK_TEXTS, chat_pieces

SAM_PREFIX = "model.vision_tower.sam2_model_predictor."
INDEX = "model.safetensors.index.json"
NUM_SHARDS = 2


def read_json(path):
    return json.loads(Path(path).read_text("utf-8"))


def fixture_state(fixture, replaced=None):
    """State dict of the released model of a fixture, under its original names."""
    meta = read_json(fixture / "meta.json")
    shapes = read_json(fixture / "state_dict_shapes.json")
    state = {
        name: torch.from_numpy(fixture_tensor(meta, name, tuple(shape)))
        for name, shape in shapes.items()
    }
    return state | (replaced or {})


def write_checkpoint(fixture, folder, state):
    """The fixture's configuration with the given tensors, in shards with an index."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(fixture / "config.json", folder)
    shutil.copy(fixture / "sam2_config.yaml", folder)
    write_shards(state, folder)
    write_tokenizer(folder, read_json(fixture / "config.json")["vocab_size"])
    return folder


def write_shards(state, folder):
    names, placed = list(state), {}
    for shard in range(NUM_SHARDS):
        file = f"model-{shard + 1:05d}-of-{NUM_SHARDS:05d}.safetensors"
        held = names[shard::NUM_SHARDS]
        save_file({n: state[n].contiguous() for n in held}, folder / file, {"format": "pt"})
        placed |= dict.fromkeys(held, file)
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": placed}), "utf-8")


def write_tokenizer(folder, vocab_size):
    """A small one of Qwen's kind, trained on the task texts."""
    texts = [chat_pieces(task, lang) for lang in TASK_TEXTS for task in TASK_TEXTS[lang]]
    train_tokenizer([piece for pair in texts for piece in pair], min(vocab_size, 900), folder)
