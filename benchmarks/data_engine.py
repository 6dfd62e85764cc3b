"""The data engine without a teacher: regions a second of pictures and checks, and memory.

Builds photos of 640 x 480 with eight masked regions each with the offline teacher, which
composes in place of a request; then many small records. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from perceive_anything.data.schema import ByteRange, ImageRecord, RegionRecord
from perceive_anything.data.shards import write_shards
from perceive_anything.data.sources import DataSource
from perceive_anything.engine.build import build
from perceive_anything.engine.recipe import DataRecipe, MarksConfig, TeacherConfig
from perceive_anything.evaluation.provenance import provenance
from perceive_anything.masks import encode_rle, mask_to_box_xyxy

NAMES = (("cat", "猫"), ("dog", "狗"), ("cup", "杯子"), ("boat", "船"))
MARKS = (1000, 5000)  # regions after which memory is told, besides every tenth


def picture(folder: Path, number: int, size_wh: tuple[int, int], regions: int) -> ImageRecord:
    """A picture of smooth noise with ellipses that have names."""
    rng = np.random.default_rng(number)
    coarse = rng.integers(0, 256, (12, 16, 3), np.uint8)
    path = folder / f"{number % 50}.jpg"
    if not path.exists():
        Image.fromarray(coarse).resize(size_wh, Image.Resampling.BICUBIC).save(path)
    ys, xs = np.mgrid[: size_wh[1], : size_wh[0]]
    found = []
    for place in range(regions):
        x, y = rng.uniform(0.2, 0.8, 2) * size_wh
        a, b = rng.uniform(0.05, 0.2, 2) * size_wh
        mask = ((xs - x) / a) ** 2 + ((ys - y) / b) ** 2 < 1
        name, name_zh = NAMES[place % 4]
        box = mask_to_box_xyxy(mask) or (0, 0, 1, 1)
        x1, y1, x2, y2 = map(float, box)
        rle = encode_rle(mask)
        found.append(RegionRecord(place, name, name_zh, (x1, y1, x2, y2), rle, "instance"))
    return ImageRecord(
        str(number), "made up", "", "train", size_wh, (), tuple(found), ByteRange(str(path))
    )


def run(folder: Path, count: int, size_wh: tuple[int, int], regions: int, threads: int) -> dict:
    """Build `count` records; seconds, regions a second and resident memory on the way."""
    (folder / "pictures").mkdir(parents=True)
    made = (picture(folder / "pictures", number, size_wh, regions) for number in range(count))
    write_shards(made, folder / "in")
    recipe = DataRecipe(
        kind="images", output=str(folder / "out"), samples=0,
        sources=(DataSource(path=str(folder / "in"), format="shards"),),
        teacher=TeacherConfig(concurrency=threads), marks=MarksConfig(side_px=max(size_wh)),
    )  # fmt: skip
    memory: dict[str, int] = {}
    seconds: list[float] = []
    told = {*MARKS, *(round(count * regions * tenth / 10) for tenth in range(1, 11))}

    def follow(steps, _total) -> None:  # noqa: ANN001
        start, worked = time.perf_counter(), time.process_time()
        for done, _ in enumerate(steps, start=1):
            if done in told:
                memory[str(done)] = round(resident_mib())
        seconds.extend((time.perf_counter() - start, time.process_time() - worked))

    report = build(recipe, follow=follow)
    memory["written"] = round(resident_mib())
    return {
        "regions": report.counts.regions, "kept": report.counts.kept, "seconds": seconds[0],
        "cpu_seconds": seconds[1], "per_cpu_second": report.counts.regions / seconds[1],
        "per_second": report.counts.regions / seconds[0], "memory_mib": memory,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }  # fmt: skip


def resident_mib() -> float:
    """Memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    try:
        speed = run(folder / "speed", given.images, (640, 480), 8, given.threads)
        print(
            f"{speed['per_second']:.1f} regions a second at 640 x 480; "
            f"{speed['per_cpu_second']:.1f} a second of one core"
        )
        memory = run(folder / "memory", given.records, (64, 64), 1, given.threads)
        print(f"memory over {given.records} records, MiB: {memory['memory_mib']}")
    finally:
        shutil.rmtree(folder)
    print(json.dumps({"speed": speed, "memory": memory, **provenance()}))


if __name__ == "__main__":
    main()
