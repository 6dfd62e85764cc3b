"""The `perceive` command.

Importing this package loads no command and nothing heavy; see `app.py` for the table of commands.
"""

from __future__ import annotations

from perceive_anything.cli.app import main

__all__ = ["main"]
