"""Something to look at without files of your own, made of photos that scikit-image brings along.

Photos, and a clip of cut-outs that move over one; and the few steps that all examples share.
"""

import json
import sys
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import numpy as np
from PIL import Image, ImageDraw
from skimage import data

import perceive_anything as pa
from perceive_anything.media import save_image
from perceive_anything.video_writer import VideoWriter

OUT = Path("out/examples")
OUT.mkdir(parents=True, exist_ok=True)
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
PHOTOS = ("astronaut", "chelsea", "coffee", "rocket")
FPS = 5.0
NUM_FRAMES = 24
TRAINING = {"training.steps": 24, "training.rows": 8, "rehearsal": 3}
WOMAN = [(155, 60), (175, 30), (220, 14), (265, 30), (298, 60), (300, 105), (285, 128),
         (265, 140), (262, 165), (300, 215), (310, 265), (345, 290), (360, 360), (360, 500),
         (20, 500), (25, 330), (50, 260), (115, 205), (115, 165), (130, 152), (180, 152),
         (178, 135), (155, 100)]  # fmt: skip
CAT = [(45, 0), (300, 0), (345, 60), (365, 110), (350, 190), (330, 250), (260, 285), (150, 285),
       (60, 230), (30, 120)]  # fmt: skip


def given(*made: Path | str | int) -> list[str]:
    """The arguments of the command line; in the place of those that are missing, what was made."""
    arguments = [] if "ipykernel" in sys.argv[0] else sys.argv[1:]
    if len(arguments) > len(made):
        raise SystemExit(f"expected at most {len(made)} arguments, got {len(arguments)}")
    return [*arguments, *map(str, made[len(arguments) :])]


def source(made: Path) -> str | int:
    """The one argument as a source of frames: a camera's number, a file or an address."""
    (name,) = given(made)
    return int(name) if name.isdigit() else name


def images_in(place: str | Path) -> list[str]:
    """Addresses of the images of a folder, or of a listing with one a line."""
    if Path(place).is_file():
        found = Path(place).read_text("utf-8").splitlines()
    else:
        found = [str(path.resolve()) for path in Path(place).iterdir()]
    return sorted({name for name in found if name.lower().endswith(SUFFIXES)})


def tell(log: TextIO, **line: object) -> None:
    """A line of JSON, to a log and to the reader."""
    print(text := json.dumps(line, ensure_ascii=False))
    log.write(text + "\n")


def run(main: Callable[[], None]) -> None:
    """Call an example; what its user can mend is said in a line, without a traceback."""
    try:
        main()
    except pa.PerceiveError as error:
        raise SystemExit(str(error)) from error


def show(picture: np.ndarray, name: str, *, in_viewer: bool = False) -> None:
    """Write a picture, and show it where there is a notebook, or in a viewer if wanted."""
    save_image(picture, OUT / name)
    print(f"wrote {OUT / name}")
    if "IPython" in sys.modules:
        from IPython.display import display

        display(Image.fromarray(picture))
    elif in_viewer and sys.stdout.isatty():
        webbrowser.open((OUT / name).resolve().as_uri())


def pointed_at(size_wh: tuple[int, int]) -> pa.Box:
    """Somewhat above the middle, where the cat is half way; in your clip, whatever is there."""
    width, height = size_wh
    return pa.Box(0.3 * width, 0.05 * height, 0.72 * width, 0.52 * height)


def photos() -> Path:
    """A folder with some photos."""
    folder = OUT / "photos"
    folder.mkdir(parents=True, exist_ok=True)
    for name in PHOTOS:
        save_image(getattr(data, name)(), folder / f"{name}.png")
    return folder


def frames() -> list[np.ndarray]:
    """A cat's head that crosses a launch site from left to right, and a woman who stays."""
    ground = Image.fromarray(data.rocket()).resize((480, 320))
    cat, woman = cut_out(data.chelsea(), CAT, 140), cut_out(data.astronaut(), WOMAN, 150)
    made = []
    for step in np.linspace(0, 1, NUM_FRAMES):
        picture = ground.copy()
        picture.paste(woman, (350, 168), woman)
        left = round(-cat.width - 10 + step * (480 + cat.width + 40))  # out, across, and out again
        picture.paste(cat, (left, 20), cat)
        made.append(np.asarray(picture))
    return made


def clip() -> Path:
    """The same as a file."""
    with VideoWriter(OUT / "clip.mp4", FPS, (480, 320)) as writer:
        for frame in frames():
            writer.write(frame)
    return OUT / "clip.mp4"


def cut_out(photo: np.ndarray, outline: list[tuple[float, float]], height_px: int) -> Image.Image:
    """What lies inside a polygon of a photo, the rest transparent, in another size."""
    mask = Image.new("L", photo.shape[1::-1])
    ImageDraw.Draw(mask).polygon([(float(x), float(y)) for x, y in outline], fill=255)
    image = Image.fromarray(photo)
    image.putalpha(mask)
    image = image.crop(mask.getbbox())
    return image.resize((round(image.width * height_px / image.height), height_px))


def write_coco(folder: Path, images: list[Image.Image], rows: list[tuple[int, dict]]) -> Path:
    """A folder of images with one COCO file of one category, named as the folder.

    Args:
        folder: It is made.
        images: The images.
        rows: Number of the image, and what its annotation holds: "bbox" (x, y, width, height),
            and maybe "segmentation" and texts.
    """
    folder.mkdir(parents=True, exist_ok=True)
    listed = []
    for number, image in enumerate(images):
        image.save(folder / f"{number}.png")
        width, height = image.size
        names = {"id": number, "file_name": f"{number}.png"}
        listed.append(names | {"width": width, "height": height})
    annotations = [
        {"id": number, "image_id": image, "category_id": 1, **row}
        for number, (image, row) in enumerate(rows)
    ]
    content = {"images": listed, "annotations": annotations}
    content["categories"] = [{"id": 1, "name": folder.name}]
    (folder / "instances.json").write_text(json.dumps(content), encoding="utf-8")
    return folder
