"""Everything in a folder of images, without a prompt, to one COCO file.

python examples/everything_to_coco.py [FOLDER]

The same on the command line, resumable and with more formats:
perceive image FOLDER --everything --export coco --out DIR
"""

from pathlib import Path

import samples
from pycocotools.coco import COCO

import perceive_anything as pa
from perceive_anything.export import ExportedImage, write_export


def main() -> None:
    """Find, name, write, and read back with COCO's own tools."""
    pam = pa.Perceiver.from_pretrained()
    (folder,) = samples.given(samples.photos())
    answered = []
    for path in samples.images_in(folder):
        image = pam.image(path)
        found = tuple(image.everything(max_regions=4, tasks=["recognize", "caption"]))
        result = pa.ImageResult(path, image.size_wh, pam.model_name, "en", found, image.timing_s)
        answered.append(ExportedImage.of(result.to_json()))
        print(
            f"{Path(path).name}: {', '.join(region.label or '?' for region in found) or 'nothing'}"
        )
    file, *_ = write_export("coco", answered, samples.OUT / "coco")
    coco = COCO(file)
    shares = [coco.annToMask(row).mean() for row in coco.dataset["annotations"]]
    print(f"{file}: {len(coco.imgs)} images, {len(coco.anns)} regions, {len(coco.cats)} names")
    print(f"masks cover {min(shares):.0%} to {max(shares):.0%} of their image")


if __name__ == "__main__":
    samples.run(main)
