"""Batch: everything in many images by workers that may die; every result once.

python examples/batch_ray.py [FOLDER_OR_LISTING.txt [OUT]]     needs the extra [ray]
A listing may hold s3:// addresses. Whole answers are renamed into place, in files named by their
images: work done twice overwrites itself, and a second run does only what is missing.
"""

import hashlib
import json
import os
from pathlib import Path

import ray.data
import samples

import perceive_anything as pa


def answer_file(out: Path, address: str) -> Path:
    """Where an answer lies; Ray leaves the scheme of an address out."""
    return out / f"{hashlib.sha256(address.split('://')[-1].encode()).hexdigest()}.json"


class Worker:
    """One process with a model, loaded once."""

    def __init__(self, out: Path) -> None:
        self.out, self.pam = out, pa.Perceiver.from_pretrained()

    def __call__(self, row: dict) -> dict:
        """Answer about one image; one that cannot be read is told, and tried by the next run."""
        try:
            image = self.pam.image(row["bytes"])
        except pa.PerceiveError as error:
            return {"said": f"{row['path']}: {error}"}
        found = tuple(image.everything(max_regions=3, tasks=["recognize"]))
        result = pa.ImageResult(row["path"], image.size_wh, "nano", "en", found)
        part = self.out / f"{os.getpid()}.part"
        part.write_text(json.dumps({"worker": os.getpid(), **result.to_json()}) + "\n")
        part.replace(answer_file(self.out, row["path"]))
        return {"said": f"{row['path']}: {len(found)} regions"}


def main(workers: int = 2) -> None:
    """Do what is missing, then put all answers into one file."""
    source, target = samples.given(samples.photos(), samples.OUT / "batch")
    images, out = samples.images_in(source), Path(target).resolve()
    out.mkdir(parents=True, exist_ok=True)
    if missing := [name for name in images if not answer_file(out, name).exists()]:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(num_cpus=workers, object_store_memory=100_000_000, include_dashboard=False)
        rows = ray.data.read_binary_files(missing, include_paths=True)
        for row in rows.map(Worker, fn_constructor_args=(out,), concurrency=workers).iter_rows():
            print(row["said"], flush=True)
    print(f"{len(images)} images, {len(missing)} of them done now")
    (out / "results.jsonl").write_text("".join(f.read_text() for f in sorted(out.glob("*.json"))))


if __name__ == "__main__":
    samples.run(main)
