"""`perceive doctor`: what it finds and what it advises."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from perceive_anything.cli import doctor, main


def nano(folder: Path, *, digest: str | None = None) -> Path:
    """A folder that looks like the embedded model."""
    (folder / "model.safetensors").write_bytes(b"weights")
    if digest is not None:
        line = f"{digest}  model.safetensors\n"
        (folder / doctor.CHECKSUMS).write_text(line, encoding="utf-8")
    return folder


def levels(folder: Path) -> list[str]:
    """How serious the findings about nano are."""
    return [finding.level for finding in doctor._nano(folder)]


def test_nano_is_missing_unverified_damaged_or_fine(tmp_path: Path) -> None:
    assert levels(tmp_path) == ["bad"]
    assert levels(nano(tmp_path)) == ["ok", "note"]
    assert levels(nano(tmp_path, digest="0" * 64)) == ["ok", "bad"]
    assert levels(nano(tmp_path, digest=hashlib.sha256(b"weights").hexdigest())) == ["ok", "ok"]


@pytest.mark.parametrize(
    ("has_cuda", "has_mps", "expected"),
    [(True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_the_chosen_device_comes_with_its_reason(
    has_cuda: bool, has_mps: bool, expected: str
) -> None:
    chosen, why = doctor.chosen_device(has_cuda=has_cuda, has_mps=has_mps)
    assert chosen == expected
    assert why


def test_a_missing_package_names_its_command() -> None:
    finding = doctor._package("no-such-package-here")
    assert finding.level == "bad"
    assert "pip install" in finding.hint


@pytest.mark.parametrize(("level", "code"), [("ok", 0), ("note", 0), ("bad", 2)])
def test_only_what_is_bad_makes_it_fail(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], level: str, code: int
) -> None:
    found = [doctor.Finding(level, "the finding", "the hint")]  # type: ignore[arg-type]
    monkeypatch.setattr(doctor, "findings", lambda: iter(found))
    assert main(["doctor"]) == code
    assert "the hint" in capsys.readouterr().out


def test_the_report_names_versions_devices_drawing_font_and_nano() -> None:
    report = " ".join(finding.what for finding in doctor.findings())
    for word in ("python", "torch", "transformers", "av", "supervision", "cpu:", "cuda"):
        assert word in report
    for word in ("chosen device", "fast drawing", "Chinese font", "nano"):
        assert word in report
