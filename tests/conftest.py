"""A small checkpoint in the layout of the release, for all tests that need one."""

from pathlib import Path

import numpy as np
import pytest
from fixture_checkpoint import fixture_state, write_checkpoint
from PIL import Image
from transformers import AutoTokenizer

import fake_pipeline
from fake_pipeline import Ran, Run
from perceive_anything import Box
from perceive_anything.cli import main
from perceive_anything.data.tokenizer import train_tokenizer
from perceive_anything.modeling.processing import PamImageProcessor, PamProcessor
from perceive_anything.modeling.prompts import TASK_TEXTS, chat_pieces
from perceive_anything.training.nano import nano_config

FIXTURE = Path(__file__).parent / "parity" / "tiny256_s0"
FRAMES = [
    np.asarray(Image.open(path).convert("RGB"))
    for path in sorted((FIXTURE / "frames").glob("*.png"))
]
SIZE_WH = FRAMES[0].shape[1::-1]
FIRST, SECOND = Box(39, 79, 121, 161), Box(180, 20, 300, 120)


@pytest.fixture(scope="session")
def state():
    """Its tensors under their original names."""
    return fixture_state(FIXTURE)


@pytest.fixture(scope="session")
def released(tmp_path_factory, state):
    """The folder, with SAM 2 in its state dict; not to be written to."""
    return write_checkpoint(FIXTURE, tmp_path_factory.mktemp("released"), state)


@pytest.fixture(scope="session")
def processor(tmp_path_factory):
    """Pictures and words for the tiny models of test_modeling."""
    from test_modeling import SIDE, SIZES

    folder = tmp_path_factory.mktemp("tokenizer")
    lines = [
        "a cat on a mat",
        "一只猫",
        *(p for t in TASK_TEXTS["en"] for p in chat_pieces(t, "en")),
    ]
    train_tokenizer(lines * 5, SIZES.vocab_size, folder)
    image_processor = PamImageProcessor(size={"height": SIDE, "width": SIDE})
    rows = nano_config(SIZES).image_rows
    return PamProcessor(image_processor, AutoTokenizer.from_pretrained(folder), image_rows=rows)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command line over the stand-in."""
    fake_pipeline.install(monkeypatch)

    def call(*arguments: object) -> Ran:
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return call
