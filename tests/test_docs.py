"""Every page of the documentation is part of the site, and what it shows runs."""

import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from fixture_checkpoint import SAM_PREFIX
from skimage import data

from perceive_anything.cli import main
from perceive_anything.media import save_image
from perceive_anything.video_writer import VideoWriter

ROOT = Path(__file__).parent.parent
PAGES = {"README.md": ROOT / "README.md"} | {
    str(page.relative_to(ROOT)): page for page in sorted((ROOT / "docs").rglob("*.md"))
}
PLACEHOLDERS = ("PACKS", "MY_FOLDER", "PHOTO", "DIR")  # what only the reader has
ENDLESS = ("perceive serve", "perceive demo")  # tests of their own start these
SERVED = "docs/server.md"  # its Python runs in test_server_docs.py, against a server


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", PAGES[page].read_text("utf-8"), re.DOTALL)


COMMANDS = [
    (page, line.split("#")[0].strip())
    for page in PAGES
    for block in blocks(page, "bash")
    for line in block.splitlines()
    if line.startswith("perceive ")
]
RUNNABLE = [
    item
    for item in COMMANDS
    if not any(word in item[1] for word in PLACEHOLDERS) and not item[1].startswith(ENDLESS)
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where a reader stands after `make run`, with a clip of his own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    save_image(data.chelsea(), tmp_path / "out" / "chelsea.png")
    with VideoWriter(tmp_path / "clip.mp4", 25.0, (451, 300)) as writer:
        for shift in range(15):
            writer.write(np.roll(data.chelsea(), shift, axis=1))
    return tmp_path


def put_released(command, folder, released, state):
    """A small checkpoint where the text has a published one, and SAM 2's file beside it."""
    for name in ("PAM-1.5B", "pam15"):
        if name in command and f"convert PAM-1.5B {name}" not in command:
            (folder / name).symlink_to(released)
    if "sam2.1_hiera_large.pt" in command:
        own = {k.removeprefix(SAM_PREFIX): v for k, v in state.items() if k.startswith(SAM_PREFIX)}
        torch.save({"model": own}, folder / "sam2.1_hiera_large.pt")


@pytest.mark.parametrize("command", sorted({command for _, command in RUNNABLE}))
def test_command(command, folder, released, state, capsys):
    put_released(command, folder, released, state)
    code = main(shlex.split(command)[1:])
    said = capsys.readouterr()
    assert code == 0, said.err
    assert said.out.strip() or "--jsonl" in command


@pytest.mark.parametrize("command", sorted({c for _, c in COMMANDS if "PACKS" in c}))
def test_training_commands_name_missing_data(command, folder, capsys):
    arguments = command.replace("recipes/", f"{ROOT}/recipes/").replace("runs/nano/model", "nano")
    assert main(shlex.split(arguments)[1:]) == 2
    assert "PACKS" in capsys.readouterr().err


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python") and p != SERVED])
def test_python_of_a_page_is_one_program(page, folder, capsys):
    (folder / "snippet.py").write_text("\n".join(blocks(page, "python")), "utf-8")
    runpy.run_path("snippet.py", run_name="__main__")
    assert capsys.readouterr().out.strip()


def test_example(folder, capsys):
    runpy.run_path(str(ROOT / "examples" / "chelsea.py"), run_name="__main__")
    assert "label" in capsys.readouterr().out
    assert (folder / "out" / "chelsea_overlay.png").exists()


def test_every_page_is_in_the_navigation():
    def leaves(item):
        if isinstance(item, str):
            yield item
        else:
            for child in item.values() if isinstance(item, dict) else item:
                yield from leaves(child)

    navigation = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))["nav"]
    assert sorted(f"docs/{page}" for page in leaves(navigation)) == sorted(
        set(PAGES) - {"README.md"}
    )


def test_the_site_builds_strictly(tmp_path):
    pytest.importorskip("zensical")
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    for name in ("docs", "src"):
        shutil.copytree(
            ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("*.safetensors")
        )
    build = [sys.executable, "-m", "zensical", "build", "--strict"]
    done = subprocess.run(build, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    home = (tmp_path / "out" / "site" / "index.html").read_text("utf-8")
    assert "Perceive Anything" in home
    assert not re.search(r'(src|href)="https?://fonts', home)
