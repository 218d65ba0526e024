"""Attacks on the FTP helper: the role's rules refuse each, and it succeeds once a hole is made for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from ipaddress import ip_address

import pytest
from ftp import WAYS, Way
from lab import (
    REFUSED_SECONDS,
    SECONDS,
    STANDS,
    Machine,
    Session,
    Shot,
    Stand,
    announcement,
    announcer,
    client,
    cut_ports,
    high_ports,
    low_ports,
    machines,
    opens,
    other_client,
    other_server,
    server,
)
from role import OTHERS

FIN, SYN, RST, PSH, ACK, URG = (1 << bit for bit in range(6))
GATEWAY = {4: "198.51.100.1", 6: "2001:db8::1"}
# No connections are tracked where there is no firewall: the scans would fill the table.
NO_FIREWALL = ["*raw\n-A PREROUTING -j CT --notrack\n-A OUTPUT -j CT --notrack\nCOMMIT\n*filter\nCOMMIT"] * 2


@pytest.fixture(scope="session", autouse=True)
def network() -> None:
    """No host has a firewall but the one that is attacked."""
    for machine in machines.values():
        machine.load(NO_FIREWALL)


@cache
def rules(stand: Stand) -> list[str]:
    """Return the rules of a host to which the role has been applied."""
    stand.machine.load(OTHERS)
    stand.machine.host.role(**stand.inputs)
    saved: list[str] = stand.machine.host.save()
    return saved


@pytest.fixture(params=STANDS, ids=str)
def stand(request: pytest.FixtureRequest) -> Iterator[Stand]:
    """The host with the role's rules."""
    stand: Stand = request.param
    stand.machine.load(rules(stand))
    yield stand
    stand.machine.load(NO_FIREWALL)


def honest(session: Session) -> Shot:
    shot = opens(session.way, next(high_ports))
    session.announce(shot.target, shot.port)
    return shot


def third_host(session: Session) -> Shot:
    shot = opens(session.way, next(high_ports))
    shot = replace(shot, target=other_client if shot.target is client else other_server)
    line = announcement(session.way, shot.target, shot.port)
    # RFC 2428 knows no host in the answer to EPSV, and the helper drops what it cannot read.
    known = session.way.command != "EPSV"
    assert session.arrives(announcer(session.way), [line], SECONDS if known else REFUSED_SECONDS) == known
    return shot


def low_port(session: Session) -> Shot:
    shot = opens(session.way, next(low_ports))
    session.announce(shot.target, shot.port)
    return shot


def stranger(session: Session) -> Shot:
    shot = honest(session)
    return replace(shot, source=other_client if shot.source is client else other_server)


def second_connection(session: Session) -> Shot:
    shot = honest(session)
    assert shot.hits(SECONDS)
    return shot


def after_the_client_quit(session: Session) -> Shot:
    shot = honest(session)
    session.close(client)
    return shot


def after_the_server_quit(session: Session) -> Shot:
    shot = honest(session)
    session.close(server)
    return shot


def after_a_reset(session: Session) -> Shot:
    shot = honest(session)
    session.close(client, reset=True)
    return shot


def quoted_reply(session: Session) -> Shot:
    """The server quotes what the client said, and the quotation starts a segment."""
    shot = opens(session.way, next(high_ports))
    line = announcement(session.way, shot.target, shot.port)
    session.command(line)
    session.reply("500 unknown command: ", line)
    return shot


def cut_number(session: Session) -> Shot:
    """The announcement is cut before the last digit of the port."""
    shot = opens(session.way, next(cut_ports))
    segments = re.split(r"(?=\d\D*$)", announcement(session.way, shot.target, shot.port))
    session.arrives(shot.target, segments, REFUSED_SECONDS)
    if session.way.command.startswith("E"):
        return replace(shot, port=shot.port // 10)
    return replace(shot, port=shot.port // 256 * 256 + shot.port % 256 // 10)


def forged_reply(session: Session) -> Shot:
    """The client's neighbour sends the gateway a reply in the server's name."""
    shot = opens(session.way, next(high_ports))
    ends = [machine.address(shot.ip_version) for machine in (client, server)]
    watcher = client.call("watch", ends[0])
    session.reply("200 done\r\n")
    port, _flags, *numbers = client.call("seen", watcher, ends[1], 21)[-1]
    line = announcement(session.way, server, shot.port)
    other_client.call("run", f"ip route replace {ends[0]} via {GATEWAY[shot.ip_version]}")
    other_client.call("shoot", ends[1], 21, ends[0], [port, port], PSH | ACK, numbers, line)
    return shot


def other_helper(session: Session) -> Shot:
    """The end that is to be reached offers a file by IRC."""
    shot = opens(session.way, next(high_ports))
    listener = shot.source.call("listen", shot.source.address(4), 6667)
    offer = shot.target.call("connect", shot.target.address(4), 0, shot.source.address(4), 6667, SECONDS)
    shot.source.call("accept", listener)
    shot.source.call("close", listener, False)
    own = int(ip_address(shot.target.address(4)))
    shot.target.call("say", offer, f"PRIVMSG bob :\x01DCC SEND file {own} {shot.port} 100\x01\r\n")
    return shot


IRC = (
    "--table raw -I PREROUTING -p tcp --dport 6667 -j CT --helper irc",
    "--table raw -I OUTPUT -p tcp --dport 6667 -j CT --helper irc",
    "-I FTP-{opener} -p tcp --sport 6667 -m conntrack --ctstate ESTABLISHED -j ACCEPT",
    "-I FTP-{opened} -p tcp --dport 6667 -j ACCEPT",
)
# As most firewalls have it, before the role's jumps.
ESTABLISHED = tuple(
    f"-I {chain} -m conntrack --ctstate ESTABLISHED -j ACCEPT" for chain in ("INPUT", "OUTPUT", "FORWARD")
)

# What lets the attacks in, each wider than the role's rules by one thing.
ACCEPT_NEW = (
    "-A FTP-{opener} -p tcp -m conntrack --ctstate NEW,ESTABLISHED -j ACCEPT",
    "-A FTP-{opened} -p tcp -m conntrack --ctstate ESTABLISHED -j ACCEPT",
)
ANY_PORT = (
    "-A FTP-DATA-{opener} -p tcp --dport 1:65535 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    "-A FTP-DATA-{opened} -p tcp --sport 1:65535 -m conntrack --ctstate ESTABLISHED -j ACCEPT",
)
ANY_INTERFACE = ("-A FORWARD -j FTP-{opened}",)
ANY_HELPER = ("-A FTP-{opener} -j FTP-DATA-{opener}", "-A FTP-{opened} -j FTP-DATA-{opened}")
CLOSED_TOO = (
    "-A FTP-{opener} -m helper --helper ftp -j FTP-DATA-{opener}",
    "-A FTP-{opened} -m helper --helper ftp -j FTP-DATA-{opened}",
)
FROM_PORT_20 = tuple(
    f"-A FTP-{direction} -p tcp --{end}port 20 -j ACCEPT" for direction in ("IN", "OUT") for end in "sd"
)
ANY_STATE = ("-A FTP-IN -p tcp -j ACCEPT", "-A FTP-OUT -p tcp -j ACCEPT")


@dataclass(frozen=True)
class Attack:
    """An attack, and what lets it in."""

    aim: Callable[[Session], Shot]
    # How the port is announced, and on which sides the role's rules stand in between.
    commands: str
    sides: str
    # Whether a helper of the kernel expects the connection.
    expected: bool
    opening: tuple[str, ...]
    setup: tuple[str, ...] = ()


ATTACKS = (
    Attack(third_host, "PORT EPRT", "server gateway", False, ACCEPT_NEW),
    Attack(third_host, "PASV EPSV", "client gateway", False, ACCEPT_NEW),
    Attack(low_port, "PORT EPRT PASV EPSV", "server client gateway", True, ANY_PORT),
    Attack(stranger, "PORT EPRT", "client gateway", True, ACCEPT_NEW),
    Attack(stranger, "PASV EPSV", "server gateway", True, ACCEPT_NEW),
    Attack(second_connection, "EPRT EPSV", "server client gateway", False, ACCEPT_NEW),
    Attack(after_the_client_quit, "EPRT EPSV", "server client gateway", True, CLOSED_TOO, ESTABLISHED),
    Attack(after_the_server_quit, "EPRT EPSV", "server client gateway", True, CLOSED_TOO, ESTABLISHED),
    Attack(after_a_reset, "EPRT EPSV", "server client gateway", True, CLOSED_TOO, ESTABLISHED),
    Attack(quoted_reply, "PASV EPSV", "server client gateway", False, ACCEPT_NEW),
    Attack(cut_number, "PORT EPRT PASV EPSV", "server client gateway", False, ACCEPT_NEW),
    Attack(forged_reply, "PASV EPSV", "gateway", False, ANY_INTERFACE),
    # The kernel knows IRC over IPv4 only.
    Attack(other_helper, "PORT", "client gateway", True, ANY_HELPER, IRC),
    Attack(other_helper, "PASV", "server gateway", True, ANY_HELPER, IRC),
)
CASES = [
    pytest.param(stand, attack, way, id=f"{attack.aim.__name__}-{way}-{stand}")
    for stand in STANDS
    for attack in ATTACKS
    for way in WAYS
    if stand.side in attack.sides.split() and way.command in attack.commands.split()
]


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_honest_data_connection_passes(stand: Stand, way: Way) -> None:
    with Session(way) as session:
        shot = honest(session)
        assert stand.expects(shot)
        assert shot.hits(SECONDS)


@pytest.mark.parametrize(("stand", "attack", "way"), CASES, indirect=["stand"])
def test_attack(stand: Stand, attack: Attack, way: Way) -> None:
    stand.change(way, *attack.setup)
    with Session(way) as session:
        shot = attack.aim(session)
        assert stand.expects(shot) == attack.expected
        assert not shot.hits(REFUSED_SECONDS)
    stand.change(way, *attack.opening)
    with Session(way) as session:
        assert attack.aim(session).hits(SECONDS), "it cannot succeed, whatever the rules"


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_announcement_in_single_bytes_is_understood_or_stopped(stand: Stand, way: Way) -> None:
    # The helper drops a segment with the beginning of an announcement. A host's own TCP
    # knows of it and sends the whole line; another host repeats the segment as it was.
    with Session(way) as session:
        shot = opens(way, next(high_ports))
        line = announcement(way, shot.target, shot.port)
        own = shot.target is stand.machine
        assert session.arrives(shot.target, line, SECONDS if own else 1) == own
        assert stand.expects(shot) == own
        assert shot.hits(SECONDS if own else REFUSED_SECONDS) == own


# Who attacks whom, and the ports that the firewall of others opens for it, and those that the role does.
DIRECTIONS = [
    pytest.param(stand, source, target, ports, id=f"{stand}-{source.name}-to-{target.name}")
    for stand, source, target, ports in (
        (STANDS[0], client, server, ({22}, {21})),
        (STANDS[1], server, client, ({22}, set())),
        (STANDS[2], client, server, (set(), {21})),
        (STANDS[2], server, client, (set(), set())),
    )
]
# How a host announces a port of its own.
WAY = {
    ("client" if way.mode == "active" else "server", way.ip_version): way
    for way in WAYS
    if way.command in ("EPRT", "EPSV")
}


def scan(source: Machine, source_port: int, target: Machine, ip_version: int) -> set[int]:
    """Send a SYN to all ports; return those of them at which it arrives."""
    ends = source.address(ip_version), target.address(ip_version)
    watcher = target.call("watch", ends[1])
    source.call("shoot", ends[0], source_port, ends[1], [1, 65535], SYN)
    return {port for port, *_rest in target.call("seen", watcher, ends[0], source_port)}


@pytest.mark.parametrize("ip_version", [4, 6])
@pytest.mark.parametrize(("stand", "source", "target", "ports"), DIRECTIONS, indirect=["stand"])
def test_role_opens_the_control_port_and_no_other(
    stand: Stand, source: Machine, target: Machine, ports: tuple[set[int], set[int]], ip_version: int
) -> None:
    others, ours = ports
    stand.machine.load(OTHERS)
    assert scan(source, next(high_ports), target, ip_version) == others
    stand.machine.load(rules(stand))
    assert scan(source, next(high_ports), target, ip_version) == others | ours


@pytest.mark.parametrize("ip_version", [4, 6])
@pytest.mark.parametrize(("stand", "source", "target", "ports"), DIRECTIONS, indirect=["stand"])
def test_session_opens_the_announced_port_and_no_other(
    stand: Stand, source: Machine, target: Machine, ports: tuple[set[int], set[int]], ip_version: int
) -> None:
    with Session(WAY[target.name, ip_version]) as session:
        shot = honest(session)
        assert stand.expects(shot)
        # A client does not open data connections from port 20.
        announced = {shot.port} if source is server else set()
        assert scan(source, 20, target, ip_version) == ports[0] | ports[1] | announced
    stand.change(session.way, *FROM_PORT_20)
    # A busy machine loses a few.
    assert len(scan(source, 20, target, ip_version)) > 65000


@pytest.mark.parametrize("ip_version", [4, 6])
@pytest.mark.parametrize(("stand", "source", "target", "ports"), DIRECTIONS, indirect=["stand"])
def test_segment_of_no_connection_comes_no_further_than_a_syn(
    stand: Stand, source: Machine, target: Machine, ports: tuple[set[int], set[int]], ip_version: int
) -> None:
    ends = source.address(ip_version), target.address(ip_version)
    # The kernel takes these for the middle of a connection of which it missed the beginning, and calls them NEW.
    middle = [ACK, PSH | ACK]
    invalid = [0, FIN, RST, FIN | ACK, RST | ACK, SYN | ACK, FIN | PSH | URG]

    def arrived(source_port: int) -> set[tuple[int, int]]:
        watcher = target.call("watch", ends[1])
        for flags in invalid + middle:
            # From none of these ports has anything been sent yet that these could be the answer to.
            for some in ([1, 100], [1024, 1100], [30000, 30100]):
                source.call("shoot", ends[0], source_port, ends[1], some, flags)
        return {(seen[0], seen[1]) for seen in target.call("seen", watcher, ends[0], source_port)}

    for source_port in (21, next(high_ports)):
        assert arrived(source_port) == {(port, flags) for port in ports[0] | ports[1] for flags in middle}
    stand.change(WAY[target.name, ip_version], *ANY_STATE)
    assert {flags for _port, flags in arrived(next(high_ports))} == {*invalid, *middle}
