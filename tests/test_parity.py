"""The same function as the released code: its stored answers, with the same weights.

The fixtures hold outputs of the released PAM in float32 on small models (`parity/`); their
checkpoints are rebuilt in the original layout and go through the ordinary loader.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import run as parity
import torch

FIXTURES = Path(__file__).parent / "parity"
RUNS = {
    "image_batch4": 9, "image_box": 15, "image_box_noobj": 15, "image_point": 15,
    "image_points": 15, "video_box": 13, "video_box_occl": 13,
}  # fmt: skip


@pytest.fixture(autouse=True)
def two_threads():
    """As the comparison is run by itself; one thread rounds 2e-4 apart on some processors."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", ["tiny256_s0", "win14_s4"])
def test_the_answers_of_the_released_code(name):
    lines = list(parity.check_fixture(FIXTURES / name))
    assert [str(line) for line in lines if line.verdict != parity.OK] == []
    compared = {run: sum(line.run == run for line in lines) for run in RUNS}
    assert compared == RUNS


def test_the_comparison_can_fail(tmp_path, capsys):
    """A mask logit, a token id and a stored array that nobody knows are each reported."""
    fixture = tmp_path / "fixture"
    shutil.copytree(FIXTURES / "tiny256_s0", fixture)
    for path in fixture.glob("*.npz"):
        if path.stem != "image_box":
            path.unlink()
    arrays = dict(np.load(fixture / "image_box.npz"))
    arrays["low_res_masks"][0, 0, 3, 3] *= -1
    arrays["generated_ids"][0, 5] += 1
    arrays["surprise"] = np.zeros(3, np.float32)
    np.savez(fixture / "image_box.npz", **arrays)
    assert parity.main([str(fixture)]) == 1
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    wrong = [line[1] for line in lines if line[-1] == parity.DIFFERS]
    assert wrong == ["low_res_masks", "generated_ids", "binary_masks"]
    assert ["surprise", "nan", *parity.UNKNOWN.split()] in [line[1:] for line in lines]


def test_ids_may_differ_where_the_greedy_choice_was_a_tie(tmp_path):
    fixture = tmp_path / "fixture"
    shutil.copytree(FIXTURES / "tiny256_s0", fixture)
    arrays = dict(np.load(fixture / "image_box.npz"))
    arrays["generated_ids"][0, 15] += 1
    np.savez(fixture / "image_box.npz", **arrays)
    meta = json.loads((fixture / "meta.json").read_text("utf-8"))
    for margin, ok in ((0.5e-3, True), (2e-3, False)):
        meta["runs"]["image_box"]["min_margin"] = margin
        (fixture / "meta.json").write_text(json.dumps(meta), "utf-8")
        lines = {line.name: line for line in parity.check_fixture(fixture, ["image_box"])}
        assert lines["generated_ids"].ok is ok
