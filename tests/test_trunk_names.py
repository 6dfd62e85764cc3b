"""Names of the trunk: when they are written, where, and that they survive being saved."""

import pytest
import torch
from torch import nn

from perceive_anything.modeling import PamConfig, PamForConditionalGeneration
from perceive_anything.modeling.trunk_names import NAME_LENGTH, NO_TOKEN, TrunkNames
from perceive_anything.training.export import save_model
from perceive_anything.training.initialise import initialise
from perceive_anything.training.nano import nano_config
from test_modeling import PROMPTS, SIZES, segment

NAMES = ((7, 3), (5,), ())
LARGEST = 2**11 + 1  # the first number that float16 does not hold


class Silent:
    """A processor that writes no files."""

    def save_pretrained(self, folder):
        pass


def name_table(names):
    table = torch.full((len(names), NAME_LENGTH), NO_TOKEN)
    for row, tokens in enumerate(names):
        table[row, : len(tokens)] = torch.tensor(tokens, dtype=torch.long)
    return table


@pytest.fixture
def names():
    """Three classes; channel c of what is seen speaks for class c."""
    made = TrunkNames(3, 3, above=0.6)
    classifier = nn.Linear(3, 3)
    classifier.load_state_dict({"weight": 10 * torch.eye(3), "bias": torch.zeros(3)})
    made.load(classifier, name_table(NAMES))
    return made


@pytest.fixture
def words():
    torch.manual_seed(0)
    return nn.Embedding(20, 16)


def rows_that_spell(words, *tokens, sureness):
    """(1, 12, 16) rows, the first of which read as the tokens."""
    torch.manual_seed(1)
    rows = torch.randn(1, 12, 16)
    for place, token in enumerate(tokens):
        rows[0, place] = sureness * words.weight[token]
    return rows.detach()


def test_a_sure_trunk_writes_its_name_where_the_rows_are_not_sure(names, words):
    rows = rows_that_spell(words, 1, sureness=0.01)
    named = names(rows, torch.tensor([[1.0, 0, 0]]), words)[0]
    assert (named[:2] @ words.weight.T).argmax(-1).tolist() == [7, 3]
    assert torch.equal(named[2:], rows[0, 2:])
    torch.testing.assert_close(named[:2].norm(dim=-1), rows[0, :2].norm(dim=-1))


@pytest.mark.parametrize(
    ("sureness", "seen"),
    [(5.0, (1.0, 0.0, 0.0)), (0.01, (0.1, 0.1, 0.0)), (0.01, (0.0, 0.0, 1.0))],
    ids=["the rows know", "the trunk does not know", "the class has no name"],
)
def test_else_the_rows_stay(names, words, sureness, seen):
    rows = rows_that_spell(words, 1, sureness=sureness)
    assert torch.equal(names(rows, torch.tensor([seen]), words), rows)


@pytest.fixture
def model():
    torch.manual_seed(0)
    made = PamForConditionalGeneration(nano_config(SIZES)).eval()
    initialise(made)
    made.trunk_names.above = -1.0
    made.trunk_names.name_ids[:] = LARGEST
    return made


@torch.inference_mode()
def test_what_a_region_is_told_by_includes_the_names(model, processor):
    regions = segment(model, processor, PROMPTS)
    model.trunk_names.name_ids[:] = 5
    own, named = model.rows_of(model.see(regions)), model.visual_rows(regions)
    first = -1 - model.config.perceiver_config.num_semantic_tokens
    changed = (own != named).any(-1).all(0).nonzero()[:, 0] - own.shape[1]
    assert changed.tolist() == list(range(first, first + NAME_LENGTH))
    model.trunk_names.name_ids[:] = NO_TOKEN
    assert torch.equal(model.visual_rows(regions), own)


def test_token_ids_are_saved_as_they_are(model, tmp_path):
    save_model(model, Silent(), tmp_path)
    again = PamForConditionalGeneration.from_pretrained(tmp_path)
    assert torch.equal(again.trunk_names.name_ids, model.trunk_names.name_ids)
    config = PamConfig.from_dict(model.config.to_dict() | {"trunk_classes": 0})
    assert PamForConditionalGeneration(config).trunk_names is None
