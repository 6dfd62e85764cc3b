"""Peak memory of this process or of a GPU."""

from __future__ import annotations

import re
import resource
import sys
from pathlib import Path

import torch

CPU = torch.device("cpu")


def reset_peak(device: torch.device = CPU) -> None:
    """Forget the peak so far; without Linux or a GPU it stays that of the whole process."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        clear.write_text("5", "ascii")


def peak_mib(device: torch.device = CPU) -> float:
    """MiB: tensors on a GPU, else the largest resident set since `reset_peak`."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    status = Path("/proc/self/status")
    match = re.search(r"VmHWM:\s+(\d+)", status.read_text("ascii")) if status.exists() else None
    if match:
        return int(match[1]) / 2**10
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def resident_mib() -> float:
    """Resident set of this process now (Linux)."""
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * 4096 / 2**20
