"""What keeps the language stages from learning their pictures by heart."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from perceive_anything.config import load_config
from perceive_anything.data.schema import RegionRecord
from perceive_anything.errors import ConfigError
from perceive_anything.modeling.segmenter import SeenRegions
from perceive_anything.modeling.trunk_names import NO_CLASS
from perceive_anything.training.branches import Branch, pack_branches
from perceive_anything.training.config import LanguageConfig, Recipe
from perceive_anything.training.language import (
    LanguageStage,
    answer_loss,
    drop_parts,
    mix_rows,
)
from perceive_anything.training.language_sampler import LanguageSampler
from perceive_anything.training.regions import TrainingRegion

EOS = 0
RECIPE = Path(__file__).parents[1] / "recipes" / "nano_cpu.yaml"


def seen_regions(count, *means):
    return SeenRegions(torch.ones(count, 8, 6, 6), torch.zeros(count, 2, 8), *means)


def test_channels_and_cells_are_dropped_whole():
    torch.manual_seed(0)
    kept = drop_parts(seen_regions(50, torch.ones(50, 40), torch.ones(50, 60)), 0.2)
    seen = kept.embedding > 0
    for means in (kept.inside, kept.close):
        assert 0.35 < (means > 0).float().mean() < 0.45
    assert drop_parts(seen_regions(2), 0.2).close is None
    channels, cells = seen.any((2, 3)), seen.any(1)
    assert torch.equal(seen, channels[:, :, None, None] & cells[:, None])
    assert 0.7 < channels.float().mean() < 0.9
    assert 0.6 < cells.float().mean() < 0.8


def test_half_of_the_rows_get_a_little_of_others():
    torch.manual_seed(0)
    rows = torch.eye(200)[:, None]
    mixed = mix_rows(rows, 0.4)
    own = mixed[:, 0].diagonal()
    assert torch.allclose(mixed.sum(-1), torch.ones(200, 1))
    assert own.min() >= 0.6
    assert 70 < (own < 1).sum() < 130


def test_versions_of_a_region_are_mixed_alike():
    torch.manual_seed(0)
    stage = SimpleNamespace(num_semantic=2, mixed=0.4)
    rows = torch.randn(30, 6, 4)
    mixed, doubled = LanguageStage.mixed_alike(stage, [rows, 2 * rows])
    assert torch.allclose(2 * mixed, doubled)
    changed = (mixed != rows).any(2)
    assert changed.sum(0).tolist() == [0, 0, 0, changed[:, 3].sum(), changed[:, 3].sum(), 0]
    assert 5 < changed[:, 3].sum() < 25


def test_only_labels_stay_near_what_a_teacher_says():
    label, text = Branch([5, 6], 1, is_label=True), Branch([5, 7], 1)
    packed = pack_branches([[label, text]], 3)
    taught = torch.randn(2, 9, generator=torch.Generator().manual_seed(0))
    logits = taught.clone().requires_grad_()
    answer_loss(logits, packed, taught, held=1.0).backward()
    assert logits.grad[0].abs().max() < 1e-6
    assert logits.grad[1].abs().max() > 0.1
    losses = [answer_loss(logits, packed, taught, held).item() for held in (0.0, 0.5, 1.0)]
    assert losses[0] == answer_loss(logits, packed).item()
    assert losses[1] == pytest.approx((losses[0] + losses[2]) / 2)


def test_positions_go_on_behind_what_is_left_out():
    branches = [[Branch([5, 6, 7], 1, weight=3.0)]]
    packed = pack_branches(branches, 4, left_out=(2, 10))
    assert packed.position_ids.tolist() == [[0, 1, 12, 13, 14, 15, 16]]
    assert packed.weights.tolist() == [[3, 3, 3]]


class Letters:
    """A processor whose tokens are the letters of a text; the language is the question."""

    def __init__(self):
        self.tokenizer = lambda text, **_: SimpleNamespace(input_ids=[ord(c) for c in text])
        self.tokenizer.eos_token_id = EOS

    def task_ids(self, task, language):
        return [{"en": 1, "zh": 2}[language]]


def region(row, source, label):
    record = SimpleNamespace(source=source)
    return TrainingRegion(
        row,
        record,
        RegionRecord(0, label, None, (0, 0, 9, 9), None, "instance"),
        (0, 0, 9, 9),
        None,
    )


def answers(branches):
    """(question, text) of each branch."""
    return [(b.ids[0], "".join(map(chr, b.ids[b.num_question : -1]))) for b in branches]


def settings(**given):
    return LanguageConfig(steps=1, learning_rate=1.0, **{"rows": 0, "per_row": 1, **given})


def test_sources_are_left_out_and_classes_are_named():
    regions = [region(0, "COCO val2017", "cup"), region(1, "ImageNet samples", "jay")]
    names = ["lion", "owl"]
    sampler = LanguageSampler(
        regions, lambda r, _, language, named: {"recognize": ([r.region.label, *names])[named + 1]},
        Letters(), settings(left_out=("ImageNet",), label_rows=40, named=0.5),
        seed=0, source_weights={}, num_classes=2,
    )  # fmt: skip
    draw = sampler.draw(0)
    assert draw.rows == [0] * 40
    assert set(draw.classes) == {NO_CLASS, 0, 1}
    assert 10 < draw.classes.count(NO_CLASS) < 30
    for number, branches in zip(draw.classes, draw.branches, strict=True):
        name = "cup" if number == NO_CLASS else names[number]
        assert answers(branches) == [(1, name), (2, name)]
    assert sampler.draw(0) == draw


def test_captions_of_what_people_told_are_asked_besides():
    regions = [region(0, "COCO val2017", "cup"), region(1, "COCO val2017", "person")]
    sampler = LanguageSampler(
        regions, lambda r, *_: {"recognize": "label", "caption": f"{r.region.label} here"},
        Letters(), settings(label_rows=1, captioned=2, caption_weight=3.0, named=1.0),
        seed=0, source_weights={}, captioned=[1], num_classes=2,
    )  # fmt: skip
    draw = sampler.draw(0)
    assert draw.rows[1:] == [1, 1]
    assert len(draw.rows) == 3
    assert draw.classes[1:] == [NO_CLASS, NO_CLASS]
    assert [answers(branches) for branches in draw.branches[1:]] == [[(1, "person here")]] * 2
    assert draw.branches[1][0].weight == 3.0


def test_definitions_are_first_sentences_that_may_go_on():
    texts = {"recognize": "cup", "explain": "A cup is small. Here it is."}
    sampler = LanguageSampler(
        [region(0, "COCO val2017", "cup")], lambda *_: texts, Letters(),
        settings(label_rows=1, definitions=True), seed=0, source_weights={}, zh_share=0.0,
    )  # fmt: skip
    *labels, definition = sampler.draw(0).branches[0]
    assert answers(labels) == [(1, "cup"), (2, "cup")]
    assert definition.ids[definition.num_question :] == [ord(c) for c in "A cup is small."]


@pytest.mark.parametrize(
    "sets",
    [
        ["finetuning.held=0.8"],
        ["finetuning.held=0.8", "start_from=nano"],
        ["alignment.held=0.8", "start_from=nano", "alignment.steps=0"],
    ],
)
def test_labels_are_held_only_to_a_finished_model(sets):
    with pytest.raises(ConfigError, match="held"):
        load_config(RECIPE, Recipe, sets)
    load_config(RECIPE, Recipe, ["finetuning.held=0.8", "start_from=nano", "alignment.steps=0"])
