"""From the rules of release 1.0.0 to those of this one: what runs goes on, and no old rule is left."""

from __future__ import annotations

from itertools import count
from pathlib import Path

from lab.desired import desired, parts
from lab.ftp import WAYS
from saved import apply, rules, same
from sessions import ESTABLISHED, TOPOLOGIES, Session, Shot, Transfer, client, high_ports, opens, server

# What the role of 1.0.0 left on these hosts behind the firewall ESTABLISHED, as iptables-save and ip6tables-save print.
RELEASE = Path(__file__).parent / "release-1.0.0"
SERVER = TOPOLOGIES[0]
FTPS = {"ftp_tls": True, "ftp_passive_ports": "50000:50099"}
SETS = "".join(
    f"create FTP-LIVE-{ip_version} hash:ip family {family} hashsize 32768 maxelem 65536 timeout 60\n"
    for ip_version, family in (("IPV4", "inet"), ("IPV6", "inet6"))
)
ftps_ports = count(50000)


def release(name: str) -> list[str]:
    """Return the rules of release 1.0.0."""
    return [(RELEASE / f"{name}.{ip_version}").read_text(encoding="utf-8") for ip_version in ("ipv4", "ipv6")]


def announced(sessions: list[Session]) -> list[Shot]:
    """Announce a port in each session."""
    shots = [session.opens(next(high_ports)) for session in sessions]
    for session, shot in zip(sessions, shots):
        session.announce(shot.target, shot.port)
    return shots


def broken(sessions: list[Session], running: list[Transfer]) -> list[str]:
    """Return the ways of the data connections on which nothing moves."""
    return [str(session.way) for session, transfer in zip(sessions, running) if not transfer.moves()]


def test_running_transfers_go_on() -> None:
    # All three are in the way of each transfer.
    for topology in TOPOLOGIES:
        topology.machine.load(release(topology.side))
    sessions = [Session(way).greet() for way in WAYS]
    running = [Transfer(shot) for shot in announced(sessions)]
    assert broken(sessions, running) == []
    announced_before = announced(sessions)
    apply()
    assert [topology.side for topology in TOPOLOGIES if not same(topology.machine, rules(topology, ESTABLISHED))] == []
    assert broken(sessions, running) == []
    # A control connection has one announcement at a time.
    opened = [Transfer(shot) for shot in announced_before]
    assert broken(sessions, opened) == []
    running += opened
    opened = [Transfer(shot) for shot in announced(sessions)]
    assert broken(sessions, opened) == []
    running += opened
    for transfer in running:
        transfer.close()
    for session in sessions:
        session.close(client, reset=True)


def test_running_transfers_of_ftps_go_on() -> None:
    server.guard([])
    server.call("run", "ipset restore -exist", SETS)
    server.load(release("ftps"))
    sessions = [Session(way).greet() for way in WAYS if way.command in ("EPRT", "EPSV")]

    def opened() -> list[Transfer]:
        ports = {"passive": ftps_ports, "active": high_ports}
        return [Transfer(opens(session.way, next(ports[session.way.mode]))) for session in sessions]

    running = opened()
    assert broken(sessions, running) == []
    server.host.role(**FTPS)
    assert parts(server.host.rules())[0] == desired({**SERVER.inputs, **FTPS})
    assert broken(sessions, running) == []
    for session in sessions:
        session.command("NOOP\r\n")
    more = opened()
    assert broken(sessions, more) == []
    for transfer in running + more:
        transfer.close()
    for session in sessions:
        session.close(client, reset=True)
