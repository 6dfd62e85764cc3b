"""Recipes: typed, frozen, and an unknown name says where it stands."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from perceive_anything.config import load_config, value_of
from perceive_anything.errors import ConfigError
from perceive_anything.training.config import FinetuneRecipe, PamRecipe, Recipe

FOLDER = Path(__file__).parent.parent / "recipes"
NANO = FOLDER / "nano_cpu.yaml"
KINDS = {None: Recipe, "finetune": FinetuneRecipe, "pam": PamRecipe}


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_recipes_parse(path):
    assert load_config(path, KINDS[value_of(path, "kind")]).output


def test_a_value_is_read_or_there_is_none(tmp_path):
    (tmp_path / "list.yaml").write_text("[1]")
    (tmp_path / "torn.yaml").write_text("a: [")
    for name in ("list", "torn", "gone"):
        assert value_of(tmp_path / f"{name}.yaml", "kind") is None


def test_settings_are_changed_by_dotted_names():
    recipe = load_config(NANO, Recipe, ["segmentation.steps=7", "output=elsewhere"])
    assert (recipe.segmentation.steps, recipe.output) == (7, "elsewhere")


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("segmentation.stepz=7", 'Did you mean "segmentation.steps"'),
        ("segmentation.steps=many", "segmentation.steps"),
        ("seed.x=1", '"seed" is a value'),
        ("nonsense", "--set a.b=VALUE"),
        ("seed=[", r'"seed=\["'),
        ("seed=!!python/object:os.system x", "where VALUE is YAML"),
    ],
)
def test_wrong_settings(override, says):
    with pytest.raises(ConfigError, match=says) as caught:
        load_config(NANO, Recipe, [override])
    assert caught.value.code == "bad_config"


def test_settings_are_frozen():
    recipe = load_config(NANO, Recipe)
    with pytest.raises(ValidationError, match="frozen"):
        recipe.seed = 1


def test_files_that_are_no_recipe(tmp_path):
    (tmp_path / "list.yaml").write_text("- 1")
    (tmp_path / "broken.yaml").write_text("a: [")
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    for name, code in (
        ("missing", "file_missing"),
        ("list", "bad_config"),
        ("broken", "bad_config"),
        ("folder", "bad_config"),
        ("binary", "bad_config"),
    ):
        with pytest.raises(ConfigError) as caught:
            load_config(tmp_path / f"{name}.yaml", Recipe)
        assert caught.value.code == code
