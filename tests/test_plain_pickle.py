"""Pickles of plain data are read, in every layout; one that could run code is not."""

import collections
import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from perceive_anything.data.readers.plain_pickle import plain_pickle
from perceive_anything.errors import DataError

ROWS = [{"ann_id": 3, "sentences": [{"raw": "the café"}], "ids": (1, 2.5, None, True)}, ["a", {1}]]


class Trap:
    """What a pickle calls when it is read."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_of_every_protocol(tmp_path, protocol):
    rows = ROWS if protocol >= 4 else ROWS[:1]  # a set is a call before
    (tmp_path / "a.p").write_bytes(pickle.dumps(rows, protocol))
    assert plain_pickle(tmp_path / "a.p") == rows


@pytest.mark.parametrize("zipped", [True, False])
def test_what_torch_saved(tmp_path, zipped):
    rows = [("a.jpg", "7", [5, 4, 10, 6], "the red sign", [])]
    torch.save(rows, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    assert plain_pickle(tmp_path / "a.pth") == rows


def test_texts_of_python_2(tmp_path):
    (tmp_path / "a.p").write_bytes(b"\x80\x02]q\x01U\x05caf\xc3\xa9q\x02a.")
    assert plain_pickle(tmp_path / "a.p") == ["café"]


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("zipped", [False, True])
def test_a_pickle_that_would_run_code_does_not(tmp_path, protocol, zipped):
    sprung = tmp_path / "sprung"
    trap = pickle.dumps([{"split": "train"}, Trap(sprung)], protocol)
    if zipped:
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            archive.writestr("archive/data.pkl", trap)
        trap = stream.getvalue()
    (tmp_path / "a.p").write_bytes(trap)
    with pytest.raises(DataError, match="could run code") as caught:
        plain_pickle(tmp_path / "a.p")
    assert caught.value.code == "bad_record"
    assert not sprung.exists()
    pickle.loads(pickle.dumps(Trap(sprung)))  # the trap is one
    assert sprung.exists()


@pytest.mark.parametrize("value", [np.zeros(3), collections.OrderedDict(a=1), print, complex(1, 2)])
def test_classes_are_refused_even_if_harmless(tmp_path, value):
    (tmp_path / "a.p").write_bytes(pickle.dumps(value))
    with pytest.raises(DataError, match="Write what it holds as JSON"):
        plain_pickle(tmp_path / "a.p")


@pytest.mark.parametrize(
    "content", [b"", b"nonsense", b"\x80\x04", b"PK\x03\x04", b"\x80\x02\x8a\xff"]
)
def test_damage_is_told(tmp_path, content):
    (tmp_path / "a.p").write_bytes(content)
    with pytest.raises(DataError, match="cannot be read as plain data"):
        plain_pickle(tmp_path / "a.p")
