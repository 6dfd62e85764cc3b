"""Videos: six key frames on a storyboard -> one caption of an object, refined from the source's.

Knows the order of the steps. Refuses to know who the teacher is and where results go.
"""

from __future__ import annotations

from dataclasses import replace

from perceive_anything.data.schema import ClipRecord, TrackRecord
from perceive_anything.engine.answers import TrackAnswer
from perceive_anything.engine.checks import (
    Subject,
    check_agreement,
    check_form,
    check_obedience,
    check_subject,
    check_subject_zh,
    first_fault,
)
from perceive_anything.engine.embedding import Similarity
from perceive_anything.engine.instructions import SYSTEM, track_text
from perceive_anything.engine.jobs import Dropped, Job, Outcome
from perceive_anything.engine.marks import jpeg
from perceive_anything.engine.recipe import DataRecipe
from perceive_anything.engine.stories import best_view, story_of
from perceive_anything.engine.storyboard import key_frames, storyboard
from perceive_anything.engine.teacher import Facts, Request, Teacher, ask_checked


def describe_track(
    job: Job, recipe: DataRecipe, teacher: Teacher, alike: Similarity | None
) -> Outcome:
    """The caption of one object of a clip, in each language.

    Args:
        job: The object.
        recipe: What is wanted.
        teacher: Who writes.
        alike: Similarity of texts; None leaves agreement to equal names.

    Raises:
        TeacherError: The teacher gives no reply at all.
    """
    record, track = job.record, job.record.regions[job.index]
    assert isinstance(record, ClipRecord)
    assert isinstance(track, TrackRecord)
    frames = key_frames(record, track)
    if not frames:
        return Dropped("invisible", "no frame shows the object")
    board = storyboard(record, track, frames, recipe.fps, recipe.marks.panel_px)
    story = story_of(track, len(record.frames), record.size_wh, recipe.fps)
    subject = subject_of_track(record, track)
    request = Request(
        language="en", system=SYSTEM["en"], picture=jpeg(board, recipe.marks.quality),
        text=track_text("en", note_of(track), len(frames)), answer=TrackAnswer,
        facts=Facts(*best_view(record, track), story),
    )  # fmt: skip
    done: dict[str, TrackAnswer] = {}
    for language in recipe.languages:
        text = track_text(language, note_of(track), len(frames))
        asked = replace(request, language=language, system=SYSTEM[language], text=text)
        answer = _ask(asked, subject, recipe, teacher, alike)
        if isinstance(answer, Dropped):
            return replace(answer, reason=answer.reason + ("_zh" if language == "zh" else ""))
        done[language] = answer
    return (replace(record, regions=(_with_texts(track, done, recipe.fps),)),)


def note_of(track: TrackRecord) -> str:
    """What the source says of an object: its name and its caption."""
    notes = (track.label, str(track.extra.get("caption", "")))
    return ": ".join(told for note in notes if (told := Subject(note).told))


def subject_of_track(record: ClipRecord, track: TrackRecord) -> Subject:
    """The annotation, and the names of the clip's other objects."""
    others = dict.fromkeys(t.label for t in record.regions if t.label not in ("", track.label))
    return Subject(track.label or str(track.extra.get("caption", "")), tuple(others))


def _ask(
    request: Request,
    subject: Subject,
    recipe: DataRecipe,
    teacher: Teacher,
    alike: Similarity | None,
) -> TrackAnswer | Dropped:
    def check(answer: TrackAnswer) -> Dropped | None:
        form = first_fault(
            lambda: check_form(answer, request.language, story=True),
            lambda: check_obedience(answer, subject),
        )
        if form is not None:
            return form
        if request.language == "zh":
            return check_subject_zh(answer.label, (answer.caption,))
        least = recipe.checks.agreement
        return first_fault(
            lambda: check_subject(answer.label, (answer.caption,), subject),
            lambda: (
                check_agreement(answer.label, answer.caption, subject, least, alike)
                if alike and least is not None else None
            ),
        )  # fmt: skip

    return ask_checked(teacher, request, TrackAnswer, check, recipe.checks.tries)


def _with_texts(track: TrackRecord, done: dict[str, TrackAnswer], fps: float) -> TrackRecord:
    told = {"caption" if k == "en" else f"caption_{k}": a.caption for k, a in done.items()}
    kept = {**track.extra, **told, "source_label": track.label, "fps": fps}
    if "caption" in track.extra:
        kept["source_caption"] = track.extra["caption"]
    chinese = done.get("zh")
    label_zh = chinese.label if chinese else track.label_zh
    return replace(track, label=done["en"].label.lower(), label_zh=label_zh, extra=kept)
