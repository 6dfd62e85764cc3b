"""The command line as a process of its own: start-up, entry point, and nano when it is there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from pycocotools import mask as coco_mask

from perceive_anything.assets import NANO

SCHEMA_FILE = Path(__file__).parents[1] / "docs" / "result.schema.json"
HEAVY = ("torch", "transformers", "numpy", "supervision", "av", "PIL")
HELP_SCRIPT = """
import sys
from perceive_anything.cli import main
code = main(["--help"])
print([name for name in {heavy} if name in sys.modules], code)
"""
needs_nano = pytest.mark.skipif(
    not any(NANO.glob("*.safetensors")), reason="the embedded weights are not there"
)


def perceive(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the installed command, or its module where the package is only on the path."""
    script = Path(sys.executable).with_name("perceive")
    command = [str(script)] if script.exists() else [sys.executable, "-m", "perceive_anything.cli"]
    return subprocess.run(
        [*command, *(str(argument) for argument in arguments)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    script = HELP_SCRIPT.format(heavy=HEAVY)
    seconds = []
    for _ in range(3):
        before = os.times()
        ran = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True
        )
        after = os.times()  # processor time, which a busy machine does not stretch
        seconds.append(
            after.children_user
            - before.children_user
            + after.children_system
            - before.children_system
        )
        assert ran.stdout.splitlines()[-1] == "[] 0"
    assert min(seconds) < 0.3, seconds


@pytest.mark.parametrize(
    "arguments",
    [
        ("image", "missing.jpg", "--box", "1,2,3,4"),
        ("image", "missing.jpg"),
        ("image", __file__, "--box", "1,2,3,4"),
        ("image", "missing.jpg", "--box", "1,2,3,4", "--task", "nonsense"),
        ("nonsense",),
    ],
)
def test_a_users_error_is_exit_2_and_one_or_two_lines(arguments: tuple[str, ...]) -> None:
    ran = perceive(*arguments)
    assert ran.returncode == 2
    assert ran.stdout == ""
    assert 1 <= len(ran.stderr.strip().splitlines()) <= 2
    assert "Traceback" not in ran.stderr


def test_version_of_the_entry_point() -> None:
    assert perceive("--version").stdout.startswith("perceive-anything ")


@pytest.fixture(scope="module")
def cat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The photo of a cat that scikit-image ships, 451x300."""
    data = pytest.importorskip("skimage.data")
    from PIL import Image

    path = tmp_path_factory.mktemp("photos") / "cat.png"
    Image.fromarray(data.chelsea()).save(path)
    return path


@needs_nano
def test_nano_answers_as_json_and_as_overlay(cat: Path, tmp_path: Path) -> None:
    overlay = tmp_path / "overlay.png"
    ran = perceive(
        *("image", cat, "--box", "60,10,400,295", "--point", "200,120", "--lang", "zh"),
        *("--json", "-", "--save", overlay),
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    jsonschema.validate(found, json.loads(SCHEMA_FILE.read_text(encoding="utf-8")))
    assert found["model"] == "nano"
    assert [region["prompt"]["type"] for region in found["regions"]] == ["box", "points"]
    for region in found["regions"]:
        assert coco_mask.decode(region["mask"]).shape == (300, 451)
        assert region["label"]
    assert overlay.stat().st_size > 1000


@needs_nano
def test_nano_answers_the_good_image_and_refuses_the_bad_one(cat: Path, tmp_path: Path) -> None:
    ran = perceive("image", tmp_path / "no.png", cat, "--box", "60,10,400,295")
    assert ran.returncode == 2
    assert "no.png" in ran.stderr
    assert "label:" in ran.stdout


@needs_nano
def test_an_unknown_model_is_a_users_error(cat: Path) -> None:
    ran = perceive("image", cat, "--box", "60,10,400,295", "--model", "no/such/folder/here")
    assert ran.returncode == 2
    assert ran.stdout == ""
    assert 1 <= len(ran.stderr.strip().splitlines()) <= 2


@needs_nano
def test_doctor_finds_the_installation_usable() -> None:
    ran = perceive("doctor")
    assert ran.returncode == 0, ran.stdout
    assert "usable" in ran.stdout
