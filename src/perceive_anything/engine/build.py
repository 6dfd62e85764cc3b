"""A build from a recipe: read, run, write, report. Reads from top to bottom.

A second call goes on where the first one stopped, however it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import yaml

from perceive_anything.data.shards import ShardedRecords
from perceive_anything.engine.augment import augmented
from perceive_anything.engine.jobs import Record, jobs_of
from perceive_anything.engine.outputs import Counts, finished_records, write_outputs
from perceive_anything.engine.pipelines import make_pipeline
from perceive_anything.engine.recipe import DataRecipe
from perceive_anything.engine.records import AllRecords, open_records
from perceive_anything.engine.report import Report, Samples, write_report
from perceive_anything.engine.runner_local import run_local
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
    folder = Path(recipe.output)
    store = Store(folder)
    try:
        settings = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)
        (folder / "recipe.yaml").write_text(settings, encoding="utf-8")
        records = open_records(recipe, say)
        failed = _run(recipe, runner, records, store, follow)
        report = _write(recipe, records, store, say)
        counts = report.counts
    finally:
        store.close()
    if failed is not None:
        raise failed
    if counts.open:
        raise TeacherError(
            f"the teacher gave no reply about {counts.open} of {counts.regions} regions.\n"
            "  Run the same command again; what was answered is kept."
        )
    return report


def _run(
    recipe: DataRecipe, runner: str, records: AllRecords, store: Store, follow: Follow
) -> TeacherError | None:
    """Run all jobs; an error of the teacher comes back, so that what is there can be written."""
    salt = recipe.salt()
    try:
        steps: Iterator[object]
        if runner == "ray":
            from perceive_anything.engine.runner_ray import run_ray

            steps = run_ray(records, recipe, store)
        else:
            pipeline = make_pipeline(recipe, store)
            jobs = (job for record in records for job in jobs_of(record, salt))
            steps = run_local(jobs, pipeline, store, recipe.teacher.concurrency)
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
        write_outputs(kept, folder, recipe.per_shard, say)
    except DataError:
        if not counts.open:  # otherwise the teacher is to blame, and the caller says so
            raise
    finally:
        write_report(report, samples.taken, folder, recipe)
    return report
