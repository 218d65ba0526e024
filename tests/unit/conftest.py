"""Make the collection importable by its name."""

from __future__ import annotations

from pathlib import Path

import ansible_collections

ansible_collections.__path__.append(str(Path(__file__).resolve().parents[2] / ".cache/ansible_collections"))
