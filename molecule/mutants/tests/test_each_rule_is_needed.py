"""Leave out each rule in turn: something that must pass does not.

Those of table mangle are the guard; the scenario attacks leaves out each of them.
"""

from __future__ import annotations

import shlex

import pytest
from lab.ftp import BLOCKED_SECONDS, SECONDS, WAYS, narrow_status, narrow_transfer, transfer
from lab.hosts import PROGRAM, Lab

server, client, router = (Lab().host(name).shell for name in ("server", "client", "router"))
RULES = [
    (version, table, line)
    for version, program in PROGRAM.items()
    for table in ("raw", "filter")
    for line in server.check_output(f"{program}-save --table {table}").splitlines()
    if line.startswith("-A") and "hostfw.conntrack" in line
]


def failures(version: int, seconds: int) -> list[str]:
    """Return the first transfer that does not pass, with its reason."""
    for way in WAYS:
        if way.ip_version == version:
            for reason in (
                transfer(client, server, way, "download", seconds),
                narrow_transfer(client, server, router, way, seconds),
            ):
                if reason is not None:
                    return [f"{way}: {reason}"]
    reason = narrow_status(client, server, router, version, seconds)
    return [] if reason is None else [f"control connection: {reason}"]


def restore(version: int, table: str, line: str) -> None:
    """Run one line of iptables-restore."""
    lines = shlex.quote(f"*{table}\n{line}\nCOMMIT\n")
    server.check_output(f"echo {lines} | {PROGRAM[version]}-restore --noflush")


def test_there_are_rules() -> None:
    assert len(RULES) == 26


@pytest.mark.parametrize("version", PROGRAM)
def test_everything_passes_with_all_rules(version: int) -> None:
    assert failures(version, SECONDS) == []


@pytest.mark.parametrize(("version", "table", "line"), RULES, ids=[f"IPv{rule[0]} {rule[2]}" for rule in RULES])
def test_rule_is_needed(version: int, table: str, line: str) -> None:
    restore(version, table, line.replace("-A", "-D", 1))
    try:
        assert failures(version, BLOCKED_SECONDS)
    finally:
        restore(version, table, line)
