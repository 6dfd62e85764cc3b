"""Compare this package with the stored answers of the released code: run.py FIXTURE_DIR...

Each fixture's checkpoint is rebuilt from its seed in the original layout and loaded by the
ordinary loader; every run in the folder is repeated. Exit code 0: all arrays within 1e-4, ids and
binary masks equal.
"""

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from fixture_checkpoint import fixture_state, read_json, write_checkpoint
from PIL import Image

from perceive_anything import Box, Perceiver, Points
from perceive_anything.modeling.processing import clip_frames
from perceive_anything.modeling.segmenter import RegionFeatures, stability_score
from perceive_anything.modeling.tracking import Tracker

TOLERANCE, MARGIN = 1e-4, 1e-3
OK, DIFFERS, UNKNOWN = "ok", "DIFFERS", "not compared: no such array here"
PLACEHOLDER = -200
OVERRIDE = "override:"
# Stored inputs, not answers.
GIVEN = ("input_ids", "visual_prompt", "vp_labels")
EXACT = ("generated_ids", "binary_masks", "selected_frames")


@dataclass(frozen=True)
class Line:
    """One compared array."""

    run: str
    name: str
    error: float
    verdict: str

    def __str__(self):
        return f"{self.run:16} {self.name:24} {self.error:9.2e}  {self.verdict}"

    @property
    def ok(self):
        return self.verdict != DIFFERS


def load_run(fixture, run):
    """Stored arrays of a run and the tensors it puts over the seeded weights."""
    arrays = {k: torch.from_numpy(v) for k, v in np.load(fixture / f"{run}.npz").items()}
    replaced = {k.removeprefix(OVERRIDE): v for k, v in arrays.items() if k.startswith(OVERRIDE)}
    return {k: v for k, v in arrays.items() if not k.startswith(OVERRIDE)}, replaced


def check_fixture(fixture, runs=None):
    """All comparisons of a fixture, run by run."""
    found = sorted(path.stem for path in fixture.glob("*.npz"))
    if not found:
        raise SystemExit(f"{fixture} holds no .npz runs")
    plain = None
    for run in runs or found:
        stored, replaced = load_run(fixture, run)
        if replaced:
            pam = load_checkpoint(fixture, replaced)
        else:
            pam = plain = plain or load_checkpoint(fixture)
        yield from check_run(pam, fixture, run, stored)


def load_checkpoint(fixture, replaced=None):
    """The fixture's model, by way of a folder in the original layout."""
    with tempfile.TemporaryDirectory() as folder:
        write_checkpoint(fixture, Path(folder), fixture_state(fixture, replaced))
        return Perceiver.from_pretrained(folder, device="cpu", dtype="float32")


@torch.inference_mode()
def check_run(pam, fixture, run, stored):
    """Repeat one run with a loaded model and compare all that is stored of it."""
    meta = read_json(fixture / "meta.json")
    margin = meta["runs"].get(run, {}).get("min_margin", 1.0)
    answer = video_answers if run.startswith("video") else image_answers
    ours = answer(pam, fixture, prompts_of(meta, run, stored), stored)
    stored = {name: value for name, value in stored.items() if name not in GIVEN}
    stride = ours["low_res_masks"].shape[-1] // stored["low_res_masks"].shape[-1]
    ours["low_res_masks"] = ours["low_res_masks"][..., ::stride, ::stride]
    certain = stored["low_res_masks"].abs() > TOLERANCE
    stored["binary_masks"] = (stored["low_res_masks"] > 0) & certain
    ours["binary_masks"] = (ours["low_res_masks"] > 0) & certain
    if "stability_score_mask0" in stored:  # a share of pixels: some may lie on its thresholds
        low, high = ours["stability_score_mask0"]
        ours["stability_score_mask0"] = stored["stability_score_mask0"].flatten().clamp(low, high)
    for name, expected in stored.items():
        if name not in ours:
            yield Line(run, name, float("nan"), UNKNOWN)
        else:
            yield compare(run, name, ours[name], expected, margin)


def compare(run, name, ours, expected, margin):
    expected = expected.to(torch.float64)
    if ours.numel() != expected.numel():
        return Line(run, f"{name} {tuple(ours.shape)}", float("inf"), DIFFERS)
    error = (ours.reshape(expected.shape).to(torch.float64) - expected).abs().max().item()
    if name in EXACT:
        return Line(run, name, error, OK if error == 0 or margin <= MARGIN else DIFFERS)
    return Line(run, name, error, OK if error <= TOLERANCE else DIFFERS)


def prompts_of(meta, run, stored):
    if "visual_prompt" in stored:
        labels = stored["vp_labels"].flatten()
        return [one_prompt(stored["visual_prompt"].tolist(), labels.int().tolist() or None)]
    return [one_prompt(*pair) for pair in zip(*meta["prompts"][run], strict=True)]


def one_prompt(prompt, labels):
    return Box(*prompt) if labels is None else Points(prompt, labels)


def image_answers(pam, fixture, prompts, stored):
    picture = read_picture(fixture / "image.png")
    features = pam.model.encode_image(pam.processor.pixel_values([picture]))
    tensors = pam.processor.prompt_tensors(prompts, [picture.shape[1::-1]])
    regions = pam.model.segment(features, tensors)
    rows = pam.model.visual_rows(regions)
    return {
        **region_answers(pam, regions),
        "iou": regions.iou[:, :1],
        "all4_iou": regions.iou,
        "semantic_tokens": rows[:, -17:-1],
        **text_answers(pam, rows, stored),
    }


def video_answers(pam, fixture, prompts, stored):
    pictures = [read_picture(path) for path in sorted((fixture / "frames").glob("*.png"))]
    tracker = Tracker(pam.model.sam)
    tracker.add(0, 0, pam.processor.prompt_tensors(prompts, [pictures[0].shape[1::-1]]))
    frames = [
        tracker.push(index, pam.processor.pixel_values([picture]))[0]
        for index, picture in enumerate(pictures)
    ]
    chosen = clip_frames(len(frames))
    parts = [frame.tensors() for frame in frames]
    whole = RegionFeatures(**{name: torch.cat([one[name] for one in parts]) for name in parts[0]})
    return {
        **region_answers(pam, whole),
        "selected_frames": torch.tensor(chosen),
        **text_answers(pam, pam.model.clip_rows([frames[index] for index in chosen]), stored),
    }


def region_answers(pam, regions):
    return {
        "low_res_masks": regions.mask_logits[:, None],
        "object_score_logits": regions.object_logit,
        "obj_ptr": pam.model.sam.object_pointer(regions),
        "stability_score_mask0": stability_bounds(pam.model.sam, regions.all_masks),
        "mid_mask_tokens_out": regions.mask_tokens,
        "mid_image_embed": regions.embedding,
        "mid_image_embed_sub": regions.embedding[:, :, ::4, ::4],
    }


def stability_bounds(sam, all_masks):
    """The scores if all pixels within the tolerance of a threshold fell on one side of it."""
    delta = sam.mask_decoder.dynamic_multimask_stability_delta
    return [stability_score(all_masks[:, 0], delta + shift) for shift in (TOLERANCE, -TOLERANCE)]


def text_answers(pam, rows, stored):
    model = pam.model
    embeds = model.splice(with_placeholders(stored["input_ids"], rows.shape[1]), rows)
    ids = model.language_model.generate(
        inputs_embeds=embeds,
        attention_mask=torch.ones(embeds.shape[:2], dtype=torch.long),
        max_new_tokens=stored["generated_ids"].shape[1],
        do_sample=False,
    )
    return {
        "inputs_embeds": embeds,
        "inputs_embeds_head": embeds[:, :24],
        "inputs_embeds_tail": embeds[:, -40:],
        "visual_tokens_rowmean": embeds.mean(-1),
        "last_logits": model.language_model(inputs_embeds=embeds).logits[:, -1],
        "generated_ids": ids,
    }


def with_placeholders(input_ids, num_rows):
    """The one placeholder of the released code -> one for each visual row."""
    rows = []
    for ids in input_ids:
        at = int((ids == PLACEHOLDER).nonzero())
        rows.append(torch.cat([ids[:at], torch.full((num_rows,), PLACEHOLDER), ids[at + 1 :]]))
    return torch.stack(rows)


def read_picture(path):
    return np.asarray(Image.open(path).convert("RGB"))


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("fixtures", nargs="+", type=Path, metavar="FIXTURE_DIR")
    lines = []
    for fixture in parser.parse_args(argv).fixtures:
        print(fixture)
        for line in check_fixture(fixture):
            lines.append(line)
            print(line, flush=True)
    differ = sum(not line.ok for line in lines)
    agree = sum(line.verdict == OK for line in lines)
    print(f"{agree} arrays agree, {differ} differ")
    return 1 if differ or not agree else 0


if __name__ == "__main__":
    sys.exit(main())
