"""What the README tells people to type works."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from fixture_checkpoint import SAM_PREFIX
from skimage import data

from perceive_anything.media import save_image
from perceive_anything.video_writer import VideoWriter

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
COMMANDS = [
    line.split("#")[0].strip()
    for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("perceive ")
]
RUNNABLE = [line for line in COMMANDS if "PACKS" not in line]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    save_image(data.chelsea(), tmp_path / "out" / "chelsea.png")
    with VideoWriter(tmp_path / "clip.mp4", 25.0, (451, 300)) as writer:
        for shift in range(15):
            writer.write(np.roll(data.chelsea(), shift, axis=1))
    return tmp_path


def put_released(command, folder, released, state):
    """A small checkpoint where the README has a published one, and SAM 2's file beside it."""
    for name in ("PAM-1.5B", "pam15"):
        if name in command and f"convert PAM-1.5B {name}" not in command:
            (folder / name).symlink_to(released)
    if "sam2.1_hiera_large.pt" in command:
        own = {k.removeprefix(SAM_PREFIX): v for k, v in state.items() if k.startswith(SAM_PREFIX)}
        torch.save({"model": own}, folder / "sam2.1_hiera_large.pt")


def run(arguments, folder):
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("command", RUNNABLE)
def test_command(command, folder, released, state):
    put_released(command, folder, released, state)
    done = run(["-m", "perceive_anything.cli", *shlex.split(command)[1:]], folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() or "--jsonl" in command


@pytest.mark.parametrize("command", [line for line in COMMANDS if "PACKS" in line])
def test_training_commands_name_missing_data(command, folder):
    arguments = command.replace("recipes/", f"{ROOT}/recipes/").replace("runs/nano/model", "nano")
    done = run(["-m", "perceive_anything.cli", *shlex.split(arguments)[1:]], folder)
    assert done.returncode == 2
    assert "PACKS" in done.stderr


def test_python_snippets(folder):
    """Read from top to bottom they are one program."""
    snippets = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    (folder / "snippet.py").write_text("\n".join(snippets), "utf-8")
    done = run(["snippet.py"], folder)
    assert done.returncode == 0, done.stderr
    assert (folder / "out" / "region.png").exists()
    assert (folder / "out" / "clip.mp4").exists()
    assert "EndEvent" in done.stdout


def test_example(folder):
    done = run([str(ROOT / "examples" / "chelsea.py")], folder)
    assert done.returncode == 0, done.stderr
    assert "label" in done.stdout
    assert (folder / "out" / "chelsea_overlay.png").exists()
