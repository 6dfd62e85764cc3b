"""The `captions` benchmark: concise captions of regions against what people wrote of the image.

Knows records with human captions and `Perceiver`. The score is CIDEr of pycocoevalcap on lower-case
words; its own tokenizer wants Java and is left out, for both sides alike.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from perceive_anything.data.schema import ImageRecord, RegionRecord
from perceive_anything.errors import require_package
from perceive_anything.masks import mask_area
from perceive_anything.pipeline import Perceiver
from perceive_anything.tasks import CAPTION
from perceive_anything.types import Box

MIN_SHARE = 0.1


def evaluate_captions(
    pam: Perceiver,
    records: Iterable[ImageRecord],
    *,
    report: Callable[[str], None] = lambda _: None,
) -> dict[str, float | int]:
    """CIDEr of the caption of each image's largest region, and of the template "a LABEL".

    Args:
        pam: The model.
        records: Those count that have human captions and a region of at least a tenth of the image.
        report: Where progress lines go.

    Raises:
        MissingExtraError: pycocoevalcap is not installed.
    """
    require_package("pycocoevalcap.cider.cider", extra="eval")
    written, template, people = {}, {}, {}
    for record in records:
        region = _largest(record)
        if region is None or not record.captions:
            continue
        answer = pam.image(record.load()).perceive(Box(*region.box_xyxy), tasks=[CAPTION])
        people[record.id] = [words(caption) for caption in record.captions]
        written[record.id] = [words(answer.caption or "")]
        template[record.id] = [words(f"a {region.label}")]
        if len(people) % 20 == 0:
            report(f"{len(people)} images")
    return {
        "images": len(people),
        "cider": round(cider(people, written), 4),
        "cider_template": round(cider(people, template), 4),
    }


def cider(people: dict[str, list[str]], answers: dict[str, list[str]]) -> float:
    """CIDEr (arXiv 1411.5726) of one answer a picture; 10 is the most."""
    scorer = require_package("pycocoevalcap.cider.cider", extra="eval").Cider()
    return float(scorer.compute_score(people, answers)[0])


def _largest(record: ImageRecord) -> RegionRecord | None:
    """The largest region with a mask, if it is large."""
    sized = [(mask_area(mask), r) for r in record.regions if (mask := r.mask()) is not None]
    if not sized:
        return None
    area, region = max(sized, key=lambda pair: pair[0])
    width, height = record.size_wh
    return region if area >= MIN_SHARE * width * height else None


def words(text: str) -> str:
    """The words of a text: lower case, letters, digits and apostrophes."""
    return " ".join(re.findall(r"[a-z0-9']+", text.lower()))
