"""Time and memory of a PAM of the published size with random weights.

Writes a checkpoint of SAM 2.1 Hiera-L and Qwen2.5-1.5B dimensions in the layout of the release,
converts it, loads it and answers one box with 32 new tokens. The last line is one JSON object.
Peak memory is the resident set of each stage, mapped files included. "first token" and "answer" are
whole calls: segmentation, perceiver, prefill and 1 or 32 tokens.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from perceive_anything import Box, Perceiver
from perceive_anything.data.tokenizer import train_tokenizer
from perceive_anything.evaluation.memory import peak_mib, reset_peak
from perceive_anything.evaluation.provenance import provenance
from perceive_anything.modeling import PamConfig, PamForConditionalGeneration, PamPerceiverConfig
from perceive_anything.modeling.convert import convert_original, open_original
from perceive_anything.modeling.convert.names import original_names
from perceive_anything.modeling.convert.sizes import sam_config_of_size
from perceive_anything.modeling.prompts import TASK_TEXTS, chat_pieces
from perceive_anything.modeling.sizes import SIZES
from perceive_anything.pipeline import DTYPES

SHARD_TENSORS = 150


def text_settings(size: str) -> dict:
    """`config.json` of a release with a Qwen2.5 of the given size."""
    hidden, layers, heads, kv_heads, inner, vocabulary = SIZES[size]
    return {
        "model_type": "llava_qwen", "mm_vision_tower": "meta/sam2.1_hiera_large",
        "hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": kv_heads, "intermediate_size": inner, "vocab_size": vocabulary,
        "max_position_embeddings": 32768, "rope_theta": 1e6, "rms_norm_eps": 1e-6,
        "hidden_act": "silu", "tie_word_embeddings": True,
    }  # fmt: skip


def build(folder: Path, size: str, sam: str) -> float:
    """Write a random checkpoint in bfloat16; returns its size in GB."""
    settings = text_settings(size)
    (folder / "config.json").write_text(json.dumps(settings | {"mm_vision_tower": sam}), "utf-8")
    lines = [
        piece for lang in TASK_TEXTS for t in TASK_TEXTS[lang] for piece in chat_pieces(t, lang)
    ]
    train_tokenizer(lines, 600, folder)
    text = {
        k: v
        for k, v in settings.items()
        if k not in ("model_type", "mm_vision_tower", "rope_theta")
    }
    config = PamConfig(
        sam_config=sam_config_of_size(sam),
        perceiver_config=PamPerceiverConfig(),
        text_config={"model_type": "qwen2", **text},
    )
    with torch.device("meta"):
        shapes = {k: v.shape for k, v in PamForConditionalGeneration(config).state_dict().items()}
    torch.manual_seed(0)
    shard: dict[str, torch.Tensor] = {}
    written: set[str] = set()
    for number, (name, shape) in enumerate(shapes.items(), start=1):
        for part in set(original_names(name, tied=True)) - written:
            many = len(original_names(name, tied=True)) > 1
            shard[part] = random_tensor(part, (1, *shape[1:]) if many else tuple(shape))
            written.add(part)
        if number % SHARD_TENSORS == 0 or number == len(shapes):
            save_file(shard, folder / f"model-{number:05d}.safetensors", {"format": "pt"})
            shard = {}
    return sum(path.stat().st_size for path in folder.glob("*.safetensors")) / 1e9


def random_tensor(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Values that neither vanish nor overflow over fifty layers."""
    if len(shape) == 1:
        return torch.full(shape, float(name.endswith("weight")), dtype=torch.bfloat16)
    fan_in = max(1, int(np.prod(shape[1:])))
    return (torch.randn(shape) * min(1.0, fan_in**-0.5)).to(torch.bfloat16)


class Stages:
    """Seconds and peak resident memory of each stage."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, float]] = {}

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Measure what happens inside."""
        reset_peak()
        start = time.perf_counter()
        yield
        seconds = time.perf_counter() - start
        self.rows[name] = {"seconds": round(seconds, 2), "peak_gib": round(peak_mib() / 1024, 2)}
        print(f"{name:12} {seconds:8.1f} s {peak_mib() / 1024:7.2f} GiB", flush=True)


def run(folder: Path, args: argparse.Namespace) -> dict:
    """All stages on a built checkpoint."""
    stages = Stages()
    picture = np.random.default_rng(0).integers(0, 255, (768, 1024, 3), dtype=np.uint8)
    prompt = Box(300, 200, 700, 600)
    with stages.measure("convert"):
        target = folder / "converted"
        convert_original(open_original(folder, None, Path), target)
        shutil.rmtree(target)
    with stages.measure("load"):
        pam = Perceiver.from_pretrained(folder, device="cpu", dtype=args.dtype)
    with stages.measure("encode"):
        image = pam.image(picture)
    with stages.measure("segment"):
        image.perceive(prompt, tasks=["segment"])
    with stages.measure("first token"):
        image.perceive(prompt, tasks=["describe"], max_new_tokens=1)
    pam.model.language_model.generation_config.min_new_tokens = args.new_tokens
    with stages.measure("answer"):
        image.perceive(prompt, tasks=["describe"], max_new_tokens=args.new_tokens)
    return stages.rows


def main() -> None:
    """Build, measure, report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--llm", choices=SIZES, default="1.5b")
    parser.add_argument("--sam", choices=["tiny", "small", "base-plus", "large"], default="large")
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--new-tokens", type=int, default=32)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as name:
        size_gb = build(Path(name), args.llm, args.sam)
        print(f"checkpoint of {size_gb:.2f} GB in bfloat16", flush=True)
        rows = run(Path(name), args)
    report = {
        "config": vars(args),
        "checkpoint_gb": round(size_gb, 2),
        "stages": rows,
        **provenance(),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
