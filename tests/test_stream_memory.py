"""A long stream holds no more than a short one."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from perceive_anything import Box, CaptionEvent, Perceiver
from perceive_anything.data.tokenizer import train_tokenizer
from perceive_anything.modeling import PamForConditionalGeneration
from perceive_anything.modeling.processing import PamImageProcessor, PamProcessor
from perceive_anything.training.initialise import initialise
from perceive_anything.training.nano import nano_config
from test_modeling import SIDE, SIZES

STATM = Path("/proc/self/statm")


@pytest.fixture
def pam(tmp_path):
    torch.manual_seed(0)
    config = nano_config(SIZES.model_copy(update={"sam_width": 64}))  # memory is 64 wide
    model = PamForConditionalGeneration(config)
    initialise(model)
    train_tokenizer(["a cat on a mat"] * 5, SIZES.vocab_size, tmp_path)
    image_processor = PamImageProcessor(size={"height": SIDE, "width": SIDE})
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    return Perceiver(model, PamProcessor(image_processor, tokenizer, image_rows=config.image_rows))


def resident_mib():
    return int(STATM.read_text("ascii").split()[1]) * 4096 / 2**20


@pytest.mark.skipif(not STATM.exists(), reason="reads Linux's record of the resident set")
def test_two_thousand_frames_in_flat_memory(pam):
    picture = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    session = pam.stream(caption_every=20.0)
    session.add(Box(10, 10, 40, 40))
    captions, resident = 0, {}
    for index in range(2000):
        frame = np.roll(picture, index, axis=1)
        captions += sum(isinstance(e, CaptionEvent) for e in session.push(frame, index / 25))
        if index in (700, 1999):
            resident[index] = resident_mib()
    assert captions == 3
    assert resident[1999] - resident[700] < 10
