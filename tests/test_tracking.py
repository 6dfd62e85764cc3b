"""The tracker: bounded memory, both directions, corrections; objects come and go."""

import pytest
import torch

from conftest import FIRST, FRAMES, SECOND, SIZE_WH
from perceive_anything import Perceiver, Points
from perceive_anything.modeling.tracking import Tracker, last_seen


@pytest.fixture(scope="module")
def pam(released):
    return Perceiver.from_pretrained(released)


@pytest.fixture(scope="module")
def pixels(pam):
    return [pam.processor.pixel_values([frame]) for frame in FRAMES]


def tensors(pam, prompt):
    return pam.processor.prompt_tensors([prompt], [SIZE_WH])


def assert_equal(ours, expected):
    assert ours.tensors().keys() == expected.tensors().keys()
    for name, values in ours.tensors().items():
        assert torch.equal(values, getattr(expected, name)), name


def test_positions_are_the_library_s_and_made_once(pam):
    positions = pam.model.sam.vision_encoder.neck.position_encoding
    shape = torch.Size((3, 256, 16, 16))
    made = positions(shape, "cpu", torch.float32)
    assert torch.equal(made, positions.made_by(shape, "cpu", torch.float32))
    assert positions(shape, "cpu", torch.float32).data_ptr() == made.data_ptr()
    half = positions(shape, "cpu", torch.bfloat16)
    assert torch.equal(half, made.to(torch.bfloat16))


def test_forgetting_old_frames_changes_no_bit(pam, pixels):
    seen = []
    for prune in (True, False):
        tracker = Tracker(pam.model.sam, prune=prune)
        tracker.add(0, 0, tensors(pam, FIRST))
        seen.append([tracker.push(i, pixels[i % 20])[0] for i in range(30)])
        kept = tracker._sessions[0].output_dict_per_obj[0]["non_cond_frame_outputs"]
        assert len(kept) == (16 if prune else 29)
        assert not tracker._sessions[0].processed_frames
    for pruned, whole in zip(*seen, strict=True):
        assert_equal(pruned, whole)


@pytest.fixture
def presence(pam, monkeypatch):
    """Memory is selected, and the object is where `presence["logit"]` is positive."""
    monkeypatch.setattr(pam.model.sam, "memory_selection", True)
    said = {"logit": 1.0}
    head = pam.model.sam.mask_decoder.pred_obj_score_head
    handle = head.register_forward_hook(lambda *call: torch.full_like(call[-1], said["logit"]))
    yield said
    handle.remove()


def test_what_was_seen_before_an_absence_is_remembered_after_it(pam, pixels, presence):
    pruned, whole = (Tracker(pam.model.sam, prune=prune) for prune in (True, False))
    for tracker in (pruned, whole):
        tracker.add(0, 0, tensors(pam, FIRST))
    for i in range(30):
        presence["logit"] = -1.0 if 6 <= i <= 25 else 1.0
        if i == 26:
            session = pruned._sessions[0]
            tracked = session.output_dict_per_obj[0]["non_cond_frame_outputs"]
            gathered = pam.model.sam._gather_memory_frame_outputs(session, 0, i)
            assert list(tracked) == [1, 2, 3, 4, 5, *range(10, 26)]
            assert [place for place, _ in gathered] == [0, 1, 2, 3, 4, 5]
            for frame, (_, output) in zip((5, 4, 3, 2, 1), gathered[1:], strict=True):
                assert output is tracked[frame]
        assert_equal(*(tracker.push(i, pixels[i % 20])[0] for tracker in (pruned, whole)))
    assert last_seen(tracked, 6) == [29, 28, 27, 26, 5, 4]


def test_backward_mirrors_forward(pam, pixels):
    forward, backward = Tracker(pam.model.sam), Tracker(pam.model.sam, reverse=True)
    forward.add(0, 0, tensors(pam, FIRST))
    backward.add(0, 9, tensors(pam, FIRST))
    for i in range(10):
        ahead = forward.push(i, pixels[i])[0]
        behind = backward.push(9 - i, pixels[i])[0]
        torch.testing.assert_close(ahead.mask_logits, behind.mask_logits, atol=1e-4, rtol=1e-4)


def test_a_frame_is_encoded_once_for_all_objects(pam, pixels):
    calls = []
    handle = pam.model.sam.vision_encoder.register_forward_hook(lambda *_: calls.append(1))
    tracker = Tracker(pam.model.sam)
    for number, prompt in enumerate((FIRST, SECOND, Points([(60, 100)]))):
        tracker.add(number, 0, tensors(pam, prompt))
    for i in range(4):
        assert sorted(tracker.push(i, pixels[i])) == [0, 1, 2]
    handle.remove()
    assert len(calls) == 4


def test_objects_come_and_go(pam, pixels):
    tracker, alone = Tracker(pam.model.sam), Tracker(pam.model.sam)
    tracker.add(5, 0, tensors(pam, FIRST))
    tracker.add(6, 0, tensors(pam, SECOND))
    alone.add(6, 0, tensors(pam, SECOND))
    for i in range(6):
        if i == 3:
            tracker.remove(5)
        seen, single = tracker.push(i, pixels[i]), alone.push(i, pixels[i])
        assert sorted(seen) == ([5, 6] if i < 3 else [6])
        assert_equal(seen[6], single[6])


def test_a_correction_is_followed_and_kept(pam, pixels):
    """The corrected frame uses memory and clicks, and stays a prompted frame for good."""
    plain, corrected = Tracker(pam.model.sam), Tracker(pam.model.sam)
    fresh = Tracker(pam.model.sam)
    for tracker in (plain, corrected):
        tracker.add(0, 0, tensors(pam, FIRST))
    clicks = tensors(pam, Points([(220, 60), (80, 120)], labels=[1, 0]))
    fresh.add(0, 3, clicks)
    for i in range(24):
        if i == 3:
            corrected.add(0, 3, clicks)
            started = fresh.push(i, pixels[i])[0]
        one, other = (t.push(i, pixels[i % 20])[0] for t in (plain, corrected))
        if i < 3:
            assert_equal(one, other)
        if i == 3:
            assert not torch.allclose(other.mask_logits, started.mask_logits, atol=1e-2)
        if i >= 3:
            assert not torch.allclose(one.mask_logits, other.mask_logits, atol=1e-2)
    kept = corrected._sessions[0].output_dict_per_obj[0]
    assert sorted(kept["cond_frame_outputs"]) == [0, 3]
    assert len(kept["non_cond_frame_outputs"]) == 16
