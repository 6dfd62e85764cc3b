"""A build from a recipe: read, run, write, report. Reads from top to bottom.

A second call goes on where the first one stopped, however it stopped.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import yaml
from pydantic import ValidationError

from perceive_anything.data.readers.pam_write import known_turns
from perceive_anything.data.shards import ShardedRecords
from perceive_anything.engine.augment import augmented
from perceive_anything.engine.jobs import Record, jobs_of
from perceive_anything.engine.outputs import Counts, finished_records, write_outputs
from perceive_anything.engine.pipelines import make_pipeline
from perceive_anything.engine.questions import plain_turns
from perceive_anything.engine.recipe import DataRecipe
from perceive_anything.engine.records import AllRecords, open_records
from perceive_anything.engine.report import Report, Samples, write_report
from perceive_anything.engine.runner_local import Failures, run_local
from perceive_anything.engine.store import Store
from perceive_anything.engine.teacher import TeacherError
from perceive_anything.errors import DataError

Follow = Callable[[Iterable[object], int | None], None]
RUNNERS = ("local", "ray")


def exhaust(steps: Iterable[object], total: int | None) -> None:
    """Consume an iteration without showing anything."""
    for _ in steps:
        pass


def build(
    recipe: DataRecipe,
    runner: str = "local",
    *,
    follow: Follow = exhaust,
    say: Callable[[str], None] = print,
) -> Report:
    """Make the records that a recipe describes.

    Args:
        recipe: What to do.
        runner: "local" or "ray".
        follow: Consumes the jobs as they end; is told how many there are, if that is known.
        say: Where lines about left-out rows go.

    Returns:
        What came in, what was kept, and the price.

    Raises:
        DataError: A source cannot be used, the output cannot be written, or nothing was kept.
        TeacherError: The teacher fails; what was paid is kept.
        MissingExtraError: A package is missing.
    """
    failures = Failures()
    with _told(Path(recipe.output)) as folder, closing(Store(folder)) as store:
        _keep_recipe(recipe, folder, say)
        records = open_records(recipe, say)
        failed = _run(recipe, runner, records, store, follow, failures, say)
        report = _write(recipe, records, store, say)
    counts = report.counts
    if failed is not None:
        raise failed
    if counts.open:
        why = str(failures.last or "").partition("\n")[0].rstrip(".")
        raise TeacherError(
            f"{counts.open} of {counts.regions} regions have no reply{why and f': {why}'}.\n"
            "  Run the same command again; what was answered is kept."
        )
    return report


@contextmanager
def _told(folder: Path) -> Iterator[Path]:
    """Turns a full disk and the like into an error that says what to do."""
    try:
        yield folder
    except (OSError, sqlite3.Error) as error:
        raise DataError(
            f'the build in "{folder}" cannot go on: {error}.\n'
            "  Mend that and run the same command again; what was answered is kept.",
            code="out_unwritable",
        ) from error


def _keep_recipe(recipe: DataRecipe, folder: Path, say: Callable[[str], None]) -> None:
    """Write the recipe down; say so if the folder was built with one that asks for other texts."""
    path = folder / "recipe.yaml"
    try:
        before = DataRecipe.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValidationError, yaml.YAMLError):
        before = recipe
    if before.salt() != recipe.salt():
        say(
            f'"{folder}" was built with another recipe: its records are replaced. Every region is '
            "done anew, but no equal request is paid again."
        )
    settings = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)
    path.write_text(settings, encoding="utf-8")


def _run(
    recipe: DataRecipe,
    runner: str,
    records: AllRecords,
    store: Store,
    follow: Follow,
    failures: Failures,
    say: Callable[[str], None],
) -> TeacherError | None:
    """Run all jobs; an error of the teacher comes back, so that what is there can be written."""
    salt = recipe.salt()
    steps: Generator[object]
    try:
        if runner == "ray":
            from perceive_anything.engine.runner_ray import run_ray

            steps = run_ray(records, recipe, store, failures)
        else:
            pipeline = make_pipeline(recipe, store)
            jobs = (job for record in records for job in jobs_of(record, salt))
            steps = run_local(jobs, pipeline, store, recipe.teacher.concurrency, failures, say)
        with closing(steps):  # at once when it is stopped from here, so that the store is open
            follow(steps, _total(records))
    except TeacherError as error:
        return error
    return None


def _total(records: AllRecords) -> int | None:
    """Regions in all; None where counting would mean to read all shards."""
    if any(isinstance(source, ShardedRecords) for source in records.sources):
        return None
    return sum(len(record.regions) for record in records)


def _write(
    recipe: DataRecipe, records: AllRecords, store: Store, say: Callable[[str], None]
) -> Report:
    folder, counts = Path(recipe.output), Counts()
    samples = Samples(recipe.samples, recipe.seed)
    done = finished_records(records, recipe.salt(), store, counts)
    kept: Iterable[Record] = (samples.see(augmented(record, recipe)) for record in done)
    report = Report(counts, store.totals())
    try:
        turns = known_turns if recipe.augment.questions else plain_turns
        write_outputs(kept, folder, recipe.per_shard, say, turns if recipe.pam_data else None)
    except DataError:
        if not counts.open:  # otherwise the teacher is to blame, and the caller says so
            raise
    finally:
        write_report(report, samples.taken, folder, recipe)
    return report
