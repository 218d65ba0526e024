"""The test lab: the hosts that Molecule makes, the role on them, and FTP between them."""

from __future__ import annotations

from pathlib import Path

import ansible_collections

PROJECT = Path(__file__).resolve().parents[2]
# The tests compare the rules of a host with what the collection's code plans.
ansible_collections.__path__.append(str(PROJECT / ".cache/ansible_collections"))
