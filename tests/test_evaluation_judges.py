"""Judges: a model behind a real server, its verdicts kept, its bad replies, and the stand-in."""

from __future__ import annotations

import base64
import io
import json

import pytest
from PIL import Image

from benchmark_fixtures import picture
from openai_server import FakeOpenAI
from perceive_anything.data.schema import ByteRange
from perceive_anything.errors import ModelError
from perceive_anything.evaluation.judges.client import OpenAIJudge, read_points
from perceive_anything.evaluation.judges.judge import RUBRICS, Case
from perceive_anything.evaluation.judges.kept import KeptJudge
from perceive_anything.evaluation.judges.offline import OfflineJudge
from perceive_anything.evaluation.metrics import judged
from perceive_anything.evaluation.metrics.scores import Helpers
from perceive_anything.evaluation.samples import (
    Answer,
    Answered,
    Media,
    Question,
    Sample,
    Span,
    Truth,
)
from perceive_anything.types import Box

pytest.importorskip("openai")

QUIZ = (
    Question("Can it be this: square?", "recognition", (("Yes", 1), ("No", 0))),
    Question("What colour?", "positive", (("Blue", 1), ("Red", -1), ("Not mentioned", 0))),
    Question("Has it wheels?", "negative", (("Yes, wheels", -1), ("Not mentioned", 1))),
)


@pytest.fixture
def serve(monkeypatch):
    """Start a judge that replies as given; it ends with the test."""
    running = []

    def start(reply):
        context = FakeOpenAI(reply).running()
        server = context.__enter__()
        running.append(context)
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "any")
        return server

    yield start
    for context in running:
        context.__exit__(None, None, None)


def line(truth, answer, media=None):
    return Answered(Sample("key", media or Media(), Box(10, 10, 60, 50), truth), answer)


def text_of(request):
    return request["messages"][0]["content"][0]["text"]


def test_grades_come_from_the_server_and_are_kept(serve, tmp_path):
    server = serve(lambda body: 'Well: {"reference": 8, "answer": 6, "reason": "short"}')
    truth = Truth(texts=("a red disc",), question="What is it?", background="a disc at 0.1")
    answered = [line(truth, Answer(text=f"a disc {number}")) for number in range(3)]
    kept = tmp_path / "judgements.jsonl"
    helpers = Helpers(KeptJudge(OpenAIJudge("judge-1"), kept))
    (score,) = judged.ferret(answered, helpers)
    assert (score.value, score.count, score.each) == (75, 3, (75, 75, 75))
    assert score.note == "judged by judge-1"
    assert [request["model"] for request in server.requests] == ["judge-1"] * 3
    asked = text_of(server.requests[0])
    assert all(word in asked for word in ("What is it?", "a disc at 0.1", "a red disc", "a disc 0"))
    with kept.open("a") as file:
        file.write('{"key": "cut o')
    again = Helpers(KeptJudge(OpenAIJudge("judge-1"), kept))
    more = [*answered, line(truth, Answer(text="new"))]
    assert judged.ferret(more, again)[0].count == 4
    assert len(server.requests) == 4
    judged.ferret(more, Helpers(KeptJudge(OpenAIJudge("judge-1"), kept)))
    assert len(server.requests) == 4
    judged.ferret(more, Helpers(KeptJudge(OpenAIJudge("judge-2"), kept)))
    assert len(server.requests) == 8  # another judge has its own verdicts


def test_the_judge_sees_the_marked_picture(serve, tmp_path):
    server = serve(lambda body: '{"reference": 10, "answer": 5}')
    picture(tmp_path / "a.png")
    media = Media((ByteRange(str(tmp_path / "a.png")),))
    truth = Truth(texts=("a red disc",), question="What is marked?")
    (score,) = judged.mdvp([line(truth, Answer(text="a disc"), media)], Helpers(OpenAIJudge("j")))
    assert score.value == 50
    url = server.requests[0]["messages"][0]["content"][1]["image_url"]["url"]
    seen = Image.open(io.BytesIO(base64.b64decode(url.partition("base64,")[2])))
    assert seen.size == (96, 72)
    assert seen.getpixel((10, 30)) == (240, 68, 56)  # the box


def test_replies_that_are_no_grades(serve):
    replies = iter(["no idea", '{"continuity": 9}', '{"continuity": 4.5}'])
    server = serve(lambda body: next(replies, '{"continuity": "high"}'))
    stream = Truth(texts=("it sits", "it runs"), spans=(Span(0, 1), Span(1, 2)))
    answered = [line(stream, Answer(texts=("a", "b"), frames=(1, 1)))] * 2
    answered[1] = line(stream, Answer(texts=("c", "d"), frames=(1, 1)))
    (score,) = judged.continuity(answered, Helpers(OpenAIJudge("judge")))
    assert (score.value, score.each) == (4.5, (4.5, None))
    assert "1 replies held no valid grade" in score.note
    assert len(server.requests) == 6
    assert "1. it sits\n2. it runs" in text_of(server.requests[0])


def test_four_grades_of_a_video(serve):
    grades = {"subject": 5, "appearance": 4, "temporal": 2, "hallucination": 1}
    serve(lambda body: json.dumps(grades))
    answered = [line(Truth(texts=("a dog runs",)), Answer(text="a dog"))]
    scores = judged.videorefer(answered, Helpers(OpenAIJudge("judge")))
    assert {score.name: score.value for score in scores} == {"average": 3, **grades}


@pytest.mark.parametrize(
    ("choices", "values"), [((1, 1, 2), (100, 100, 100)), ((2, 1, 2), (0, 0, 0)),
                            ((1, 2, 1), (-100, -100, -100)), ((1, 9, 2), (50, 0, 100))],
)  # fmt: skip
def test_a_quiz_is_worth_nothing_if_the_thing_is_another(serve, choices, values):
    replies = iter(choices)
    serve(lambda body: json.dumps({"choice": next(replies)}))
    answered = [line(Truth(label="square", quiz=QUIZ), Answer(text="a blue square"))]
    scores = judged.quiz(answered, Helpers(OpenAIJudge("judge")))
    assert tuple(score.value for score in scores) == values


def test_a_judge_that_does_not_answer(serve, monkeypatch):
    serve(lambda body: 401)
    case = Case("", "a", "b")
    with pytest.raises(ModelError, match="OPENAI_API_KEY") as caught:
        OpenAIJudge("judge").judge(RUBRICS["ferret"], case)
    assert caught.value.code == "judge_failed"
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(ModelError, match="--judge offline"):
        OpenAIJudge("judge")


@pytest.mark.parametrize("rubric", RUBRICS)
def test_every_prompt_asks_for_the_grades_that_are_read(rubric):
    prompt = RUBRICS[rubric].prompt(Case("What?", "$reference", "{answer}"))
    assert all(f'"{name}"' in prompt for name in RUBRICS[rubric].points)
    assert "{answer}" in prompt  # what a model wrote is never read as a template


def test_grades_are_found_in_words():
    expected = {"a": (0.0, 5.0)}
    assert read_points('Sure!\n```json\n{"a": "3"}\n```', expected) == {"a": 3}
    for reply in ("", "3", '{"a": 6}', '{"b": 3}', '{"a": null}', "{a: 3}", '{"a": NaN}'):
        assert read_points(reply, expected) is None


def test_the_stand_in_counts_words_and_says_so():
    judge = OfflineJudge()
    same = judge.judge(RUBRICS["videorefer"], Case("", "a blue square", "the blue square"))
    other = judge.judge(RUBRICS["videorefer"], Case("", "a blue square", "a dog"))
    assert set(same.values()) == {5.0}
    assert set(other.values()) == {0.0}
    truth = Truth(label="square", quiz=QUIZ)
    scores = judged.quiz([line(truth, Answer(text="a blue square"))], Helpers(judge))
    assert [score.value for score in scores] == [100, 100, 100]
    assert "not comparable with published numbers" in scores[0].note
