"""What keeps the language stages from learning their pictures by heart."""

import torch

from perceive_anything.modeling.segmenter import RegionFeatures
from perceive_anything.training.language import Branch, drop_parts, mix_rows, pack_branches
from perceive_anything.training.meaning import RowMeaning


def regions(count):
    empty = torch.zeros(0)
    return RegionFeatures(empty, empty, empty, empty, torch.ones(count, 8, 6, 6), empty, empty)


def test_channels_and_cells_are_dropped_whole():
    torch.manual_seed(0)
    dropped = drop_parts(regions(50), 0.2).embedding
    seen = dropped > 0
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


def test_positions_go_on_behind_what_is_left_out():
    branches = [[Branch([5, 6, 7], 1, weight=3.0)]]
    packed = pack_branches(branches, 4, left_out=(2, 10))
    assert packed.position_ids.tolist() == [[0, 1, 12, 13, 14, 15, 16]]
    assert packed.weights.tolist() == [[3, 3, 3]]


def test_rows_are_asked_for_what_a_region_looks_like():
    torch.manual_seed(0)
    inside, head = torch.randn(20, 8), torch.rand(20, 12)
    heads = RowMeaning(16, ["cat", "dog"] * 10, (inside, head), torch.nn.Linear(12, 5), 0.05)
    assert heads.labels.tolist() == [0, 1] * 10
    terms = heads(torch.randn(20, 3, 16), inside, head, heads.labels)
    assert set(terms) == {"inside", "head", "teacher", "label"}
    assert all(torch.isfinite(term) for term in terms.values())
    names = {name.split(".")[0] for name, _ in heads.named_parameters()}
    assert names == set(terms)
