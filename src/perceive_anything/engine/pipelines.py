"""The pipeline and the teacher that a recipe asks for.

Knows which is which. Refuses to know how they work and who runs them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from perceive_anything.data.lexicon import Lexicon
from perceive_anything.engine.embedding import SentenceSimilarity, Similarity
from perceive_anything.engine.images import describe_region
from perceive_anything.engine.jobs import Dropped, Job, Outcome, Pipeline
from perceive_anything.engine.offline_teacher import OfflineTeacher
from perceive_anything.engine.openai_teacher import OpenAITeacher
from perceive_anything.engine.recipe import DataRecipe, TeacherConfig
from perceive_anything.engine.streams import describe_stream
from perceive_anything.engine.teacher import CachedTeacher, Replies, Teacher
from perceive_anything.engine.videos import describe_track
from perceive_anything.errors import PerceiveError

_UNREADABLE = ("bad_record", "file_missing", "file_unreadable", "image_size", "image_truncated")


def make_pipeline(
    recipe: DataRecipe, replies: Replies, turn: Callable[[], float] | None = None
) -> Pipeline:
    """What is done with each job.

    Args:
        recipe: The recipe.
        replies: Where paid replies are kept.
        turn: Seconds until the next request may begin, if others keep the same limit.

    Raises:
        MissingExtraError: A package is not installed that the teacher or the checks need.
        TeacherError: The teacher's key is not set.
    """
    teacher = make_teacher(recipe.teacher, replies, turn)
    alike: Similarity | None = None
    if recipe.checks.agreement is not None and recipe.teacher.kind != "offline":
        alike = SentenceSimilarity()
    describe = {"images": describe_region, "videos": describe_track, "streams": describe_stream}
    return partial(
        _run, partial(describe[recipe.kind], recipe=recipe, teacher=teacher, alike=alike)
    )


def make_teacher(
    config: TeacherConfig, replies: Replies, turn: Callable[[], float] | None = None
) -> Teacher:
    """The teacher of a recipe; what it costs to ask is kept.

    Args:
        config: Who.
        replies: Where paid replies are kept.
        turn: As of `make_pipeline`.
    """
    if config.kind == "offline":
        return OfflineTeacher(Lexicon.load(config.lexicon) if config.lexicon else None)
    return CachedTeacher(OpenAITeacher(config, turn), replies)


def _run(describe: Pipeline, job: Job) -> Outcome:
    try:
        return describe(job)
    except PerceiveError as error:
        if error.code not in _UNREADABLE:
            raise
        return Dropped("unreadable", str(error).partition("\n")[0])
    except OSError as error:
        return Dropped("unreadable", str(error))
