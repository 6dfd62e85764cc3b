"""Every benchmark from its files to its report, on a miniature with rows that cannot be used."""

from __future__ import annotations

import json

import pytest

from benchmark_fixtures import MINIATURES, make_own_lines, make_ref_l4
from perceive_anything.errors import DataError
from perceive_anything.evaluation.catalogue import BENCHMARKS
from perceive_anything.evaluation.judges.offline import OfflineJudge
from perceive_anything.evaluation.metrics.scores import Helpers
from perceive_anything.evaluation.predictions import Head, read_predictions
from perceive_anything.evaluation.published import published
from perceive_anything.evaluation.report import write_report
from perceive_anything.evaluation.run import answer_all, score
from perceive_anything.pipeline import Perceiver

OFFLINE = Helpers(OfflineJudge())


@pytest.fixture(scope="module")
def pam():
    return Perceiver.from_pretrained()


def run(name, data, out, pam, **more):
    head = Head(name, "nano", str(data))
    return answer_all(head, out, lambda: pam, **more)


def quick(name):
    """METEOR takes Java ten seconds to start; test_evaluation_metrics has it."""
    return [metric for metric in BENCHMARKS[name].metrics if metric not in ("meteor", "concept")]


def test_there_is_a_miniature_of_every_benchmark():
    assert list(MINIATURES) == list(BENCHMARKS)


@pytest.mark.parametrize("name", MINIATURES)
def test_from_files_to_the_report(tmp_path, pam, name):
    if name in ("similarity",):
        pytest.importorskip("sentence_transformers")
    miniature = MINIATURES[name]
    miniature.make(tmp_path / "data")
    told = []
    path = run(name, tmp_path / "data", tmp_path / "out", pam, report=told.append)
    _, answered = read_predictions(path)
    assert len(answered) == miniature.samples
    metrics = quick(name) or ["cider"]
    evaluation = score(path, metrics, OFFLINE)
    report = write_report(evaluation, tmp_path / "out")
    assert report["complete"]
    assert len(report["left_out"]) == miniature.left_out
    assert report["left_out"] == [line for line in told if " is left out: " in line]
    assert all(found["value"] is not None for found in report["scores"])
    assert report["worst"]
    names = {found["name"] for found in report["scores"]}
    if "meteor" not in BENCHMARKS[name].metrics:
        assert all(names >= set(row["scores"]) for row in report["published"])
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "<table>" in page
    assert all(row.model in page for row in published(name))
    assert (tmp_path / "out" / "worst.png").stat().st_size > 1000
    judged = {"ferret-bench", "mdvp-bench", "dlc-bench", "videorefer-d", "activitynet"}
    assert (report["judge"] == OfflineJudge.name) == (name in judged)
    assert ("not comparable with published numbers" in page) == (name in judged)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_missing_set_says_where_it_is_described_and_what_is_expected(tmp_path, pam, name):
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "empty", tmp_path / "nowhere"):
        with pytest.raises(DataError) as caught:
            run(name, place, tmp_path / "out", pam)
        assert "xpected" in str(caught.value)
        if BENCHMARKS[name].loader[0] != "own":
            assert "https://" in str(caught.value)


def test_events_of_a_stream(tmp_path, pam):
    MINIATURES["activitynet"].make(tmp_path)
    path = run("activitynet", tmp_path, tmp_path / "out", pam)
    _, (line,) = read_predictions(path)
    spans = [(span.start_s, span.end_s) for span in line.sample.truth.spans]
    assert spans == [(0.0, 0.9), (0.9, 1.6)]  # the second began before the first had ended
    assert all(line.answer.texts)
    assert line.answer.frames == (5, 3)  # four a second: 0, .25, ..., 1 and 1.25, 1.5, 1.75
    evaluation = score(path, ["cider_words"], OFFLINE)
    assert [found.name for found in evaluation.scores] == [
        "CIDEr (words)", "CIDEr (words), events under 16 frames",
    ]  # fmt: skip
    assert [found.count for found in evaluation.scores] == [2, 2]


def test_your_own_data_as_json_lines(tmp_path, pam):
    file = make_own_lines(tmp_path / "data")
    by_task = {}
    for name, metric in (
        ("segmentation", "iou"),
        ("recognition", "exact"),
        ("captions", "cider_words"),
    ):
        for place, out in ((file, "file"), (file.parent, "folder")):
            path = run(name, place, tmp_path / name / out, pam)
            _, answered = read_predictions(path)
            assert [line.sample.key for line in answered] == ["a.png:0", "a.png:1"]
            by_task[name] = score(path, [metric], OFFLINE)
            (left_out,) = by_task[name].facts.left_out
            assert left_out.startswith("own.jsonl:3 is left out: ")
    assert [line.sample.truth.label for line in by_task["recognition"].answered] == ["square"] * 2
    first = by_task["captions"].answered[0].sample.truth
    assert first.texts == ("a blue square", "square")
    assert by_task["segmentation"].scores[0].value > 30


def test_only_the_first_images(tmp_path, pam):
    MINIATURES["davis"].make(tmp_path / "data")
    path = run("davis", tmp_path / "data", tmp_path / "out", pam, limit=1)
    report = write_report(score(path, None, OFFLINE), tmp_path / "out")
    assert (report["samples"], report["limit"]) == (2, 1)
    assert "Only the first 1 " in (tmp_path / "out" / "report.md").read_text("utf-8")


def test_ref_l4_as_it_is_published(tmp_path, pam):
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    make_ref_l4(tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "ref-l4-val.jsonl").read_text().splitlines()]
    (tmp_path / "ref-l4-val.jsonl").unlink()
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "ref-l4-val.parquet")
    path = run("ref-l4", tmp_path, tmp_path / "out", pam)
    _, (line,) = read_predictions(path)
    assert len(line.sample.truth.texts) == 2
