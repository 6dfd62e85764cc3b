"""Run examples/{image,video,stream}.py cell by cell and keep what they say as executed notebooks.

Run: python tools/make_notebooks.py. Knows the marks `# %%` and the notebook format 4.5.
"""

import base64
import contextlib
import io
import json
import os
import re
import sys
from pathlib import Path
from unittest import mock

from PIL import Image

EXAMPLES = Path(__file__).parent.parent / "examples"
NAMES, MOST_PX = ("image", "video", "stream"), 480
SETUP = (
    'import os\nimport sys\n\nos.chdir("../..")  # the repository\nsys.path.insert(0, "examples")'
)


def cells_of(source: str) -> list[tuple[str, str]]:
    """Kind ("markdown" or "code") and text of each cell; the docstring is the first."""
    _, head, rest = source.split('"""', 2)
    cells = [("markdown", f"# {head.strip()}"), ("code", SETUP)]
    for part in rest.split("# %%")[1:]:
        mark, _, body = part.partition("\n")
        text = re.sub("^# ?", "", body, flags=re.MULTILINE) if mark else body
        cells.append(("markdown" if mark else "code", text.strip()))
    return cells


def execute(text: str, names: dict) -> list[dict]:
    """What one cell printed, and the pictures it showed, as small JPEGs."""
    printed, outputs = io.StringIO(), []

    def show(picture: object, *_: object) -> None:
        image, file = Image.fromarray(picture), io.BytesIO()
        image.thumbnail((MOST_PX, MOST_PX))
        image.save(file, "JPEG", quality=80)
        data = {"image/jpeg": base64.b64encode(file.getvalue()).decode()}
        outputs.append({"output_type": "display_data", "data": data, "metadata": {}})

    with mock.patch("samples.show", show), contextlib.redirect_stdout(printed):
        exec(compile(text, "cell", "exec"), names)
    told = printed.getvalue().splitlines(keepends=True)
    return [{"output_type": "stream", "name": "stdout", "text": told}, *outputs]


def notebook(source: str) -> dict:
    """The executed notebook of an example."""
    names, cells = {"__name__": "__main__"}, []
    for number, (kind, text) in enumerate(cells_of(source)):
        cell = {"cell_type": kind, "id": f"cell-{number}", "metadata": {}, "source": text}
        if kind == "code":
            cell |= {"execution_count": number, "outputs": []}
            cell["outputs"] += [] if text == SETUP else execute(text, names)
        cells.append(cell)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


if __name__ == "__main__":
    os.chdir(EXAMPLES.parent)
    sys.path.insert(0, str(EXAMPLES))
    for name in NAMES:
        made = notebook((EXAMPLES / f"{name}.py").read_text("utf-8"))
        target = EXAMPLES / "notebooks" / f"{name}.ipynb"
        target.write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
