"""The test lab: the hosts that Molecule makes, the role on them, and FTP between them."""

from __future__ import annotations

from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
