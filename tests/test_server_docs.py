"""What docs/server.md and the README tell people to type works; the command's own messages."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from perceive_anything.cli import main
from perceive_anything.cli.serve import is_loopback
from perceive_anything.media import save_image
from servers import CAT, nano, png, serving

ROOT = Path(__file__).parent.parent
TEXT = "".join((ROOT / name).read_text("utf-8") for name in ("docs/server.md", "README.md"))
BLOCKS = re.findall(r"```py(?:thon)?\n(.*?)```", TEXT, re.DOTALL)
SNIPPETS = [block for block in BLOCKS if "127.0.0.1:8000" in block]
CURL = re.search(r"```bash\n(curl .*?)```", TEXT, re.DOTALL)[1]


@pytest.fixture(scope="module")
def port():
    with serving(nano()) as url:
        yield url.rpartition(":")[2]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "out").mkdir()
    save_image(CAT, tmp_path / "out" / "chelsea.png")
    Image.fromarray(CAT).save(tmp_path / "photo.jpg", quality=95)  # as cameras do
    return tmp_path


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_snippets(snippet, port, folder):
    frame = png(np.full((240, 320, 3), 90, np.uint8))
    frames = f"frames = [(i / 10, {frame!r}) for i in range(3)]\n"
    code = frames + snippet.replace("8000", port)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "cat" in done.stdout or "'type': 'end'" in done.stdout


def test_five_statements_caption_a_box():
    (chat,) = {block for block in SNIPPETS if "openai" in block}
    assert sum(isinstance(node, ast.stmt) for node in ast.walk(ast.parse(chat))) == 5


def test_curl(port, folder):
    done = subprocess.run(
        ["bash", "-c", CURL.replace("8000", port)], cwd=folder, capture_output=True, check=False
    )
    assert b'"label":"cat"' in done.stdout


def test_a_port_that_is_taken(port, capsys):
    assert main(["serve", "--port", port]) == 2
    assert "cannot listen at 127.0.0.1" in capsys.readouterr().err


def test_an_open_door_is_told(port, capsys, monkeypatch):
    monkeypatch.delenv("PERCEIVE_API_KEY", raising=False)
    monkeypatch.setattr("perceive_anything.server.run.serve_forever", lambda *_: None)
    assert main(["serve", "--host", "0.0.0.0"]) == 0
    assert "everybody who reaches 0.0.0.0" in capsys.readouterr().err
    monkeypatch.setenv("PERCEIVE_API_KEY", "sesame")
    assert main(["serve", "--host", "0.0.0.0"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("host", "own"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("a.b", False)],
)
def test_loopback(host, own):
    assert is_loopback(host) is own
