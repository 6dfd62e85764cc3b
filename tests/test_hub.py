"""Models by name: the local cache, a hub that is away, and what `perceive models` says of both."""

import time

import pytest
from huggingface_hub import constants

from perceive_anything import hub
from perceive_anything.cli.app import main
from perceive_anything.errors import ModelError

PAM_3B = "Perceive-Anything/PAM-3B"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache and a hub that refuses connections."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "ENDPOINT", "https://127.0.0.1")
    return tmp_path


def put_in_cache(cache, hub_id, files):
    repository = cache / f"models--{hub_id.replace('/', '--')}"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40, "utf-8")
    for name, content in files.items():
        (snapshot / name).write_bytes(content)
    return snapshot


def test_a_hub_that_is_away_is_one_clear_error():
    start = time.perf_counter()
    with pytest.raises(ModelError, match="neither a folder nor in the local cache") as caught:
        hub.find_folder(PAM_3B)
    assert time.perf_counter() - start < hub.HUB_TIMEOUT_S + 1
    assert len(str(caught.value).splitlines()) == 2
    assert caught.value.code == "unknown_model"


def test_offline_mode_asks_nobody(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("asked the network")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub.socket, "create_connection", refuse)
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE is set"):
        hub.find_folder(PAM_3B)


def test_a_cached_model_is_found_without_the_hub(cache):
    snapshot = put_in_cache(cache, PAM_3B, {"config.json": b"{}"})
    assert hub.find_folder(PAM_3B) == snapshot


@pytest.mark.parametrize("name", ["no-such-model", "./no/such", "a/b/c"])
def test_names_that_are_no_models(name):
    with pytest.raises(ModelError, match=f'there is no model "{name}"'):
        hub.find_folder(name)


def test_the_list_of_models(cache, capsys):
    assert main(["models"]) == 0
    text = capsys.readouterr().out
    assert "nano (default)" in text
    assert "Qwen research licence (Qwen2.5-3B: no commercial use)" in text
    assert f"not on this machine; get it with: hf download {PAM_3B}" in text
    snapshot = put_in_cache(cache, PAM_3B, {"model.safetensors": bytes(200_000_000)})
    assert main(["models"]) == 0
    assert f"on this machine, 0.2 GB: {snapshot}" in capsys.readouterr().out


@pytest.mark.parametrize("model", hub.PUBLISHED, ids=lambda model: model.hub_id)
def test_the_listed_sizes_are_those_of_the_configurations(model):
    import torch

    from perceive_anything.modeling import PamConfig, PamForConditionalGeneration
    from perceive_anything.modeling.convert.sizes import sam_config_of_size

    hidden, layers, heads, inner = {
        "PAM-1.5B": (1536, 28, 12, 8960), "PAM-3B": (2048, 36, 16, 11008),
    }[model.hub_id.split("/")[1]]  # fmt: skip
    text = {
        "model_type": "qwen2", "vocab_size": 151936, "hidden_size": hidden,
        "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": 2,
        "intermediate_size": inner, "tie_word_embeddings": True,
    }  # fmt: skip
    config = PamConfig(sam_config=sam_config_of_size("large"), text_config=text)
    with torch.device("meta"):
        made = PamForConditionalGeneration(config)
    made.tie_weights()
    count = sum(parameter.numel() for parameter in made.parameters()) / 1e9
    assert count == pytest.approx(model.parameters_b, abs=0.006)
