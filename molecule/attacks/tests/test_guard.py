"""Leave out each rule of the guard in turn: something passes that must not, or does not pass that must.

The mutants of the other tables are in the scenario of that name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import count

import pytest
from aims import forged_command, forged_reply, honest, low_port
from lab.ftp import WAYS
from saved import Inputs, rules
from sessions import RELATED, STRICT, TOPOLOGIES, Machine, Session, Shot, Topology, client, server, volley

Aim = Callable[[Session], Shot]

# What another tool does that overwrites marks with each packet, before the guard and after it.
WIPER = [
    f"{chain} -j CONNMARK --set-xmark 0x0/0x30000000"
    for chain in ("mangle -I PREROUTING", "mangle -I POSTROUTING", "security -A INPUT")
]
# With any data port, what one flow lets in would cover another.
INPUTS = Inputs("data port 20", (("ftp_data_port", "20"),))
# Where all is as it should be, the kernel takes milliseconds, and a program on a busy machine some more.
KERNEL_SECONDS = 1
PROGRAM_SECONDS = 3
source_ports = count(20000)
GREETING = (server, "220 ready\r\n"), (client, "USER anonymous\r\n"), (server, "230 welcome\r\n")


def after_one_end_quit(session: Session, machine: Machine) -> Shot:
    """One end closes the control connection, and the other does not."""
    shot = honest(session)
    machine.call("close", session.ends.pop(machine), False)
    return shot


def after_the_client_alone_quit(session: Session) -> Shot:
    return after_one_end_quit(session, client)


def after_the_server_alone_quit(session: Session) -> Shot:
    return after_one_end_quit(session, server)


REFUSED: tuple[tuple[Aim, str, str], ...] = (
    (low_port, "EPRT EPSV", "server client gateway"),
    (after_the_client_alone_quit, "EPRT EPSV", "server client gateway"),
    (after_the_server_alone_quit, "EPRT EPSV", "server client gateway"),
    (forged_reply, "EPSV", "gateway"),
    (forged_command, "EPRT", "gateway"),
)


def anew_from_the_same_port(session: Session) -> Shot:
    """The server resets the control connection, and the client begins another from the same port."""
    session.close(server, reset=True)
    session.open()
    assert all(session.arrives(speaker, [line], PROGRAM_SECONDS) for speaker, line in GREETING)
    return honest(session)


HONEST: tuple[tuple[Aim, str, str], ...] = (
    (honest, "EPRT EPSV", "server client gateway"),
    (anew_from_the_same_port, "EPRT EPSV", "server client"),
)


def opens(ip_version: int) -> bool:
    """Tell whether a control connection comes about."""
    listener = server.control(ip_version)
    ends = client.address(ip_version), server.address(ip_version)
    connection = client.call("connect", ends[0], 0, ends[1], 21, KERNEL_SECONDS)
    if connection is None:
        return False
    client.call("close", connection, True)
    try:
        server.call("close", server.call("accept", listener), True)
    except AssertionError:  # the last packet of the handshake was dropped
        return False
    return True


def wrong(topology: Topology, ip_version: int, aims: Iterable[tuple[Aim, str, str]]) -> list[str]:
    """Return what passes that must not, be it one packet, and what does not pass that must."""
    if not opens(ip_version):
        return ["no control connection"]
    chosen = [
        (aim, way)
        for aim, commands, sides in aims
        if topology.side in sides.split()
        for way in WAYS
        if way.ip_version == ip_version and way.command in commands.split()
    ]
    sessions, shots = [], []
    for aim, way in chosen:
        sessions.append(Session(way))
        if not all(sessions[-1].arrives(speaker, [line], PROGRAM_SECONDS) for speaker, line in GREETING):
            return ["the control connection stands still"]
        shot = aim(sessions[-1])
        shots.append(shot if shot.source_port else replace(shot, source_port=next(source_ports)))
    ends = {client: server, server: client}
    watchers = {target: target.call("watch", target.address(ip_version)) for target in ends}
    hits = volley(shots, KERNEL_SECONDS)
    ports = [shot.source_port for shot in shots]
    passing = [aim for aim, *_where in HONEST]
    arrived = {
        target: {seen[0] for seen in target.call("seen", watcher, ends[target].address(ip_version), ports)}
        for target, watcher in watchers.items()
    }
    for session in sessions:
        session.close(client, reset=True)
    return [
        f"{aim.__name__} {way}"
        for (aim, way), shot, hit in zip(chosen, shots, hits)
        if (not hit if aim in passing else shot.port in arrived[shot.target])
    ]


def without(saved: list[str], ip_version: int, line: str) -> list[str]:
    """Return saved rules without one of table mangle."""
    found = list(saved)
    before, table, after = found[ip_version == 6].partition("*mangle\n")
    mangle, commit, rest = after.partition("COMMIT")
    lines = [other for other in mangle.splitlines() if other != line]
    found[ip_version == 6] = "\n".join([before + table.rstrip("\n"), *lines, commit + rest])
    return found


@pytest.mark.parametrize(("topology", "ip_version"), list(zip(TOPOLOGIES, (4, 6, 4))), ids=str)
def test_each_rule_of_the_guard_is_needed(topology: Topology, ip_version: int) -> None:
    def goes_wrong(line: str) -> list[str]:
        topology.machine.guard(without(rules(topology, RELATED, INPUTS), ip_version, line))
        topology.machine.add(["security -F INPUT"], [ip_version])
        found = wrong(topology, ip_version, [*HONEST, *REFUSED])
        if not found:
            topology.machine.guard(without(rules(topology, STRICT, INPUTS), ip_version, line))
            topology.machine.add(WIPER, [ip_version])
            found = wrong(topology, ip_version, HONEST[:1])
        return found

    assert goes_wrong("") == []
    mangle = rules(topology, RELATED, INPUTS)[ip_version == 6].partition("*mangle\n")[2].partition("COMMIT")[0]
    lines = [line for line in mangle.splitlines() if line.startswith("-A") and "hostfw.conntrack" in line]
    assert len(lines) == (20 if topology.side == "gateway" else 18)
    needless = [line for line in lines if not goes_wrong(line)]
    topology.machine.add(["security -F INPUT"], [ip_version])
    assert "\n".join(needless) == ""
