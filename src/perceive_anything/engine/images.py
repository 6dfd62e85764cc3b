"""Images: a region and its short annotation -> texts in English, then in Chinese, checked.

Knows the order of the steps. Refuses to know who the teacher is and where results go.
"""

from __future__ import annotations

from dataclasses import replace

from perceive_anything.data.grammar import normalise
from perceive_anything.data.schema import ImageRecord, RegionRecord
from perceive_anything.engine.answers import RegionAnswer
from perceive_anything.engine.checks import (
    Subject,
    check_agreement,
    check_form,
    check_obedience,
    check_samples,
    check_subject,
    check_subject_zh,
    first_fault,
)
from perceive_anything.engine.embedding import Similarity
from perceive_anything.engine.instructions import SYSTEM, region_text
from perceive_anything.engine.jobs import Dropped, Job, Outcome, pixels_of
from perceive_anything.engine.marks import Target, jpeg, marked_pair
from perceive_anything.engine.recipe import DataRecipe
from perceive_anything.engine.teacher import Facts, Request, Teacher, ask_checked

NEAR = 2  # neighbours that the teacher is told to leave alone
NAME_WORDS = 4  # a longer label of a neighbour is a text, not a name


def describe_region(
    job: Job, recipe: DataRecipe, teacher: Teacher, alike: Similarity | None
) -> Outcome:
    """The texts of one region of an image.

    Args:
        job: The region.
        recipe: What is wanted.
        teacher: Who writes.
        alike: Similarity of texts; None leaves agreement to equal names.

    Raises:
        TeacherError: The teacher gives no reply at all.
    """
    record, region = job.record, job.record.regions[job.index]
    assert isinstance(record, ImageRecord)
    assert isinstance(region, RegionRecord)
    x1, y1, x2, y2 = region.box_xyxy
    if min(x2 - x1, y2 - y1) < recipe.marks.min_side_px:
        return Dropped("small", f"{x2 - x1:.0f} x {y2 - y1:.0f} pixels")
    picture = region_picture(record, region, recipe)
    subject = subject_of(record, region)
    request = Request(
        language="en", system=SYSTEM["en"], picture=picture, answer=RegionAnswer,
        text=region_text("en", subject.told, subject.neighbours), facts=Facts(record, region),
    )  # fmt: skip
    english = _english(request, subject, recipe, teacher, alike)
    if isinstance(english, Dropped):
        return english
    told = _extra(english, "")
    label_zh = region.label_zh
    if "zh" in recipe.languages:
        chinese = _chinese(request, subject, recipe, teacher)
        if isinstance(chinese, Dropped):
            return replace(chinese, reason=f"{chinese.reason}_zh")
        label_zh = chinese.label
        told |= _extra(chinese, "_zh")
    kept = {**region.extra, **told, "source_label": region.label}
    done = replace(region, label=english.label.lower(), label_zh=label_zh, extra=kept)
    return (replace(record, regions=(done,)),)


def region_picture(record: ImageRecord, region: RegionRecord, recipe: DataRecipe) -> bytes:
    """The set-of-mark picture that the teacher sees, as JPEG."""
    image = pixels_of(record.handle)
    target = Target(region.box_xyxy, region.mask())
    return jpeg(marked_pair(image, target, recipe.marks.side_px), recipe.marks.quality)


def subject_of(record: ImageRecord, region: RegionRecord) -> Subject:
    """The annotation and the names of the regions that could be taken for it, largest first."""
    note = region.label or str(region.extra.get("caption", ""))
    others = [
        other for other in record.regions
        if not _belong(other, region) and _is_name(other.label) and _touch(other, region)
        and normalise(other.label) != normalise(region.label)
    ]  # fmt: skip
    others.sort(key=lambda other: -_area(other))
    names = tuple(dict.fromkeys(other.label for other in others))
    return Subject(note, names[:NEAR])


def _english(
    request: Request,
    subject: Subject,
    recipe: DataRecipe,
    teacher: Teacher,
    alike: Similarity | None,
) -> RegionAnswer | Dropped:
    def check(answer: RegionAnswer) -> Dropped | None:
        least = recipe.checks.agreement
        return first_fault(
            lambda: check_form(answer, "en"),
            lambda: check_obedience(answer, subject),
            lambda: check_subject(answer.label, (answer.caption, answer.description), subject),
            lambda: (
                check_agreement(answer.label, answer.caption, subject, least, alike)
                if alike and least is not None else None
            ),
        )  # fmt: skip

    first = ask_checked(teacher, request, RegionAnswer, check, recipe.checks.tries)
    if isinstance(first, Dropped) or recipe.checks.samples == 1 or alike is None:
        return first
    again = replace(request, sample=1)
    second = ask_checked(teacher, again, RegionAnswer, check, recipe.checks.tries)
    if isinstance(second, Dropped):
        return second
    return check_samples(first, second, recipe.checks.consistency, alike) or first


def _chinese(
    request: Request, subject: Subject, recipe: DataRecipe, teacher: Teacher
) -> RegionAnswer | Dropped:
    """From the picture in a request of its own; the English texts are not shown."""

    def check(answer: RegionAnswer) -> Dropped | None:
        return first_fault(
            lambda: check_form(answer, "zh"),
            lambda: check_obedience(answer, subject),
            lambda: check_subject_zh(answer.label, (answer.caption, answer.description)),
        )

    text = region_text("zh", subject.told, subject.neighbours)
    asked = replace(request, language="zh", system=SYSTEM["zh"], text=text)
    return ask_checked(teacher, asked, RegionAnswer, check, recipe.checks.tries)


def _extra(answer: RegionAnswer, suffix: str) -> dict[str, object]:
    space = "" if suffix else " "
    explanation = f"{answer.definition}{space}{answer.function}".strip()
    told = {
        "explanation": explanation, "definition": answer.definition,
        "function": answer.function, "attributes": list(answer.attributes),
        "caption": answer.caption, "description": answer.description,
    }  # fmt: skip
    return {name + suffix: value for name, value in told.items()}


def _is_name(label: str) -> bool:
    return 0 < len(label.split()) <= NAME_WORDS and not Subject(label).is_suspicious


def _belong(other: RegionRecord, region: RegionRecord) -> bool:
    """Whether one is the other, its whole, or the group that it is in."""
    members = {*other.extra.get("members", ()), *region.extra.get("members", ())}
    whole = region.extra.get("part_of")
    return other is region or other.id in {*members, whole} or region.id in members


def _touch(a: RegionRecord, b: RegionRecord) -> bool:
    """Whether the boxes meet once each is half as large again."""
    (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = a.box_xyxy, b.box_xyxy
    wide, high = 0.25 * (bx2 - bx1), 0.25 * (by2 - by1)
    return ax1 < bx2 + wide and bx1 - wide < ax2 and ay1 < by2 + high and by1 - high < ay2


def _area(region: RegionRecord) -> float:
    x1, y1, x2, y2 = region.box_xyxy
    return (x2 - x1) * (y2 - y1)
