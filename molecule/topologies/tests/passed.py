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


def document(before: str) -> str:
    """Return the page, with the rows of before for who filters but was not tried."""
    heads = ["who filters", "where", *(f"{way.command} IPv{way.ip_version}, {way.mode}" for way in WAYS)]
    lines = [line(heads), "|---" * len(heads) + "|"]
    for kind in KINDS:
        if kind in TRIED:
            lines += [row(kind, topology.name) for topology in TOPOLOGIES]
        else:
            lines += [found for found in before.splitlines() if found.startswith(f"| {kind} |")]
    return "\n".join([INTRODUCTION, *lines, ""])


def row(kind: str, name: str) -> str:
    """Return what passed at one place."""
    found = [PASSED[kind, name, way] for way in WAYS]
    return line([kind, name, *(", ".join(letters(each[mode]) for mode in MODES) for each in found)])


def line(cells: list[str]) -> str:
    """Return a line of the table."""
    return f"| {' | '.join(cells)} |"


def letters(operations: list[str]) -> str:
    """Return the first letters of operations."""
    return "".join(name[0].upper() for name in operations) or "-"
