"""Where a number comes from: hardware, versions and, in a checkout, the commit."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("perceive-anything", "torch", "transformers")


def provenance() -> dict[str, Any]:
    """`hardware`, `versions` and `commit` (None outside a checkout) for a report."""
    here = Path(__file__).parent
    asked = subprocess.run(
        ["git", "-C", str(here), "rev-parse", "--short", "HEAD"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "hardware": {
            "machine": platform.machine(),
            "cpu": cpu_name(),
            "threads": torch.get_num_threads(),
            "gpu": gpu,
        },
        "versions": versions_of(PACKAGES),
        "commit": asked.stdout.strip() or None,
    }


def versions_of(names: Iterable[str]) -> dict[str, str]:
    """Versions of those packages that are installed."""
    found = {}
    for name in names:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def cpu_name() -> str:
    """The processor's name as Linux gives it, else what Python knows."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text("utf-8").splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
