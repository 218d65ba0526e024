"""Leave out each rule of the guard in turn: something passes that must not, or does not pass that must.

The mutants of the other tables are in the scenario of that name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
from ftp import WAYS
from lab import RELATED, STANDS, STRICT, Session, Shot, Stand, client, server
from saved import rules
from test_attacks import (
    Attack,
    Case,
    after_the_client_quit,
    after_the_server_quit,
    fire,
    forged_command,
    forged_reply,
    honest,
    low_port,
)

# What another tool does that overwrites marks with each packet, before the guard and after it.
WIPER = [f"mangle -I {chain} -j CONNMARK --set-xmark 0x0/0x30000000" for chain in ("PREROUTING", "POSTROUTING")]
# Where all is as it should be, the packets take milliseconds.
MUTANT_SECONDS = 1


REFUSED: tuple[tuple[Callable[[Session], Shot], str, str], ...] = (
    (low_port, "EPRT EPSV", "server client gateway"),
    (after_the_client_quit, "EPRT EPSV", "server client gateway"),
    (after_the_server_quit, "EPRT EPSV", "server client gateway"),
    (forged_reply, "EPSV", "gateway"),
    (forged_command, "EPRT", "gateway"),
)


def opens(ip_version: int) -> bool:
    """Tell whether a control connection comes about."""
    listener = server.control(ip_version)
    ends = client.address(ip_version), server.address(ip_version)
    connection = client.call("connect", ends[0], 0, ends[1], 21, MUTANT_SECONDS)
    if connection is not None:
        server.call("close", server.call("accept", listener), True)
        client.call("close", connection, True)
    return connection is not None


def wrong(stand: Stand, ip_version: int, aims: Iterable[tuple[Callable[[Session], Shot], str, str]]) -> list[str]:
    """Return what passes that must not, and what does not pass that must."""
    if not opens(ip_version):
        return ["no control connection"]
    cases = [
        Case(stand, RELATED, Attack(aim, commands, sides, expected=True, hole=()), way)
        for aim, commands, sides in aims
        if stand.side in sides.split()
        for way in WAYS
        if way.ip_version == ip_version and way.command in commands.split()
    ]
    found = fire(cases, MUTANT_SECONDS)
    return [str(case) for case, outcome in found.items() if outcome.error or outcome.hit != (case.attack.aim is honest)]


HONEST = (honest, "EPRT EPSV", "server client gateway")


def without(saved: list[str], ip_version: int, line: str) -> list[str]:
    """Return saved rules without one of table mangle."""
    found = list(saved)
    before, table, after = found[ip_version == 6].partition("*mangle\n")
    rules_of_mangle, commit, rest = after.partition("COMMIT")
    lines = [other for other in rules_of_mangle.splitlines() if other != line]
    found[ip_version == 6] = "\n".join([before + table.rstrip("\n"), *lines, commit + rest])
    return found


@pytest.mark.parametrize(
    ("stand", "ip_version"),
    [(stand, version) for stand in STANDS for version in (4, 6) if stand.side != "client" or version == 6],
    ids=str,
)
def test_each_rule_of_the_guard_is_needed(stand: Stand, ip_version: int) -> None:
    def goes_wrong(line: str) -> list[str]:
        stand.machine.guard(without(rules(stand, RELATED), ip_version, line))
        found = wrong(stand, ip_version, [HONEST, *REFUSED])
        if not found:
            stand.machine.guard(without(rules(stand, STRICT), ip_version, line))
            stand.machine.add(WIPER, [ip_version])
            found = wrong(stand, ip_version, [HONEST])
        return found

    assert goes_wrong("") == []
    mangle = rules(stand, RELATED)[ip_version == 6].partition("*mangle\n")[2].partition("COMMIT")[0]
    lines = [line for line in mangle.splitlines() if line.startswith("-A") and "hostfw.conntrack" in line]
    assert len(lines) == (20 if stand.side == "gateway" else 17)
    assert [line for line in lines if not goes_wrong(line)] == []
