"""Attacks on the FTP helper: the role's rules refuse each, and it succeeds once a hole is made for it.

Each is made behind the firewalls of several sites, and all at once where they do not disturb each other.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import product

import aims
import pytest
from aims import ACK, FIN, PSH, RST, SYN, URG
from lab.ftp import WAYS, Way
from lab.hosts import FOREIGN
from saved import ACTIVE, DEFAULTS, PASSIVE, Inputs, apply, firewall, rules, same, text
from sessions import (
    REFUSED_SECONDS,
    SECONDS,
    SITES,
    STRICT,
    TOPOLOGIES,
    Machine,
    Session,
    Shot,
    Site,
    Topology,
    client,
    high_ports,
    server,
    volley,
)
from sessions import RELATED as RELATED_SITE

# In {opener} go the packets of who opens data connections, in {opened} those of the other one.
IRC = (
    "raw -I PREROUTING -p tcp --dport 6667 -j CT --helper irc",
    "raw -I OUTPUT -p tcp --dport 6667 -j CT --helper irc",
    "filter -I {opener} -p tcp --sport 6667 -m conntrack --ctstate ESTABLISHED -j ACCEPT",
    "filter -I {opened} -p tcp --dport 6667 -j ACCEPT",
)


def hole(matches: str, states: str) -> tuple[str, ...]:
    """Return rules that let packets pass, whatever stands behind them, and the answers."""
    return tuple(
        f"{table} -I {chain} -p tcp {matches} -m conntrack --ctstate {ctstate} -j ACCEPT"
        for table in ("mangle", "filter")
        for chain, ctstate in (("{opener}", states), ("{opened}", "ESTABLISHED"))
    )


# What lets the attacks in.
NEW = hole("-m multiport ! --ports 21", "NEW,ESTABLISHED")
RELATED = hole("-m helper --helper ftp", "RELATED,ESTABLISHED")
RELATED_OF_ANY_HELPER = hole("", "RELATED,ESTABLISHED")
FROM_ANY_INTERFACE = hole("--sport 21", "ESTABLISHED")
TO_ANY_INTERFACE = hole("--dport 21", "ESTABLISHED")
FROM_PORT_20 = tuple(
    f"{table} -A {chain} -p tcp --{end}port 20 -j ACCEPT"
    for table in ("mangle", "filter")
    for chain in ("{opener}", "{opened}")
    for end in "sd"
)
ANY_STATE = ("filter -A {opener} -p tcp -j ACCEPT", "filter -A {opened} -p tcp -j ACCEPT")


def change(topology: Topology, way: Way, rules: tuple[str, ...]) -> None:
    """Add rules for the ends of a way."""
    chains = {end: topology.chains[direction] for end, direction in topology.directions(way.mode).items()}
    lines = [rule.format(**chains) for rule in rules]
    if topology.machine.native:
        # No table raw of iptables is in their way.
        native(topology, way.ip_version, [line for line in lines if not line.startswith("raw")])
        lines = [line for line in lines if line.startswith("raw")]
    topology.machine.add(lines, [way.ip_version])


# The matches of holes, as nftables has them.
MATCHES = {
    "-m multiport ! --ports 21": "tcp sport != 21 tcp dport != 21",
    "-m helper --helper ftp": 'ct helper "ftp"',
    "": "meta l4proto tcp",
    **{f"--{end}port {port}": f"tcp {end}port {port}" for end in "sd" for port in (21, 6667)},
}
HOLE = re.compile(r"(filter|mangle) -I (\w+) -p tcp (.*?) ?(?:-m conntrack --ctstate (\S+) )?-j ACCEPT")


def native(topology: Topology, ip_version: int, lines: list[str]) -> None:
    """Let packets pass the site's firewall and the guard, by rules of nftables in place of those of iptables."""
    found: list[tuple[str, str]] = []
    table = ""
    printed = topology.machine.call("run", "nft list ruleset")
    for begins, chain in re.findall(r"^(?:table (\w+ \S+)|\tchain (\S+)) {", printed, re.MULTILINE):
        table = begins or table
        found += [(table, chain)] if chain else []
    commands = []
    for line in lines:
        words = HOLE.fullmatch(line)
        assert words, line
        of, direction, matches, states = words.groups()
        names = {direction, f"{direction}-DROP"} if of == "mangle" else {direction.lower(), f"filter_{direction}"}
        tables = {f"ip{'6' * (ip_version == 6)} hostfw-FTP"} if of == "mangle" else {"inet site", "inet firewalld"}
        then = f"{MATCHES[matches]}{f' ct state {states.lower()}' if states else ''} accept"
        commands += [
            f"insert rule {table} {chain} {f'meta nfproto ipv{ip_version} ' if 'inet' in table else ''}{then}"
            for table, chain in found
            if table in tables and chain in names
        ]
    topology.machine.call("run", "nft --file -", "\n".join([*commands, ""]))


@dataclass(frozen=True)
class Attack:
    """An attack, and what lets it in."""

    aim: Callable[[Session], Shot]
    # How the port is announced, and on which sides the role's rules stand in between.
    commands: str
    sides: str
    # Whether a helper of the kernel expects the connection.
    expected: bool
    hole: tuple[str, ...]
    inputs: Inputs = DEFAULTS
    # What the site's firewall allows besides.
    setup: tuple[str, ...] = ()


ATTACKS = (
    Attack(aims.third_host, "PORT EPRT", "server gateway", False, NEW),
    Attack(aims.third_host, "PASV EPSV", "client gateway", False, NEW),
    Attack(aims.low_port, "PORT EPRT PASV EPSV", "server client gateway", True, RELATED),
    Attack(aims.outside_of_the_range, "PASV EPSV", "server client gateway", True, RELATED, PASSIVE),
    Attack(aims.other_mode, "PORT EPRT", "server client gateway", True, RELATED, PASSIVE),
    Attack(aims.other_mode, "PASV EPSV", "server client gateway", True, RELATED, ACTIVE),
    Attack(aims.stranger, "PORT EPRT", "client gateway", True, NEW),
    Attack(aims.stranger, "PASV EPSV", "server gateway", True, NEW),
    Attack(aims.second_connection, "EPRT EPSV", "server client gateway", False, NEW),
    Attack(aims.quoted_reply, "PASV EPSV", "server client gateway", False, NEW),
    Attack(aims.quoted_line_feed, "PASV EPSV", "server client gateway", True, RELATED, PASSIVE),
    Attack(aims.request_with_a_low_port, "PORT EPRT", "client", True, RELATED),
    Attack(aims.request_with_the_port_of_a_service, "PORT EPRT", "client", True, RELATED),
    Attack(aims.cut_number, "PORT EPRT PASV EPSV", "server client gateway", False, NEW),
    Attack(aims.forged_reply, "PASV EPSV", "gateway", False, FROM_ANY_INTERFACE),
    Attack(aims.forged_command, "PORT EPRT", "gateway", False, TO_ANY_INTERFACE),
    # The kernel knows IRC over IPv4 only.
    Attack(aims.other_helper, "PORT", "client gateway", True, RELATED_OF_ANY_HELPER, setup=IRC),
    Attack(aims.other_helper, "PASV", "server gateway", True, RELATED_OF_ANY_HELPER, setup=IRC),
    Attack(aims.after_the_client_quit, "EPRT EPSV", "server client gateway", True, RELATED),
    Attack(aims.after_the_server_quit, "EPRT EPSV", "server client gateway", True, RELATED),
    # Last, as the kernel soon forgets a connection that was reset.
    Attack(aims.after_a_reset, "EPRT EPSV", "server client gateway", True, RELATED),
    Attack(aims.after_the_servers_reset, "EPRT EPSV", "server client gateway", True, RELATED),
)


@dataclass(frozen=True)
class Case:
    """An attack in one of its ways, at one place."""

    topology: Topology
    site: Site
    attack: Attack
    way: Way

    def __str__(self) -> str:
        return f"{self.attack.aim.__name__}-{self.way}-{self.topology}-{self.site}"


CASES = [
    Case(topology, site, attack, way)
    for topology in TOPOLOGIES
    for site in SITES
    for attack in ATTACKS
    for way in WAYS
    if topology.side in attack.sides.split() and way.command in attack.commands.split()
    # What another helper expects, others accept there.
    if not (attack.setup and "RELATED" in site.states)
]


@dataclass
class Outcome:
    """What became of an attack.

    - expected: a helper expected the connection
    - hit: it came about
    - heard: the line that the helper cannot read arrived
    - error: why the attack was not made
    """

    expected: bool = False
    hit: bool = False
    heard: bool = False
    error: str = ""


def fire(cases: list[Case], seconds: float) -> dict[Case, Outcome]:
    """Make attacks, all at once."""
    outcomes = {case: Outcome() for case in cases}
    aimed = []
    sessions = []
    for case in cases:
        try:
            sessions.append(Session(case.way).greet())
            aimed.append((case, sessions[-1], case.attack.aim(sessions[-1])))
        except AssertionError as error:  # noqa: PERF203  # the others go on
            outcomes[case].error = str(error) or repr(error)
    expectations = cases[0].topology.expectations()
    for (case, session, shot), hit in zip(aimed, volley([shot for *_rest, shot in aimed], seconds)):
        outcomes[case].expected = shot.to in expectations
        outcomes[case].hit = hit
        outcomes[case].heard = bool(session.unheard) and session.hears(client, session.unheard, 0.01)
    for session in sessions:
        session.close(client, reset=True)
    return outcomes


@cache
def refused(topology: Topology, site: Site, inputs: Inputs) -> dict[Case, Outcome]:
    """Make all attacks on one host that meet the same rules."""
    cases = [case for case in CASES if (case.topology, case.site, case.attack.inputs) == (topology, site, inputs)]
    topology.machine.guard(rules(topology, site, inputs))
    for setup, way in {case.attack.setup: case.way for case in cases if case.attack.setup}.items():
        change(topology, way, setup)
    outcomes = fire(cases, REFUSED_SECONDS)
    # On a busy machine, a session may not come about, or the kernel may forget it: that was no attack.
    missed = [
        case
        for case, found in outcomes.items()
        if not (found.hit or found.heard) and (found.error or case.attack.expected > found.expected)
    ]
    return outcomes | (fire(missed, REFUSED_SECONDS) if missed else {})


@cache
def let_in(topology: Topology, site: Site, inputs: Inputs, hole: tuple[str, ...], mode: str) -> dict[Case, Outcome]:
    """Make all attacks for which a hole is made."""
    cases = [
        case
        for case in CASES
        if (case.topology, case.site, case.attack.inputs, case.attack.hole, case.way.mode)
        == (topology, site, inputs, hole, mode)
    ]
    topology.machine.guard(rules(topology, site, inputs))
    for way in {case.way.ip_version: case.way for case in cases}.values():
        change(topology, way, (*cases[0].attack.setup, *hole))
    outcomes = fire(cases, SECONDS)
    missed = [case for case, found in outcomes.items() if not found.hit]
    return outcomes | (fire(missed, SECONDS) if missed else {})


@pytest.mark.parametrize("case", CASES, ids=str)
def test_attack(case: Case) -> None:
    found = refused(case.topology, case.site, case.attack.inputs)[case]
    assert found == Outcome(expected=case.attack.expected)
    hole = let_in(case.topology, case.site, case.attack.inputs, case.attack.hole, case.way.mode)[case]
    assert hole.hit, f"it cannot succeed, whatever the rules: {hole}"


PLACES = [(topology, site) for topology in TOPOLOGIES for site in SITES]


@cache
def passed(topology: Topology, site: Site, inputs: Inputs) -> dict[Way, tuple[bool, bool]]:
    """Tell for each way whether the data connection is expected and comes about."""
    topology.machine.guard(rules(topology, site, inputs))
    sessions = [Session(way).greet() for way in WAYS if inputs.passes(way.mode)]
    shots = [aims.honest(session) for session in sessions]
    expectations = topology.expectations()
    hits = volley(shots, SECONDS)
    for session in sessions:
        session.close(client, reset=True)
    return {session.way: (shot.to in expectations, hit) for session, shot, hit in zip(sessions, shots, hits)}


@pytest.mark.parametrize("inputs", [DEFAULTS, PASSIVE, ACTIVE], ids=str)
@pytest.mark.parametrize(("topology", "site"), PLACES, ids=str)
def test_honest_data_connections_pass(topology: Topology, site: Site, inputs: Inputs) -> None:
    assert set(passed(topology, site, inputs).values()) == {(True, True)}


def test_role_makes_the_rules_of_its_plan() -> None:
    for topology in TOPOLOGIES:
        topology.machine.load(text(firewall(RELATED_SITE)))
    apply()
    assert [topology.side for topology in TOPOLOGIES if not same(topology.machine, rules(topology, RELATED_SITE))] == []


@pytest.mark.parametrize(("topology", "site"), PLACES, ids=str)
def test_announcement_in_single_bytes_is_understood_or_stopped(topology: Topology, site: Site) -> None:
    # The helper drops a segment with the beginning of an announcement. A host's own TCP
    # knows of it and sends the whole line; another host repeats the segment as it was.
    topology.machine.guard(rules(topology, site))
    sessions = [Session(way).greet() for way in WAYS]
    shots = [session.opens(next(high_ports)) for session in sessions]
    lines = [session.announcement(shot.target, shot.port) for session, shot in zip(sessions, shots)]
    own = [shot.target is topology.machine for shot in shots]
    for session, line in zip(sessions, lines):
        session.say(session.announcer, *line)
    arrived = [
        session.hears(session.hearer(session.announcer), line, SECONDS if its_own else 0.2)
        for session, line, its_own in sorted(zip(sessions, lines, own), key=lambda item: not item[2])
    ]
    assert arrived == sorted(own, reverse=True)
    expectations = topology.expectations()
    assert [shot.to in expectations for shot in shots] == own
    assert volley(shots, REFUSED_SECONDS) == own
    for session in sessions:
        session.close(client, reset=True)


# How a host announces a port of its own.
WAY = {
    ("client" if way.mode == "active" else "server", way.ip_version): way
    for way in WAYS
    if way.command in ("EPRT", "EPSV")
}


@dataclass(frozen=True)
class Direction:
    """Who attacks whom, the ports that the site's firewall opens for it, and those that the role does."""

    topology: Topology
    source: Machine
    target: Machine
    others: frozenset[int] = frozenset()
    ours: frozenset[int] = frozenset()

    def __str__(self) -> str:
        return f"{self.topology}-{self.source.name}-to-{self.target.name}"


SSH, FTP = frozenset({22}), frozenset({21})
DIRECTIONS = [
    Direction(TOPOLOGIES[0], client, server, SSH, FTP),
    Direction(TOPOLOGIES[1], server, client, SSH),
    Direction(TOPOLOGIES[2], client, server, ours=FTP),
    Direction(TOPOLOGIES[2], server, client),
]


ALL_PORTS = (1, 65535)


def scan(source: Machine, target: Machine, source_port: int, ip_version: int, ports: tuple[int, int]) -> set[int]:
    """Send a SYN to each port of a range; return those of them at which it arrives."""
    ends = source.address(ip_version), target.address(ip_version)
    watcher = target.call("watch", ends[1])
    source.call("shoot", ends[0], source_port, ends[1], ports, SYN)
    return {port for port, *_rest in target.call("seen", watcher, ends[0], [source_port])}


@pytest.mark.parametrize("direction", DIRECTIONS, ids=str)
def test_role_opens_the_control_port_and_no_other(direction: Direction) -> None:
    topology, source, target = direction.topology, direction.source, direction.target
    for saved, ports, expected in (
        (FOREIGN, (1, 1023), direction.others),
        (rules(topology, RELATED_SITE), ALL_PORTS, direction.others | direction.ours),
    ):
        topology.machine.guard(saved)
        assert [scan(source, target, next(high_ports), ip_version, ports) for ip_version in (4, 6)] == [expected] * 2


@pytest.mark.parametrize("site", SITES, ids=str)
@pytest.mark.parametrize("direction", DIRECTIONS, ids=str)
def test_session_opens_the_announced_port_and_no_other(direction: Direction, site: Site) -> None:
    topology, source, target = direction.topology, direction.source, direction.target
    topology.machine.guard(rules(topology, site))
    # The guard has not seen the RST of the sessions that attacks had through a hole: the kernel forgets them.
    deadline = time.monotonic() + 10
    while topology.expectations() and time.monotonic() < deadline:
        time.sleep(1)
    # Where others accept most, IPv6 is scanned, too.
    for ip_version in (4, 6) if site is RELATED_SITE else (4,):
        with Session(WAY[target.name, ip_version]) as session:
            shot = aims.honest(session)
            assert shot.to in topology.expectations()
            # A client does not open data connections from port 20.
            announced = {shot.port} if source is server else set()
            found = scan(source, target, 20, ip_version, ALL_PORTS)
            assert found == direction.others | direction.ours | announced
        if site is STRICT:
            change(topology, session.way, FROM_PORT_20)
            # A busy machine loses a few.
            assert len(scan(source, target, 20, ip_version, ALL_PORTS)) > 65000


@pytest.mark.parametrize("site", SITES, ids=str)
@pytest.mark.parametrize("direction", DIRECTIONS, ids=str)
def test_segment_of_no_connection_comes_no_further_than_a_syn(direction: Direction, site: Site) -> None:
    topology, source, target = direction.topology, direction.source, direction.target
    topology.machine.guard(rules(topology, site))
    # The kernel takes these for the middle of a connection of which it missed the beginning, and calls them NEW.
    middle = [ACK, PSH | ACK]
    invalid = [0, FIN, RST, FIN | ACK, RST | ACK, SYN | ACK, FIN | PSH | URG]

    def arrived(ip_version: int, *source_ports: int) -> set[tuple[int, int]]:
        ends = source.address(ip_version), target.address(ip_version)
        watcher = target.call("watch", ends[1])
        # From none of these ports has anything been sent yet that these could be the answer to; from port 20 it has.
        for source_port, flags, some in product(
            source_ports, invalid + middle, ([1, 19], [21, 100], [1024, 1100], [30000, 30100])
        ):
            source.call("shoot", ends[0], source_port, ends[1], some, flags)
        return {(seen[0], seen[1]) for seen in target.call("seen", watcher, ends[0], source_ports)}

    open_ports = direction.others | direction.ours
    for ip_version in (4, 6):
        expected = {(port, flags) for port in open_ports for flags in middle}
        assert arrived(ip_version, 21, next(high_ports)) == expected
        if site is STRICT:
            change(topology, WAY[target.name, ip_version], ANY_STATE)
            assert {flags for _port, flags in arrived(ip_version, next(high_ports))} == {*invalid, *middle}
