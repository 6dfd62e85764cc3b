"""`perceive bench`: both paths say the same, and the numbers are of what they claim."""

import json

import pytest
import torch

from perceive_anything.cli import main
from perceive_anything.errors import ModelError, OptionError
from perceive_anything.evaluation import speed
from perceive_anything.evaluation.memory import peak_mib, reset_peak
from perceive_anything.evaluation.random_models import random_perceiver
from perceive_anything.modeling import PamForConditionalGeneration
from perceive_anything.modeling.sizes import config_of_size
from perceive_anything.tasks import TASK_FIELD, TEXT_TASKS

ARGUMENTS = ["bench", "--model", "random:tiny", "--runs", "1", "--new-tokens", "5"]


@pytest.fixture(scope="module")
def work():
    return speed.make_work(random_perceiver("random:tiny"), 2, TEXT_TASKS[:2], 5)


def test_the_last_line_is_the_report(capsys):
    assert main([*ARGUMENTS, "--regions", "2", "--tasks", "3", "--threads", "1"]) == 0
    shown = capsys.readouterr()
    report = json.loads(shown.out.splitlines()[-1])
    assert report["config"] | {"regions": 2, "tasks": 3, "new_tokens": 5} == report["config"]
    assert report["hardware"]["threads"] == 1
    assert {"torch", "transformers"} <= report["versions"].keys()
    for path in ("reference", "fast"):
        stages = [report["paths"][path][f"{stage}_s"] for stage in speed.STAGES]
        assert all(seconds > 0 for seconds in stages)
        assert report["paths"][path]["total_s"] == pytest.approx(sum(stages), abs=1e-3)
        assert report["paths"][path]["peak_mib"] > 100
        assert f"run 1/1 {path}" in shown.err
    assert report["ratio"] > 1
    assert "encode_s" in shown.out.splitlines()[1]


def test_both_paths_answer_as_image_sessions_do(work):
    runs = speed.compare(work, ["reference", "fast"], 1, lambda _: None)
    answers = runs["fast"][0].answers
    assert {len(ids) for ids in answers.values()} == {5}
    assert answers == runs["reference"][0].answers
    with speed.exactly(work):
        regions = work.pam.image(work.image).perceive(
            work.prompts, tasks=work.tasks, max_new_tokens=5
        )
    for (region, task), ids in answers.items():
        said = work.pam.processor.decode_answer(ids)
        assert regions[region].texts[TASK_FIELD[task]] == said


def test_what_is_done_once_and_what_each_time(work, monkeypatch):
    calls = []
    encode = work.pam.model.encode_image
    monkeypatch.setattr(work.pam.model, "encode_image", lambda x: calls.append(1) or encode(x))
    speed.run_fast(work)
    assert len(calls) == 1
    speed.run_reference(work)
    assert len(calls) == 1 + 2 * 2


def test_8_bit_weights_are_timed_and_weighed(capsys):
    arguments = ["bench", "--paths", "fast", "--runs", "1", "--tasks", "1", "--new-tokens", "2"]
    weights = {}
    for extra in ([], ["--quantize", "int8"]):
        assert main([*arguments, *extra]) == 0
        config = json.loads(capsys.readouterr().out.splitlines()[-1])["config"]
        weights[config["quantize"]] = config["weights_mib"]
    assert weights["int8"] < 0.9 * weights[None]


def test_paths_that_differ_fail(work, monkeypatch, capsys):
    def wrong(work):
        run = speed.run_fast(work)
        run.answers[0, "recognize"][-1] += 1
        return run

    monkeypatch.setitem(speed.PATHS, "fast", wrong)
    with pytest.raises(ModelError, match=r"different tokens for .* \[\(0, 'recognize'\)\]"):
        speed.compare(work, ["reference", "fast"], 1, lambda _: None)
    assert main([*ARGUMENTS, "--tasks", "1"]) == 1
    assert "paths_differ" in capsys.readouterr().err


def test_bench_restores_the_model(work):
    with speed.exactly(work):
        assert work.pam.model.language_model.generation_config.min_new_tokens == 5
    assert work.pam.model.language_model.generation_config.min_new_tokens is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--paths", "fats"], 'Did you mean "fast"?'),
        (["--model", "random:huge"], "tiny, 1.5b, 3b"),
    ],
)
def test_wrong_choices(arguments, message, capsys):
    assert main(["bench", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_random_models_have_the_published_sizes():
    """Qwen2.5-1.5B has 1.54 B parameters, 1.31 B without its embedding."""
    with torch.device("meta"):
        model = PamForConditionalGeneration(config_of_size("1.5b"))
    count = sum(p.numel() for p in model.language_model.parameters())
    assert count == pytest.approx(1.54e9, rel=0.01)
    with pytest.raises(OptionError, match="unknown random model"):
        random_perceiver("random:2b")


def test_peak_memory_sees_what_was_let_go():
    reset_peak()
    before = peak_mib()
    held = bytearray(200 << 20)
    held[:: 1 << 12] = b"x" * len(held[:: 1 << 12])
    del held
    assert peak_mib() > before + 150
