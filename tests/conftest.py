"""A small checkpoint in the layout of the release, for all tests that need one."""

from pathlib import Path

import numpy as np
import pytest
from fixture_checkpoint import fixture_state, write_checkpoint
from PIL import Image

from perceive_anything import Box

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
