"""Captions against people's: what counts as a picture, and the score where its library is there."""

from dataclasses import replace

import pytest

from pack_fixtures import make_packs
from perceive_anything import Perceiver
from perceive_anything.data.packs import read_packs
from perceive_anything.errors import MissingExtraError
from perceive_anything.evaluation import captions


def test_the_library_is_asked_for(tmp_path):
    try:
        import pycocoevalcap  # noqa: F401
    except ModuleNotFoundError:
        with pytest.raises(MissingExtraError, match=r"perceive-anything\[eval\]"):
            captions.evaluate_captions(None, [])


def test_one_large_region_of_each_captioned_picture_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(captions, "require_package", lambda *args, **kwargs: None)
    seen = []
    monkeypatch.setattr(captions, "cider", lambda people, said: seen.append((people, said)) or 0.5)
    record = next(read_packs(make_packs(tmp_path), ["room"]))
    spoken = replace(record, captions=("A CAT, on a chair!",))
    silent = replace(record, id="silent", captions=())
    pam = Perceiver.from_pretrained()
    numbers = captions.evaluate_captions(pam, [spoken, silent])
    (people, said), (_, template) = seen
    assert numbers == {"images": 1, "cider": 0.5, "cider_template": 0.5}
    assert people == {record.id: ["a cat on a chair"]}
    assert said[record.id][0]
    assert template[record.id][0].startswith("a ")


def test_the_score_is_that_of_the_library():
    pytest.importorskip("pycocoevalcap")
    people = {str(i): [f"a {word} on a mat", f"the {word}"] for i, word in enumerate("abcd")}
    right = {key: [texts[0]] for key, texts in people.items()}
    wrong = {key: ["nothing at all"] for key in people}
    assert captions.cider(people, right) > 2 > captions.cider(people, wrong) == 0
