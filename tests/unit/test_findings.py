"""What is found has an id, which the documentation lists."""

from __future__ import annotations

import json
import os
import re
import textwrap
from collections.abc import Mapping
from pathlib import Path

import pytest
from ansible_collections.hostfw.conntrack.plugins.module_utils._diagnosis import _causes
from ansible_collections.hostfw.conntrack.plugins.module_utils._diagnosis._findings import (
    CONFLICTS,
    LEFTOVERS,
    MESSAGES,
    WARNINGS,
    Finding,
)
from ansible_collections.hostfw.conntrack.plugins.plugin_utils._diagnosis import OF_HOSTS, OF_TRIALS

PROJECT = Path(__file__).resolve().parents[2]
DOCUMENT = PROJECT / "docs/troubleshooting.md"
HEADING = "## Every finding by its id"
INTRODUCTION = (
    "Ids stay as they are from release to release, so that playbooks may act on them. Words in *italics* are the "
    "host's own. The findings of ftp_check stand in the sections above."
)
ROWS = {row.id: f"{row.cause} {row.cure}" for row in (*_causes.ROWS, _causes.NOT_CLOSED)}
SECTIONS: dict[str, tuple[str, Mapping[str, str]]] = {
    "Conflicts of the role": ("RV(conflicts) of ftp_plan: the role stops, and has changed nothing.", CONFLICTS),
    "Warnings of the role": ("RV(findings) of ftp_plan: the role goes on.", WARNINGS),
    "Leftovers of other recipes": (
        "RV(leftovers) of ftp_info: advice that ftp_check shows; [migration.md](migration.md) has the order.",
        LEFTOVERS,
    ),
    "Causes that the probe names": ("RV(id) of each of RV(probes) of ftp_probe.", ROWS),
}


def listed() -> str:
    """Return the list of all findings, as the document has it."""
    lines = [
        HEADING,
        "",
        INTRODUCTION,
    ]
    for title, (words, messages) in SECTIONS.items():
        lines += ["", f"### {title}", "", re.sub(r"RV\((\w+)\)", r"`\1`", words), ""]
        for name, message in messages.items():
            said = re.sub(r"\{(\w+)[^}]*\}", lambda fact: f"*{fact[1].replace('_', ' ')}*", message)
            lines.append(f"- `{name}`: {' '.join(said.split())}")
    wrapped = [wrap(line) or [""] for line in lines]
    return "\n".join(line for part in wrapped for line in part) + "\n"


def wrap(line: str) -> list[str]:
    """Return the lines that a line fills."""
    return textwrap.wrap(line, 120, subsequent_indent="  " * line.startswith("- "), break_on_hyphens=False)


def test_troubleshooting_lists_every_finding() -> None:
    before, _heading, _rest = DOCUMENT.read_text(encoding="utf-8").partition(f"\n{HEADING}")
    if os.environ.get("UPDATE_GOLDEN"):
        DOCUMENT.write_text(f"{before}\n{listed()}", encoding="utf-8")
    assert DOCUMENT.read_text(encoding="utf-8") == f"{before}\n{listed()}"


def test_migration_says_what_to_do_with_every_leftover() -> None:
    rows = re.findall(r"^\| .* \|$", (PROJECT / "docs/migration.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(name for row in rows for name in re.findall(r"`([a-z-]+)`", row.split(" | ")[-1])) == sorted(
        LEFTOVERS
    )


def test_ids_are_unique_and_in_one_form() -> None:
    names = [*MESSAGES, *ROWS, *(each.id for each in (*OF_HOSTS, *OF_TRIALS))]
    assert sorted(set(names)) == sorted(names)
    assert not [name for name in names if not re.fullmatch("[a-z0-9]+(-[a-z0-9]+)*", name)]


def test_finding_is_what_it_says() -> None:
    found = Finding("port-sent-on", program="iptables", port="21", to="2121", chain="INPUT", rule="-A PREROUTING")
    assert found == (
        "iptables sends port 21 to port 2121, which ftp_control_ports does not have, so INPUT drops it: -A PREROUTING; "
        "add 2121 to ftp_control_ports"
    )
    assert json.loads(json.dumps(found.report())) == {"id": found.id, "facts": found.facts, "message": str(found)}


def test_fact_that_is_missing_is_an_error() -> None:
    with pytest.raises(KeyError):
        Finding("port-sent-on", program="iptables")


def test_every_finding_is_made_somewhere() -> None:
    code = "".join(path.read_text(encoding="utf-8") for path in (PROJECT / "plugins").rglob("*.py"))
    assert [name for name in MESSAGES if code.count(f'"{name}"') < 2] == []
