"""Budgets and promises that hold for the whole package."""

import ast
import json
import re
import statistics
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import perceive_anything
from perceive_anything.cli.app import COMMANDS

PACKAGE = Path(perceive_anything.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text("utf-8")) for path in FILES}
UNWANTED = {"torchvision", "timm", "cv2", "decord", "hydra", "omegaconf", "flash_attn"}
LIGHT = (
    "types",
    "errors",
    "tasks",
    "masks",
    "media",
    "config",
    "results",
    "export",
    "data.packs",
    "hub",
)
README = (PACKAGE.parent.parent / "README.md").read_text("utf-8")


def functions(tree):
    return [n for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]


def test_files_and_functions_are_small():
    lines = [len(path.read_text("utf-8").splitlines()) for path in FILES]
    assert max(lines) <= 600
    assert statistics.median(lines) <= 200
    lengths = [f.end_lineno - f.lineno + 1 for tree in TREES.values() for f in functions(tree)]
    assert statistics.quantiles(lengths, n=20)[-1] <= 60
    assert max(lengths) <= 100


def decorated(node, name):
    return any(name in ast.unparse(decorator) for decorator in node.decorator_list)


def public(tree):
    """Public functions, methods and classes; what stands inside a function is nobody's API."""
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            if node.name.startswith("_"):
                continue
            yield node
            if isinstance(node, ast.ClassDef):
                yield from public(node)


PUBLIC = [(path, node) for path, tree in TREES.items() for node in public(tree)]


def parameters(function):
    given = function.args
    named = [*given.posonlyargs, *given.args, *given.kwonlyargs]
    return [*named, *filter(None, (given.vararg, given.kwarg))]


def test_what_is_public_has_a_docstring():
    bare = [
        f"{path.name}: {node.name}"
        for path, node in PUBLIC
        if not ast.get_docstring(node) and not decorated(node, "overload")
    ]
    assert bare == []
    assert [path.name for path, tree in TREES.items() if not ast.get_docstring(tree)] == []


def test_what_is_public_is_annotated():
    bare = [
        f"{path.name}: {node.name}"
        for path, node in PUBLIC
        if not isinstance(node, ast.ClassDef)
        and (
            node.returns is None
            or any(p.annotation is None for p in parameters(node) if p.arg not in ("self", "cls"))
        )
    ]
    assert bare == []


def is_option(argument):
    """Written out, or one of the aliases of cli/options.py."""
    if argument.annotation is None:
        return False
    annotation = ast.unparse(argument.annotation)
    return "typer.Option" in annotation or annotation.endswith("Option")


def test_names_carry_their_convention():
    named = [
        f"{path.name}: {node.name}({argument.arg})"
        for path, node in PUBLIC
        if not isinstance(node, ast.ClassDef)
        for argument in parameters(node)
        if argument.arg in ("box", "size") and not is_option(argument)
    ]
    assert named == []
    fields = {
        (node.name, line.target.id)
        for _, node in PUBLIC
        if isinstance(node, ast.ClassDef)
        for line in node.body
        if isinstance(line, ast.AnnAssign) and line.target.id in ("box", "size")
    }
    assert fields == {("Points", "box"), ("ByteRange", "size")}  # a Box; a number of bytes


def test_nothing_imports_what_we_do_without():
    imported = set()
    for tree in TREES.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add((node.module or "").split(".")[0])
    assert not imported & UNWANTED


@pytest.mark.parametrize(
    "module", ["perceive_anything", *(f"perceive_anything.{name}" for name in LIGHT)]
)
def test_light_modules_load_no_torch(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_prediction_loads_nothing_unwanted():
    code = (
        "import sys, numpy as np, perceive_anything as pa\n"
        "image = pa.Perceiver.from_pretrained().image(np.zeros((40, 50, 3), np.uint8))\n"
        "region = image.perceive(pa.Box(5, 5, 30, 30), tasks=['segment', 'recognize'])\n"
        "region.to_json()\n"
        f"loaded = {UNWANTED!r} & set(sys.modules)\n"
        "assert not loaded, loaded"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_public_names_load_and_have_docstrings():
    for name in perceive_anything.__all__:
        value = getattr(perceive_anything, name)
        assert name == "__version__" or value.__doc__
    with pytest.raises(AttributeError, match="nonsense"):
        perceive_anything.nonsense  # noqa: B018


def test_the_readme_names_only_commands_that_exist():
    spans = re.findall(r"```bash\n.*?```|`perceive [^`\n]*`", README, re.DOTALL)
    named = {word for span in spans for word in re.findall(r"\bperceive ([a-z]\w*)", span)}
    assert named
    assert named <= set(COMMANDS)


def test_the_package_carries_its_files():
    assert (PACKAGE / "py.typed").exists()
    assert json.loads((PACKAGE / "data" / "resources" / "knowledge.json").read_text("utf-8"))
    assert (PACKAGE / "assets" / "nano" / "MODEL_CARD.md").exists()
    weights = (PACKAGE / "assets" / "nano").glob("*.safetensors")
    assert 30e6 <= sum(path.stat().st_size for path in weights) <= 60e6


def test_the_wheel_takes_the_whole_package():
    """No include or exclude list that could drop the model; hatchling also obeys .gitignore."""
    project = tomllib.loads((PACKAGE.parent.parent / "pyproject.toml").read_text("utf-8"))
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"] == {
        "packages": ["src/perceive_anything"]
    }
