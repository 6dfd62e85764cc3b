"""Reads MATLAB files, of which those since version 7.3 are HDF5.

Knows the two kinds of file; nothing of what is in them.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from perceive_anything.errors import require_package

__all__ = ["read_matlab"]


def read_matlab(path: Path, names: tuple[str, ...]) -> Mapping[str, np.ndarray]:
    """Arrays of a MATLAB file by name, with their dimensions in MATLAB's order.

    Args:
        path: The file.
        names: Which arrays; those that are not in it are left out.

    Raises:
        ValueError: It cannot be read.
        MissingExtraError: It is HDF5, and h5py is not installed.
    """
    with path.open("rb") as stream:
        is_hdf5 = b"\x89HDF\r\n\x1a\n" in stream.read(1024)
    if is_hdf5:  # dimensions are stored the other way round
        with require_package("h5py", extra="a2d").File(path, "r") as content:
            return {name: np.array(content[name]).T for name in names if name in content}
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    damage = (MatReadError, NotImplementedError, TypeError, IndexError, EOFError, zlib.error)
    try:
        found = loadmat(path)
    except damage as error:
        raise ValueError(f"it is no MATLAB file that SciPy reads: {error}") from error
    return {name: found[name] for name in names if name in found}
