"""`python -m perceive_anything.cli`, the same as `perceive`."""

from __future__ import annotations

import sys

from perceive_anything.cli.app import main

sys.exit(main())
