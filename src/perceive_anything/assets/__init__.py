"""Files inside the package: the embedded model."""

from pathlib import Path

NANO = Path(__file__).parent / "nano"
