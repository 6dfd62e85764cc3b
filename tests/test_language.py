"""What keeps the language stages from learning their pictures by heart."""

import torch

from perceive_anything.modeling.segmenter import SeenRegions
from perceive_anything.training.language import Branch, drop_parts, mix_rows, pack_branches


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


def test_positions_go_on_behind_what_is_left_out():
    branches = [[Branch([5, 6, 7], 1, weight=3.0)]]
    packed = pack_branches(branches, 4, left_out=(2, 10))
    assert packed.position_ids.tolist() == [[0, 1, 12, 13, 14, 15, 16]]
    assert packed.weights.tolist() == [[3, 3, 3]]
