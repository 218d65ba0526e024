"""The same transfers and attacks through each firewall, for docs/comparison.md."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from functools import cache

import aims
import pytest
from lab import PROJECT
from lab.ftp import OPERATIONS, SECONDS, WAYS, Way, stop, transfers
from lab.topologies import TOPOLOGIES, GatewayLab, Topology
from peers import NOBODY, PEERS, ROLE, Peer, nothing
from sessions import STRICT, Session, client, machines, server, volley
from sessions import TOPOLOGIES as SIDES
from sessions import Topology as Side
from test_attacks import ALL_PORTS, ATTACKS, DEFAULTS, Case, fire, scan

LAB = GatewayLab()
# How long a connection of an attack may take.
ATTACK_SECONDS = 3
DOCUMENT = PROJECT / "docs/comparison.md"
# What comes about where nobody refuses it, in the words of docs/comparison.md.
WORDS = {
    aims.third_host: "to a third host that is announced",
    aims.low_port: "to a port below 1024",
    aims.stranger: "from a stranger to an announced port",
    aims.second_connection: "a second one to the same port",
    aims.quoted_reply: "to what the server quotes of the client",
    aims.request_with_a_low_port: "to a port below 1024, by a browser's request",
    aims.request_with_the_port_of_a_service: "to the port of a service, by a browser's request",
    aims.cut_number: "to a port whose number is cut",
    aims.forged_reply: "to what a neighbour announces in the server's name",
    aims.forged_command: "to what a neighbour announces in the client's name",
    aims.other_helper: "to what another helper expects",
    aims.after_the_client_quit: "after the client has closed the session",
    aims.after_the_server_quit: "after the server has closed the session",
    aims.after_a_reset: "after the client has reset the session",
    aims.after_the_servers_reset: "after the server has reset the session",
}
IRC = "iptables -t raw -A OUTPUT -p tcp --dport 6667 -j CT --helper irc"
# The words of docs/comparison.md, by peer.
PASSED: dict[tuple[Peer, str], str] = {}
LET_IN: dict[Peer, Counter[str]] = {}
MADE: dict[Peer, Counter[str]] = {}
OPEN: dict[Peer, int] = {}

INTRODUCTION = """\
# Comparison

The same transfers and the same attacks through other firewalls as Debian 13 packages them, and through the rules of the
usual tutorials. `make compare` writes this page, on whatever it runs; it fails where the role lets a transfer fail or
an attack in, or where an attack fails without a firewall. Every firewall drops in every direction, and was told to
let FTP through as its own documentation says; what that was stands below. Linux {kernel}, {versions}.

## Transfers

How many pass of those tried: downloads, uploads and listings, by PORT, EPRT, PASV and EPSV, over IPv4 and IPv6. With
FTPS, those of passive mode, for which each firewall opens the server's passive range.
"""
ATTACKED = """
## Attacks

How many data connections come about that nobody should be able to open, of those tried; on a server, a client and a
gateway. They are tried only where an honest data connection passes: a dash is where none does. *Nobody* filters nothing
and gives every connection to port 21 the helper: all come about there.
"""
BETTER = """
## Where others do as well, or better

- As many transfers pass through: {equal}.
- Without Ansible, shorewall, foomuuri and, on a server, firewalld say it in one or two lines, and look after all of a
  host's services; the role after FTP alone.
- [benchmarks.md](benchmarks.md) has what runs, sessions and MB/s cost, beside firewalld and ufw.

## What each was told

The zones, interfaces and policies that drop are in molecule/comparison/tests/peers.py, with the NAT of each. ufw has
`IPT_MODULES="nf_conntrack_ftp nf_nat_ftp"`; its rules by hand are those that ufw-framework(8) wants in before.rules and
before6.rules. ferm's CT rules are in no example of its documentation, its matches by helper are.
"""


def line(cells: Iterable[str]) -> str:
    """Return a line of a table."""
    return f"| {' | '.join(cells)} |"


@pytest.mark.parametrize("topology", TOPOLOGIES, ids=str)
@pytest.mark.parametrize("peer", PEERS, ids=str)
def test_transfers(peer: Peer, topology: Topology) -> None:
    for host in LAB.hosts.values():
        nothing(host)
    peer.filters(LAB.hosts[topology.host], topology)
    keys = [(way, name) for way in WAYS for name in OPERATIONS if way.mode == "passive" or not topology.site.tls]
    seconds = SECONDS if peer is ROLE else SECONDS // 2
    found = transfers(LAB.client, LAB.server, keys, seconds, topology.site)
    passed = [key for key, reason in found.items() if reason is None]
    PASSED[peer, topology.name] = f"{len(passed)} of {len(keys)}"
    if peer is ROLE:
        assert len(passed) == len(keys), found


@cache
def no_server() -> None:
    """From now on the tests are the server."""
    stop(LAB.server)


def guard(peer: Peer, side: Side) -> None:
    """Have a firewall on one host, and none on the others."""
    no_server()
    for machine in machines.values():
        nothing(machine.host)
    peer.filters(side.machine.host, next(each for each in TOPOLOGIES if each.host == side.side))
    side.machine.call("run", IRC)


def honest() -> set[Way]:
    """Return the ways by which an honest data connection passes."""
    sessions = []
    for way in WAYS:
        try:
            sessions.append(Session(way).greet())
        except AssertionError:  # noqa: PERF203  # the others go on
            continue
    shots = [aims.honest(session) for session in sessions]
    hits = volley(shots, ATTACK_SECONDS)
    for session in sessions:
        session.close(client, reset=True)
    return {session.way for session, hit in zip(sessions, hits) if hit}


@pytest.mark.parametrize("side", SIDES, ids=str)
@pytest.mark.parametrize("peer", [NOBODY, *PEERS], ids=str)
def test_attacks(peer: Peer, side: Side) -> None:
    guard(peer, side)
    ways = honest()
    cases = [
        Case(side, STRICT, each, way)
        for each in ATTACKS
        for way in WAYS
        if way in ways and way.command in each.commands.split() and side.side in each.sides.split()
        # IRC is let out by servers only.
        if each.inputs is DEFAULTS and (not each.setup or side.side == "server")
    ]
    found = {case: made.hit for case, made in fire(cases, ATTACK_SECONDS).items()} if cases else {}
    for case, hit in found.items():
        words = WORDS[case.attack.aim]
        MADE.setdefault(peer, Counter())[words] += 1
        LET_IN.setdefault(peer, Counter())[words] += hit
    if side.side == "server":
        OPEN[peer] = len(scan(client, server, 45678, 4, ALL_PORTS) - {21, 22})
    hits = [str(case) for case, hit in found.items() if hit]
    if peer is ROLE:
        assert ways == set(WAYS)
        assert hits == []
        assert OPEN[peer] == 0
    elif peer is NOBODY:
        assert [str(case) for case, hit in found.items() if not hit] == []


def versions() -> str:
    """Return the versions of the packages."""
    names = sorted({peer.package for peer in PEERS})
    printed = LAB.gateway.check_output("dpkg-query -W -f '${Package} ${Version}\\n' " + " ".join(names))
    return ", ".join(printed.splitlines())


def document() -> str:
    """Return the page."""
    kernel = LAB.gateway.check_output("uname -r").partition("-")[0]
    lines = [INTRODUCTION.format(kernel=kernel, versions=versions())]
    heads = ["", *(peer.name for peer in PEERS)]
    lines += [line(heads), "|---" * len(heads) + "|"]
    lines += [line([topology.name, *(PASSED[peer, topology.name] for peer in PEERS)]) for topology in TOPOLOGIES]
    lines.append(ATTACKED)
    attacked = [NOBODY, *PEERS]
    heads = ["a data connection ...", *(peer.name for peer in attacked)]
    lines += [line(heads), "|---" * len(heads) + "|"]
    for words in WORDS.values():
        cells = [f"{LET_IN[p][words]} of {MADE[p][words]}" if MADE.get(p, {}).get(words) else "-" for p in attacked]
        lines.append(line([words, *cells]))
    reached = "ports of a server that the client still reaches after its sessions, besides 21 and 22"
    lines.append(line([reached, *(str(OPEN[peer]) for peer in attacked)]))
    equal = [
        p.name for p in PEERS if p is not ROLE and all(PASSED[p, t.name] == PASSED[ROLE, t.name] for t in TOPOLOGIES)
    ]
    lines.append(BETTER.format(equal="; ".join(equal) if equal else "none"))
    for peer in PEERS:
        lines += [f"### {peer.name}", ""]
        for topology in TOPOLOGIES:
            lines += [f"{topology.name}:", "", "```", *peer.told(topology), "```", ""]
    return "\n".join(lines)


def test_docs_comparison_md_is_what_is_found() -> None:
    found = document()
    print(found)
    if os.environ.get("UPDATE_GOLDEN"):
        DOCUMENT.write_text(found, encoding="utf-8")
    else:
        assert found == DOCUMENT.read_text(encoding="utf-8")
