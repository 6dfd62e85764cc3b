"""The data engine on a real local Ray cluster: records, payments and pace are those of threads."""

import json
from collections import Counter

import pytest

from engine_fixtures import (
    completions,
    make_coco,
    openai_settings,
    teacher_server,
    write_recipe,
)
from perceive_anything.config import load_config
from perceive_anything.data.jsonl import read_jsonl
from perceive_anything.engine.build import build
from perceive_anything.engine.recipe import DataRecipe

ray = pytest.importorskip("ray", reason="it is the extra ray")
pytest.importorskip("pyarrow", reason="Ray Data needs it")
EVERY_S = 0.1


def recipe_of(tmp_path, name, data, **settings):
    return load_config(
        write_recipe(tmp_path / f"{name}.yaml", tmp_path / name, data, **settings), DataRecipe
    )


def test_ray_gives_the_same_records_and_is_shut_down(tmp_path, monkeypatch):
    monkeypatch.setenv("PERCEIVE_RAY_WORKERS", "1")
    data = make_coco(tmp_path / "data", 6, 4)
    told = {"languages": ["en", "zh"], "teacher": {"kind": "offline"}}
    for name in ("local", "ray"):
        assert build(recipe_of(tmp_path, name, data, **told), name).counts.kept == 24
    local, far = (read_jsonl(tmp_path / name / "records.jsonl") for name in ("local", "ray"))
    assert far == local
    assert not ray.is_initialized()


def test_workers_share_cache_pace_and_bill(tmp_path, monkeypatch):
    monkeypatch.setenv("PERCEIVE_RAY_WORKERS", "2")
    data = make_coco(tmp_path / "data", 6, 4)
    twice = [{"path": str(data), "format": "coco"}] * 2  # every request is wanted two times
    log = tmp_path / "log.jsonl"
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    try:
        with teacher_server(log, "--mean") as address:
            teacher = openai_settings(address, requests_per_minute=60 / EVERY_S, concurrency=4)
            recipe = recipe_of(
                tmp_path, "ray", data, sources=twice, teacher=teacher, checks={"agreement": None}
            )
            report = build(recipe, "ray")
        assert ray.is_initialized()  # it was not the build that started it
    finally:
        ray.shutdown()
    lines = completions(log)
    assert max(Counter(line["key"] for line in lines).values()) == 1
    starts = sorted(line["at"] for line in lines)
    assert starts[-1] - starts[0] > 0.9 * EVERY_S * (len(starts) - 1)
    totals = report.totals
    assert (totals.replies, totals.lost) == (len(lines), 0)
    assert totals.tokens_in == sum(line["usage"]["prompt_tokens"] for line in lines)
    assert totals.tokens_out == sum(line["usage"]["completion_tokens"] for line in lines)
    assert totals.cost == pytest.approx((totals.tokens_in * 2 + totals.tokens_out * 10) / 1e6)
    assert (report.counts.kept, dict(report.counts.dropped)) == (24, {"double": 24})
    assert json.loads((tmp_path / "ray" / "report.json").read_text("utf-8"))["counts"]["open"] == 0
