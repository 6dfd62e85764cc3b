"""Released checkpoints: found, checked, loaded and written in our layout; broken ones are named."""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from fixture_checkpoint import SAM_PREFIX, write_checkpoint, write_shards
from safetensors.torch import load_file, save_file
from transformers import Sam2VideoConfig, Sam2VideoModel

from conftest import FIXTURE
from perceive_anything import Box, Perceiver
from perceive_anything.cli.app import main
from perceive_anything.errors import ModelError, OptionError
from perceive_anything.modeling import PamConfig, PamForConditionalGeneration
from perceive_anything.modeling.convert import open_original
from perceive_anything.modeling.convert.sizes import SIZES, sam_config_of_size, size_named
from perceive_anything.modeling.generation import generation_settings
from perceive_anything.modeling.loading import load_folder

PICTURE = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
NEWLINE = "model.semT_newline"
NO_MEMORY = f"{SAM_PREFIX}no_mem_embed"


@pytest.fixture
def broken(tmp_path, released):
    """A copy to be damaged."""
    return shutil.copytree(released, tmp_path / "pam")


@pytest.fixture(scope="module")
def without_sam(tmp_path_factory, state):
    """A folder as released, and SAM 2's tensors under their own names."""
    folder = tmp_path_factory.mktemp("without_sam")
    write_checkpoint(
        FIXTURE, folder, {k: v for k, v in state.items() if not k.startswith(SAM_PREFIX)}
    )
    sam = {k.removeprefix(SAM_PREFIX): v for k, v in state.items() if k.startswith(SAM_PREFIX)}
    return folder, sam


@pytest.fixture(scope="module")
def expected(released):
    return Perceiver.from_pretrained(released).model.state_dict()


def no_hub(hub_id):
    raise ModelError(f"asked the hub for {hub_id}", code="unknown_model")


def assert_same(model, expected):
    state = model.state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in state.items())


def test_the_released_folder_answers(released):
    pam = Perceiver.from_pretrained(released)
    regions = pam.image(PICTURE).perceive(
        [Box(3, 4, 40, 50), Box(1, 1, 70, 50)], tasks=["recognize", "explain"], max_new_tokens=4
    )
    assert [region.mask.shape for region in regions] == [(60, 80)] * 2
    assert all(isinstance(region.explanation, str) for region in regions)


@pytest.mark.parametrize("kind", ["pt", "safetensors", "folder", "transformers"])
def test_sam2_from_elsewhere(kind, without_sam, expected, tmp_path):
    folder, sam = without_sam
    place = tmp_path / "sam2"
    place.mkdir()
    if kind == "transformers":
        config = open_original(folder, write_pt(sam, place), no_hub).config.sam_config
        save_sam2_of_transformers(config, expected, tmp_path / "hub")
        given = tmp_path / "hub"
    elif kind == "safetensors":
        given = place / "weights.safetensors"
        save_file({name: tensor.contiguous() for name, tensor in sam.items()}, given)
    else:
        given = write_pt(sam, place)
        given = given if kind == "pt" else place
    assert_same(Perceiver.from_pretrained(folder, sam2=given).model, expected)


def write_pt(sam, folder):
    torch.save({"model": sam}, folder / "sam2.1_hiera_large.pt")
    return folder / "sam2.1_hiera_large.pt"


def save_sam2_of_transformers(config, expected, folder):
    """With one copy of the position matrix, as the hub's files have it."""
    model = Sam2VideoModel(Sam2VideoConfig.from_dict(config.to_dict()))
    model.load_state_dict(
        {k.removeprefix("sam."): v for k, v in expected.items() if k.startswith("sam.")}
    )
    model.save_pretrained(folder)
    weights = load_file(folder / "model.safetensors")
    weights.pop("prompt_encoder.shared_embedding.positional_embedding")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def test_sam2_given_by_hand_goes_before_the_folder_s_own(released, without_sam, tmp_path):
    changed = dict(without_sam[1])
    changed["no_mem_embed"] = changed["no_mem_embed"] + 1
    model = Perceiver.from_pretrained(released, sam2=write_pt(changed, tmp_path)).model
    assert torch.equal(model.sam.no_memory_embedding, changed["no_mem_embed"])


def test_sam2_that_is_nowhere_comes_from_the_hub(without_sam):
    with pytest.raises(ModelError, match="asked the hub for facebook/sam2.1-hiera-large") as told:
        load_folder(without_sam[0], torch.float32, None, no_hub)
    assert "Give sam2 (--sam2)" in str(told.value)
    with pytest.raises(ModelError, match="asked the hub for facebook/sam2.1-hiera-small"):
        load_folder(without_sam[0], torch.float32, "small", no_hub)


def test_a_yaml_gives_only_the_configuration(released, without_sam, expected):
    yaml = FIXTURE / "sam2_config.yaml"
    assert_same(Perceiver.from_pretrained(released, sam2=yaml).model, expected)
    with pytest.raises(ModelError, match=r'there is no file "sam2.1_hiera_l.pt"'):
        Perceiver.from_pretrained(released, sam2="sam2.1_hiera_l.pt")
    with pytest.raises(ModelError, match="a yaml is only the configuration"):
        Perceiver.from_pretrained(without_sam[0], sam2=yaml)


# Millions of parameters as SAM 2's README publishes them.
@pytest.mark.parametrize(
    ("size", "millions"), [("tiny", 38.9), ("small", 46.0), ("base-plus", 80.8), ("large", 224.4)]
)
def test_the_published_sizes(size, millions):
    with torch.device("meta"):
        model = Sam2VideoModel(sam_config_of_size(size))
    count = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    assert count == pytest.approx(millions, abs=0.1)


def test_size_names():
    names = (
        "sam2.1_hiera_tiny.pt",
        "meta/sam2.1_hiera_small",
        "sam2.1_hiera_base_plus.pt",
        "large",
    )
    assert tuple(size_named(name) for name in names) == SIZES
    assert size_named("weights.pt") is None


def test_a_size_that_does_not_fit_the_weights(released):
    with pytest.raises(ModelError, match=r"wrong shape: .*expected \[1, 144, 7, 7\]"):
        Perceiver.from_pretrained(released, sam2="large")


@pytest.mark.parametrize("name", [NEWLINE, NO_MEMORY])
def test_a_missing_tensor(broken, state, name):
    left = {k: v for k, v in state.items() if k != name}
    placed = json.loads((broken / "model.safetensors.index.json").read_text("utf-8"))["weight_map"]
    write_shards(left, broken)
    with pytest.raises(ModelError, match=f"1 missing: {name} \\(expected in one of the shards"):
        Perceiver.from_pretrained(broken)
    index = {"weight_map": placed}
    (broken / "model.safetensors.index.json").write_text(json.dumps(index), "utf-8")
    with pytest.raises(ModelError, match=f"{name} \\(expected in {placed[name]}\\)"):
        Perceiver.from_pretrained(broken)


def test_a_missing_tensor_of_sam2_s_own_file(without_sam, tmp_path):
    folder, sam = without_sam
    left = {name: tensor for name, tensor in sam.items() if name != "no_mem_embed"}
    with pytest.raises(ModelError, match=r"no_mem_embed \(expected in .*sam2.1_hiera_large.pt\)"):
        Perceiver.from_pretrained(folder, sam2=write_pt(left, tmp_path))


def test_a_tensor_of_the_wrong_shape(broken, state):
    write_shards(state | {NEWLINE: torch.zeros(3)}, broken)
    with pytest.raises(
        ModelError, match=rf"{NEWLINE} is \[3\] in model-0000\d-of-00002.safetensors"
    ):
        Perceiver.from_pretrained(broken)


def test_a_tensor_that_belongs_nowhere(broken, state):
    write_shards(state | {"model.surprise": torch.zeros(3)}, broken)
    with pytest.raises(ModelError, match=r"1 unexpected: model.surprise in model-0000"):
        Perceiver.from_pretrained(broken)


@pytest.mark.parametrize("keep", [0.6, 30, 4])
def test_a_truncated_shard(broken, keep):
    shard = broken / "model-00002-of-00002.safetensors"
    content = shard.read_bytes()
    shard.write_bytes(content[: int(keep * len(content)) if keep < 1 else keep])
    with pytest.raises(ModelError, match="model-00002-of-00002.safetensors is damaged") as caught:
        Perceiver.from_pretrained(broken)
    says = r"inside \S+ \(\d+ of \d+ tensors are cut off\)" if keep < 1 else "no whole header"
    assert caught.match(says)


def test_a_missing_shard(broken):
    (broken / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ModelError, match="model-00002-of-00002.safetensors is missing"):
        Perceiver.from_pretrained(broken)


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path(self.target),))


def test_a_pickle_that_runs_code_is_not_run(without_sam, tmp_path):
    evil, touched = Evil(), tmp_path / "touched"
    evil.target = str(touched)
    file = tmp_path / "sam2.1_hiera_large.pt"
    torch.save({"model": without_sam[1], "more": evil}, file)
    with pytest.raises(ModelError, match=r"sam2.1_hiera_large.pt was not read.*could run code"):
        Perceiver.from_pretrained(without_sam[0], sam2=file)
    assert not touched.exists()
    torch.load(file, weights_only=False)  # noqa: TID251 - the trap itself works
    assert touched.exists()


def test_a_file_that_is_no_checkpoint(without_sam, tmp_path):
    file = tmp_path / "sam2.1_hiera_large.pt"
    file.write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(ModelError, match=r"sam2.1_hiera_large.pt (was not read|holds no state)"):
        Perceiver.from_pretrained(without_sam[0], sam2=file)
    torch.save([torch.zeros(2)], file)
    with pytest.raises(ModelError, match="holds no state dict"):
        Perceiver.from_pretrained(without_sam[0], sam2=file)


def test_weights_that_are_only_pickled(broken):
    for shard in broken.glob("*.safetensors*"):
        shard.unlink()
    torch.save({}, broken / "pytorch_model.bin")
    with pytest.raises(ModelError, match="holds no safetensors weights, only pytorch_model.bin"):
        Perceiver.from_pretrained(broken)


def test_no_tokenizer(broken):
    (broken / "tokenizer.json").unlink()
    with pytest.raises(
        ModelError, match=r"holds no tokenizer, expected tokenizer.json or vocab.json"
    ):
        Perceiver.from_pretrained(broken)


def test_a_tokenizer_of_another_model(broken):
    tokenizer = json.loads((broken / "tokenizer.json").read_text("utf-8"))
    tokenizer["added_tokens"] = tokenizer["added_tokens"][:1]
    (broken / "tokenizer.json").write_text(json.dumps(tokenizer), "utf-8")
    (broken / "tokenizer_config.json").unlink()
    with pytest.raises(ModelError, match=r"is not that of the model: it splits <\|im_start\|>"):
        Perceiver.from_pretrained(broken)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_a_damaged_json(broken, name):
    (broken / name).write_text('{"model_type": "llava_qwen', "utf-8")
    with pytest.raises(ModelError, match="cannot be (read|loaded)"):
        Perceiver.from_pretrained(broken)


def test_a_converted_folder_is_the_original(released, expected, tmp_path, capsys):
    target = tmp_path / "ours"
    assert main(["convert", str(released), str(target)]) == 0
    assert "the model is in" in capsys.readouterr().out
    model, report = PamForConditionalGeneration.from_pretrained(target, output_loading_info=True)
    assert_same(model, expected)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    pam, ours = Perceiver.from_pretrained(released), Perceiver.from_pretrained(target)
    inputs = pam.processor([PICTURE], [Box(3, 4, 40, 50)], task="explain")
    same = ours.processor([PICTURE], [Box(3, 4, 40, 50)], task="explain")
    assert all(torch.equal(inputs[name], same[name]) for name in inputs)
    with torch.inference_mode():
        assert torch.equal(pam.model(**inputs).logits, model(**inputs).logits)
    assert ours.model.language_model.generation_config.max_new_tokens == 512
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ours"]


def test_converting_to_bfloat16(released, tmp_path):
    target = tmp_path / "ours"
    assert main(["convert", str(released), str(target), "--dtype", "bfloat16"]) == 0
    stored = load_file(target / "model.safetensors")
    kept = {name for name, tensor in stored.items() if tensor.dtype == torch.float32}
    assert all(name.endswith("positional_embedding") for name in kept)
    assert len(kept) == 3
    original = Perceiver.from_pretrained(released, dtype="bfloat16").model.state_dict()
    assert_same(Perceiver.from_pretrained(target, dtype="bfloat16").model, original)
    assert PamConfig.from_pretrained(target).dtype == torch.bfloat16


def test_shards_are_written_one_by_one(released, expected, tmp_path, monkeypatch):
    monkeypatch.setattr("perceive_anything.modeling.convert.write.SHARD_SIZE", "20MB")
    assert main(["convert", str(released), str(tmp_path / "ours")]) == 0
    assert len(list((tmp_path / "ours").glob("model-*.safetensors"))) > 2
    assert_same(PamForConditionalGeneration.from_pretrained(tmp_path / "ours"), expected)


def test_nothing_is_left_of_a_conversion_that_failed(broken, tmp_path, monkeypatch, capsys):
    def stop(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("perceive_anything.modeling.convert.write.save_file", stop)
    before = sorted(tmp_path.iterdir())
    assert main(["convert", str(broken), str(tmp_path / "ours")]) == 2
    assert "cannot be written: No space left" in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before


def test_convert_refuses(released, tmp_path, capsys):
    assert main(["convert", str(released), str(released)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert main(["convert", "nano", str(tmp_path / "x")]) == 2
    assert "needs no conversion" in capsys.readouterr().err
    assert main(["convert", str(released), str(tmp_path / "x"), "--dtype", "int8"]) == 2
    assert "unknown dtype" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_sam2_for_a_model_that_has_one():
    with pytest.raises(OptionError, match="has a SAM 2 of its own"):
        Perceiver.from_pretrained("nano", sam2="large")


def test_our_own_layout_is_whole_or_an_error(released, tmp_path):
    target = tmp_path / "ours"
    assert main(["convert", str(released), str(target)]) == 0
    weights = load_file(target / "model.safetensors")
    save_file(
        {k: v for k, v in weights.items() if k != "frame_newline"},
        target / "model.safetensors",
        {"format": "pt"},
    )
    with pytest.raises(ModelError, match="1 missing, such as frame_newline in model.safet"):
        Perceiver.from_pretrained(target)
    weights["frame_newline"] = torch.zeros(3)
    save_file(weights, target / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match="1 of the wrong shape, such as frame_newline in"):
        Perceiver.from_pretrained(target)
    content = (target / "model.safetensors").read_bytes()
    (target / "model.safetensors").write_bytes(content[:-5000])
    with pytest.raises(ModelError, match=r"model.safetensors is damaged: it ends after"):
        Perceiver.from_pretrained(target)


def test_the_folder_s_own_generation_settings_count(broken, tmp_path):
    own = {"eos_token_id": [5, 7], "repetition_penalty": 1.1, "temperature": 0.7, "top_p": 0.8}
    (broken / "generation_config.json").write_text(json.dumps(own), "utf-8")
    assert main(["convert", str(broken), str(tmp_path / "ours")]) == 0
    for folder in (broken, tmp_path / "ours"):
        pam = Perceiver.from_pretrained(folder)
        settings = generation_settings(pam.model, pam.processor, "caption")
        end = pam.processor.tokenizer.convert_tokens_to_ids("<|im_end|>")
        assert settings.eos_token_id == sorted({5, 7, end})
        assert (settings.repetition_penalty, settings.max_new_tokens) == (1.1, 512)
        assert (settings.do_sample, settings.temperature, settings.top_p) == (False, None, None)
