"""The report of a build: counts, price, and samples to look at, as JSON and a page.

Knows counts and records. Refuses to know how they came about.
"""

from __future__ import annotations

import base64
import html
import json
import random
from dataclasses import asdict, dataclass
from pathlib import Path

from perceive_anything.engine.jobs import Record
from perceive_anything.engine.marks import jpeg
from perceive_anything.engine.outputs import Counts
from perceive_anything.engine.recipe import DataRecipe
from perceive_anything.engine.sheet import Card, cards_of, contact_sheet
from perceive_anything.engine.store import Totals

SHEET, PAGE, NUMBERS = "samples.png", "report.html", "report.json"
_STYLE = (
    "body{font:15px system-ui;margin:2em;max-width:70em}table{border-collapse:collapse}"
    "td,th{padding:.2em .8em;text-align:left;border-bottom:1px solid #ddd}img{max-width:100%}"
    "figure{margin:1.5em 0}"
)


@dataclass(frozen=True, slots=True)
class Report:
    """What a build came to.

    Attributes:
        counts: Of records and regions.
        totals: Of replies and their price; all runs of the folder together.
    """

    counts: Counts
    totals: Totals

    def lines(self) -> list[str]:
        """The report in a few lines of text."""
        counts, totals = self.counts, self.totals
        lines = [
            f"{counts.regions} regions of {counts.records_in} records: {counts.kept} kept, "
            f"{counts.dropped.total()} dropped, {counts.open} open; "
            f"{counts.records_out} records written"
        ]
        lines += [
            f"  dropped {number} for {reason}: {counts.details[reason]}"
            for reason, number in counts.dropped.most_common()
        ]
        if totals.replies or totals.lost:
            lines.append(
                f"teacher: {totals.replies} replies, {totals.tokens_in} + {totals.tokens_out} "
                f"tokens, price {totals.cost:.4f}; {totals.failed} failed attempts, "
                f"{totals.lost} replies lost by kills (price not known here)"
            )
        return lines


class Samples:
    """Takes a fair sample of records as they pass.

    Args:
        count: How many.
        seed: Seed of chance.
    """

    def __init__(self, count: int, seed: int) -> None:
        self.count, self._rng, self._seen = count, random.Random(seed), 0
        self.taken: list[Record] = []

    def see(self, record: Record) -> Record:
        """Take the record or not; it is given back."""
        self._seen += 1
        if len(self.taken) < self.count:
            self.taken.append(record)
        elif self.count and (place := self._rng.randrange(self._seen)) < self.count:
            self.taken[place] = record
        return record


def write_report(report: Report, samples: list[Record], folder: Path, recipe: DataRecipe) -> None:
    """Write numbers, the sheet of samples and a page with both.

    Args:
        report: The numbers.
        samples: Records to show.
        folder: Output folder.
        recipe: The recipe.
    """
    numbers = {"counts": report.counts.as_json(), "totals": asdict(report.totals)}
    (folder / NUMBERS).write_text(json.dumps(numbers, indent=1, ensure_ascii=False), "utf-8")
    cards = cards_of(samples, recipe.samples, recipe.seed)
    if cards:
        contact_sheet(cards).save(folder / SHEET)
    (folder / PAGE).write_text(_page(report, cards), encoding="utf-8")


def _page(report: Report, cards: list[Card]) -> str:
    counts = report.counts
    rows = "".join(
        f"<tr><td>{html.escape(reason)}<td>{number}<td>{html.escape(counts.details[reason])}"
        for reason, number in counts.dropped.most_common()
    )
    figures = "".join(_figure(card) for card in cards)
    told = "<br>".join(html.escape(line) for line in report.lines())
    return (
        f'<!doctype html><meta charset="utf-8"><title>Data build</title><style>{_STYLE}</style>'
        f"<h1>Data build</h1><p>{told}</p>"
        f"<h2>Dropped</h2><table><tr><th>reason<th>regions<th>example{rows}</table>"
        f"<h2>Samples</h2>{figures}"
    )


def _figure(card: Card) -> str:
    picture = base64.b64encode(jpeg(card.picture, 85)).decode("ascii")
    rows = "".join(
        f"<tr><th>{html.escape(name)}<td>{html.escape(text)}" for name, text in card.texts
    )
    title = html.escape(card.title)
    return (
        f'<figure><figcaption><b>{title}</b></figcaption><img alt="{title}" '
        f'src="data:image/jpeg;base64,{picture}"><table>{rows}</table></figure>'
    )
