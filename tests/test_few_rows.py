"""Few rows from the other side: the plain layer's numbers, weights and gradients."""

import copy

import pytest
import torch
from torch import nn

import perceive_anything as pa
from perceive_anything.modeling.few_rows import MOST, FewRowsLinear, use_few_rows

WIDE, OUT = 48, 33


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1,), (2, 1), (3,), (4, 1), (5,), (2, 8), (MOST,), (MOST + 1,)])
def test_it_gives_what_the_plain_layer_gives(shape, bias):
    torch.manual_seed(0)
    plain = nn.Linear(WIDE, OUT, bias=bias)
    ours = copy.deepcopy(plain)
    use_few_rows(nn.ModuleList([ours]))
    assert type(ours) is FewRowsLinear
    x = torch.randn(*shape, WIDE)
    got, wanted = ours(x), plain(x)
    torch.testing.assert_close(got, wanted)
    assert got.is_contiguous()
    for layer, y in ((plain, wanted), (ours, got)):
        y.square().sum().backward()
        assert layer.weight.grad is not None
    torch.testing.assert_close(ours.weight.grad, plain.weight.grad)


def test_a_few_rows_take_the_other_side(monkeypatch):
    layer = nn.Linear(WIDE, OUT)
    use_few_rows(nn.Sequential(layer))
    seen, plain = [], torch.mm
    monkeypatch.setattr(torch, "mm", lambda a, b: seen.append(b.shape[1]) or plain(a, b))
    for count in (1, 2, 4, 5, 12, 64, 65):
        layer(torch.randn(count, WIDE))
    assert seen == [4, 4, 8, 16, 64]


def test_other_kinds_of_layers_and_shared_weights_stay():
    part = nn.ModuleDict({"mine": FewRowsLinear(2, 2), "bilinear": nn.Bilinear(2, 2, 2)})
    part["head"] = nn.Linear(2, 2)
    part["head"].weight = part["mine"].weight
    use_few_rows(part)
    assert type(part["bilinear"]) is nn.Bilinear
    assert part["head"].weight is part["mine"].weight


def test_a_loaded_model_has_them_where_they_help():
    model = pa.Perceiver.from_pretrained("nano", device="cpu").model
    layers = [module for module in model.language_model.modules() if isinstance(module, nn.Linear)]
    assert {type(layer) for layer in layers} == {FewRowsLinear}
    assert not any(isinstance(module, FewRowsLinear) for module in model.sam.modules())
    half = pa.Perceiver.from_pretrained("nano", device="cpu", dtype="bfloat16").model
    assert not any(isinstance(module, FewRowsLinear) for module in half.modules())
