"""A small checkpoint in the layout of the release, for all tests that need one."""

from pathlib import Path

import pytest
from fixture_checkpoint import fixture_state, write_checkpoint

FIXTURE = Path(__file__).parent / "parity" / "tiny256_s0"


@pytest.fixture(scope="session")
def state():
    """Its tensors under their original names."""
    return fixture_state(FIXTURE)


@pytest.fixture(scope="session")
def released(tmp_path_factory, state):
    """The folder, with SAM 2 in its state dict; not to be written to."""
    return write_checkpoint(FIXTURE, tmp_path_factory.mktemp("released"), state)
