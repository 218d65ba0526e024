"""What passed, for docs/topologies.md."""

from __future__ import annotations

import os
from collections import defaultdict
from itertools import product

from lab import PROJECT
from lab.ftp import WAYS, Way
from lab.kinds import KINDS
from lab.topologies import TOPOLOGIES

DOCUMENT = PROJECT / "docs/topologies.md"
# All, unless some are named.
TRIED = os.environ.get("TOPOLOGIES_KINDS", " ".join(KINDS)).split()
PLACES = list(product(TRIED, TOPOLOGIES))
# By who filters, where, and the way: the operations that passed with each ftp_mode.
PASSED: dict[tuple[str, str, Way], dict[str, list[str]]] = defaultdict(dict)

MODES = ("both", "active", "passive")
INTRODUCTION = """\
# Who filters, and what passes

The same inputs on hosts where iptables, native nftables rules or firewalld filter. Each host drops in every direction
what no rule accepts, and nothing of FTP passes before the role. `make topologies` writes this page, and `make proof`
fails where it finds anything else. Attacks on the same hosts are in [security.md](security.md).

A cell has what passed with `ftp_mode: both`, `active` and `passive`: D a download, U an upload, L a listing, - nothing.
"""


def document() -> str:
    """Return the page."""
    rows = [["who filters", "where", *(f"{way.command} IPv{way.ip_version}, {way.mode}" for way in WAYS)]]
    for kind, topology in PLACES:
        found = [PASSED[kind, topology.name, way] for way in WAYS]
        rows.append([kind, topology.name, *(", ".join(letters(each[mode]) for mode in MODES) for each in found)])
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([INTRODUCTION, lines[0], "|---" * len(rows[0]) + "|", *lines[1:], ""])


def letters(operations: list[str]) -> str:
    """Return the first letters of operations."""
    return "".join(name[0].upper() for name in operations) or "-"
