"""`perceive doctor`: what it finds and what it advises."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

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


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Stands where the choice of the device is made."""
    module = ModuleType("perceive_anything.pipeline")
    monkeypatch.setitem(sys.modules, "perceive_anything.pipeline", module)
    return module


@pytest.mark.parametrize(
    ("fastest", "dtype", "why"),
    [
        ("cuda", "bfloat16", ("fastest", "the range of float32")),
        ("mps", "float16", ("fastest", "half the memory")),
        ("cpu", "float32", ("no GPU", "every CPU")),
    ],
)
def test_device_and_dtype_come_with_their_reasons(
    pipeline: ModuleType, fastest: str, dtype: str, why: tuple[str, ...]
) -> None:
    def choose_device(_: None, *, prefer_cpu: bool = False) -> SimpleNamespace:
        return SimpleNamespace(type="cpu" if prefer_cpu else fastest)

    def choose_dtype(_: None, device: SimpleNamespace) -> str:
        return "torch.float32" if device.type == "cpu" else f"torch.{dtype}"

    pipeline.choose_device = choose_device  # type: ignore[attr-defined]
    pipeline.choose_dtype = choose_dtype  # type: ignore[attr-defined]
    nano, others, _ = doctor._precision()
    assert (nano.level, others.level) == ("ok", "ok")
    for words in ("nano: on cpu", "small enough", "in float32", "every CPU"):
        assert words in nano.what
    for words in (f"other models: on {fastest}", f"in {dtype}", *why):
        assert words in others.what


def test_int8_is_there_or_not() -> None:
    there, missing = doctor._int8("x86"), doctor._int8(None)
    assert (there.level, missing.level) == ("ok", "note")
    assert "available (x86); --quantize int8" in there.what
    assert "none; this torch has" in missing.what
    assert "bfloat16" in missing.hint


def test_model_code_that_cannot_be_imported_is_bad(pipeline: ModuleType) -> None:
    assert not hasattr(pipeline, "choose_device")
    (finding,) = doctor._precision()
    assert finding.level == "bad"
    assert "cannot be imported" in finding.what


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
    for word in ("fast drawing", "Chinese font", "nano", "other models", "int8"):
        assert word in report
