"""The precision that suits a device, and options that make a model smaller or faster."""

import pytest
import torch
from skimage import data
from torch import nn

from perceive_anything import Perceiver, pipeline
from perceive_anything.errors import OptionError


@pytest.fixture
def no_loading(monkeypatch):
    """Options are checked first."""

    def load(*_):
        raise AssertionError("loaded")

    monkeypatch.setattr(pipeline, "load_folder", load)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"quantize": "int4"}, 'unknown quantize "int4".*Expected int8'),
        ({"quantize": ""}, "unknown quantize"),
        ({"quantize": "int8", "dtype": "bfloat16"}, "the model is bfloat16 on cpu.*float32"),
        ({"compile": True}, "compile needs CUDA, the model is on cpu.*cuda"),
    ],
)
@pytest.mark.usefixtures("no_loading")
def test_what_does_not_fit_is_refused_before_loading(settings, words):
    with pytest.raises(OptionError, match=f"(?s){words}") as caught:
        Perceiver.from_pretrained(**settings)
    assert caught.value.code == "unknown_option"
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.usefixtures("no_loading")
def test_int8_is_not_for_a_gpu(monkeypatch):
    monkeypatch.setattr(pipeline, "choose_device", lambda *_, **__: torch.device("cuda"))
    with pytest.raises(OptionError, match="the model is float32 on cuda"):
        Perceiver.from_pretrained(quantize="int8", dtype="float32")


@pytest.mark.parametrize(
    ("device", "has_bfloat16", "expected"),
    [
        ("cpu", True, torch.float32),
        ("cuda", True, torch.bfloat16),
        ("cuda", False, torch.float16),
        ("mps", True, torch.float16),
    ],
)
def test_the_precision_suits_the_device(monkeypatch, device, has_bfloat16, expected):
    def supported(including_emulation=True):
        assert not including_emulation  # an emulated bfloat16 is slower than float16
        return has_bfloat16

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert pipeline.choose_dtype(None, torch.device(device)) == expected
    assert pipeline.choose_dtype("bfloat16", torch.device(device)) == torch.bfloat16


def test_compile_reaches_the_trunk_and_the_language_model(monkeypatch):
    compiled = []
    monkeypatch.setattr(pipeline, "check_acceleration", lambda *_: None)
    monkeypatch.setattr(nn.Module, "compile", lambda self: compiled.append(self))
    model = Perceiver.from_pretrained(compile=True).model
    assert compiled == [model.sam.vision_encoder, model.language_model]


def test_the_trunk_of_nano_compiles_as_one_graph():
    pam = Perceiver.from_pretrained()
    trunk = pam.model.sam.vision_encoder.backbone
    graph = torch.compile(trunk, backend="eager", fullgraph=True)
    pixels = pam.processor.pixel_values([data.chelsea()])
    with torch.inference_mode():
        got, expected = graph(pixels), trunk(pixels)
    torch.testing.assert_close(
        got.last_hidden_state, expected.last_hidden_state, rtol=1e-3, atol=1e-3
    )
