# Copyright (c) hostfw.conntrack contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What foreign rules do to packets.

Many packets are asked about at once: a set of packets is a number with a bit for each. A chain is read once for all
of them, however many jumps lead to it.
"""

from __future__ import annotations

import ipaddress
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple, Union

from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables._rule import Clause, clauses
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables._ruleset import Ruleset, covers

# How many members of an ipset are looked at; with more, it is most likely a list of bans.
MEMBERS = 10_000

Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]

# How sure it is that a condition is true for a packet.
# FALSE: for none. BANNED: for some single peers, or far networks, which somebody has named or put into a set. MAYBE:
# nobody knows here.
# USUALLY: where there is not much traffic. PARTLY: on some of the interfaces that a wildcard stands for. TRUE: for all.
FALSE, BANNED, MAYBE, USUALLY, PARTLY, TRUE = range(6)

# The bulk of most long lists of rules, known without taking them apart.
BAN = re.compile(r"-A \S+ -s [0-9a-f:.]+/(?:32|128) (?:[^!\"]* )?-j (?:DROP|REJECT)\b")
DROPPING = {"DROP", "REJECT", "TARPIT", "STEAL", "CHAOS", "DELUDE"}
# A packet that a program reads does not come back to the chain (nfnetlink_queue).
ACCEPTING = {"ACCEPT", "NFQUEUE", "QUEUE"}
TRACKING = {"CT", "NOTRACK"}
# Multicast, reserved, of the host itself (RFC 6890).
NOBODY = tuple(
    ipaddress.ip_network(text) for text in ("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/3", "::1/128", "ff00::/8")
)
# How many rules of one chain are named.
NAMED = 50
# Which ports of a packet a condition is on: that of its source, that of its destination.
PORTS = {"--sport": (0,), "--sports": (0,), "--dport": (1,), "--dports": (1,), "--ports": (0, 1)}
# Of a packet of which nobody knows it: the port; the address, which may be the host's own.
ANY_PORT = 0
ANYWHERE = (None, "")
PROTOCOLS = {"6": "tcp", "1": "icmp", "58": "ipv6-icmp", "icmpv6": "ipv6-icmp"}


class Packet(NamedTuple):
    """A packet, or one for each interface and address that it may have.

    - protocol: as iptables prints it
    - state: of its connection
    - reply: whether it goes against the direction of the packet that opened the connection
    - flags: those of TCP, in one word
    - source_port, destination_port: None where the protocol has none, or both V(ANY_PORT)
    - in_interface, out_interface: names or wildcards; None is any
    - source, destination: the networks that its ends may be in; (None,) is anywhere else, empty the host
      itself, V(ANYWHERE) either
    - helper: whether the connection is a data connection of the FTP helper
    - likely: whether there are many like it
    """

    protocol: str
    state: str
    reply: bool = False
    flags: str = ""
    source_port: int | None = None
    destination_port: int | None = None
    in_interface: str | None = None
    out_interface: str | None = None
    source: tuple[str | None, ...] = (None,)
    destination: tuple[str | None, ...] = ()
    helper: bool = False
    likely: bool = True
    icmp_type: str | None = None


class Match(NamedTuple):
    """For which packets a rule is: for those that may be banned, too, maybe, usually, on some interfaces, surely."""

    banned: int
    maybe: int
    usually: int
    partly: int
    surely: int


@dataclass
class Effect:
    """What becomes of packets.

    - stops: those that are dropped wherever they are from
    - bans: those of which some may be dropped
    - accepts: those of which some may be accepted
    - drops: the rules that may drop, but bans of single peers, each with the packets
    - tracks: the rules of table raw after which our helper comes too late, each with the packets, and whether surely
    - leaves: those of which some may leave the chain at its end
    """

    stops: int = 0
    bans: int = 0
    accepts: int = 0
    drops: dict[str, int] = field(default_factory=dict)
    tracks: dict[str, tuple[int, int]] = field(default_factory=dict)
    leaves: int = 0


NONE = Effect()


class Read(NamedTuple):
    """What a rule says: for which packets, what becomes of them, its target, and whether it goes there for good."""

    match: Match
    effect: Effect
    target: str | None
    goes: bool


class Near(NamedTuple):
    """Where peers are whom a rule does not ban: the networks that the host is on, and the ipsets that hold such."""

    networks: tuple[str, ...]
    sets: tuple[str, ...] = ()


class Reader:
    """Reads the chains of one table for some packets."""

    def __init__(
        self,
        ruleset: Ruleset,
        table: str,
        packets: Sequence[Packet],
        built_in: str,
        near: Near | None = None,
    ) -> None:
        """Read nothing yet.

        :arg built_in: the built-in chain that the packets pass
        :arg near: where it is known
        """
        self._near = None if near is None else [network for network in map(_network, near.networks) if network]
        self._sets = near.sets if near else ()
        # What leaves it is the policy's.
        self._built_in = f"-A {built_in} "
        self._policy = "DROP" if ruleset.policies.get((table, built_in)) == "DROP" else "ACCEPT"
        self.ruleset = ruleset
        self.table = table
        self.packets = packets
        self.all = (1 << len(packets)) - 1
        self.likely = self.those(lambda packet: packet.likely)
        self._any_port = self.those(lambda packet: packet.destination_port == ANY_PORT)
        self._chains: dict[str, Effect] = {}
        self._read: dict[str, Read] = {}
        self._clauses: dict[Clause, Match] = {}
        self._ports = [_by_port(packet.source_port for packet in packets)]
        self._ports.append(_by_port(packet.destination_port for packet in packets))
        ends: dict[tuple[tuple[str | None, ...], tuple[str | None, ...]], int] = {}
        for number, packet in enumerate(packets):
            key = packet.source, packet.destination
            ends[key] = ends.get(key, 0) | 1 << number
        self._ends = [(*key, mask) for key, mask in ends.items()]
        self._from_anywhere = all(source == (None,) for source, _destination, _mask in self._ends)
        self._ban = Read(Match(self.all, 0, 0, 0, 0), Effect(bans=self.all), "DROP", goes=False)

    def those(self, condition: Callable[[Packet], bool]) -> int:
        """Return the packets for which something is true."""
        return sum(1 << number for number, packet in enumerate(self.packets) if condition(packet))

    def effect(self, line: str) -> Effect:
        """Return what a rule does to the packets that get to it."""
        return self.read(line).effect

    def read(self, line: str) -> Read:
        """Return what a rule says."""
        found = self._read.get(line)
        if found is None:
            ban = self._from_anywhere and BAN.match(line)
            found = self._read[line] = self._ban if ban else self._take_apart(line)
        return found

    def _take_apart(self, line: str) -> Read:
        conditions = clauses(line)
        match = self._match(conditions)
        last = conditions[-1] if conditions else None
        target = last.values[0] if last and last.option in ("-j", "-g") else None
        rest = last.values[1:] if last and target else ()
        goes = bool(last and last.option == "-g")
        built_in = line.startswith(self._built_in)
        if target == "RETURN" and built_in:
            target = self._policy
            # Who is named here is let in, rather than banned.
            match = match._replace(maybe=match.banned)
        effect = self._effect(line, match, target, rest) if match.banned else NONE
        if goes and built_in:
            self._by_policy(line, match, effect)
        return Read(match, effect, target, goes)

    def _effect(self, line: str, match: Match, target: str | None, rest: tuple[str, ...]) -> Effect:
        if target in DROPPING:
            return Effect(
                stops=match.partly,
                bans=match.banned,
                drops={line: match.maybe} if match.maybe else {},
                leaves=match.banned & ~match.surely,
            )
        if target in ACCEPTING:
            return Effect(accepts=match.banned, leaves=self.all & ~match.surely)
        if target in TRACKING and self.table == "raw":
            helps = target == "CT" and ("--helper", "ftp") in zip(rest, rest[1:])
            return Effect(tracks={} if helps or not match.maybe else {line: (match.maybe, match.surely)})
        if target is None or not self.ruleset.has(self.table, target):  # RETURN among them
            return Effect(leaves=self.all)
        chain = self.chain(target)
        return Effect(
            stops=match.partly & chain.stops,
            bans=match.banned & chain.bans,
            accepts=match.banned & chain.accepts,
            drops={rule: mask & match.maybe for rule, mask in chain.drops.items() if mask & match.maybe},
            tracks={
                rule: (maybe & match.maybe, surely & match.surely)
                for rule, (maybe, surely) in chain.tracks.items()
                if maybe & match.maybe
            },
            leaves=chain.leaves,
        )

    def _by_policy(self, line: str, match: Match, effect: Effect) -> None:
        """Add what becomes of packets that come back to a built-in chain which they have left for good."""
        if self._policy == "DROP":
            effect.stops |= match.partly & effect.leaves
            effect.bans |= match.banned & effect.leaves
            if match.maybe & effect.leaves:
                effect.drops[line] = match.maybe & effect.leaves
        else:
            effect.accepts |= match.banned & effect.leaves

    def chain(self, name: str) -> Effect:
        """Return what a chain does to the packets that enter it."""
        if name not in self._chains:
            self._chains[name] = Effect(leaves=self.all)  # the kernel lets no chain jump to itself
            self._chains[name] = self.walk(self.ruleset.chain(self.table, name))
        return self._chains[name]

    def walk(self, lines: Iterable[str]) -> Effect:
        """Return what rules do to packets, one after the other."""
        found = Effect()
        # Of the packets from no address in particular; of those that usually meet a rule; of all that may.
        alive = possible = reach = self.all
        for line in lines:
            read = self.read(line)
            match, effect = read.match, read.effect
            if read is self._ban:
                found.bans |= reach
                continue
            if not match.banned:
                continue
            found.stops |= alive & effect.stops
            found.bans |= reach & effect.bans
            found.accepts |= reach & effect.accepts
            if read.goes or read.target == "RETURN":
                found.leaves |= reach & match.banned & effect.leaves
            _merge(found, effect, possible, alive)
            gone = self._gone(read)
            alive, possible, reach = alive & ~gone[0], possible & ~gone[1], reach & ~gone[2]
            if not reach:
                break
        found.leaves |= reach
        return found

    def _gone(self, read: Read) -> tuple[int, int, int]:
        """Return the packets that do not go on behind a rule: from no address in particular, usually, surely."""
        match, target = read.match, read.target
        if target == "RETURN" or read.goes:
            return match.banned, match.usually, match.surely
        if target in ACCEPTING or (target in TRACKING and self.table == "raw"):
            return match.surely, match.usually, match.surely
        if target in DROPPING:
            return match.surely, match.surely, match.surely
        stays = read.effect.leaves
        return match.surely & ~stays, match.usually & ~stays, match.surely & ~stays

    def _match(self, conditions: Iterable[Clause]) -> Match:
        banned = maybe = usually = partly = surely = self.all
        for clause in conditions:
            if clause.option in ("--comment", "-j", "-g"):
                continue
            if clause.option in ("-s", "-d") or clause.option in PORTS:
                of = self._condition(clause)
            else:
                cached = self._clauses.get(clause)
                of = self._clauses[clause] = cached or self._condition(clause)
            banned &= of.banned
            if not banned:
                break
            maybe &= of.maybe
            usually &= of.usually
            partly &= of.partly
            surely &= of.surely
        return Match(banned, maybe & banned, usually & banned, partly & banned, surely & banned)

    def _condition(self, clause: Clause) -> Match:
        masks = [0] * 6
        if clause.option in PORTS:
            its = self._with_ports(clause)
            sure = (self.all & ~its if clause.negated else its) & ~self._any_port
            some = sure | self._any_port
            return Match(some, some, sure, sure, sure)
        if clause.option in ("-s", "-d"):
            for source, destination, mask in self._ends:
                end = source if clause.option == "-s" else destination
                sure = _published(clause, self._near) if end == ANYWHERE else _address(clause, end, self._near)
                masks[sure] |= mask
        else:
            value = _CONDITIONS.get(clause.option, _unknown)
            if clause.option == "--match-set" and clause.values[0] in self._sets:
                value = _unknown
            for number, packet in enumerate(self.packets):
                masks[value(clause, packet)] |= 1 << number
        surely = masks[TRUE]
        partly = surely | masks[PARTLY]
        maybe = partly | masks[USUALLY] | masks[MAYBE]
        return Match(maybe | masks[BANNED], maybe, surely | masks[USUALLY], partly, surely)

    def _with_ports(self, clause: Clause) -> int:
        """Return the packets whose ports are among those of a condition."""
        found = 0
        for number in PORTS[clause.option]:
            ports, masks = self._ports[number]
            for first, last in port_ranges(clause.values[0]):
                for index in range(bisect_left(ports, first), bisect_right(ports, last)):
                    found |= masks[index]
        return found


def _by_port(values: Iterable[int | None]) -> tuple[list[int], list[int]]:
    """Return the ports in their order, and the packets with each."""
    found: dict[int, int] = {}
    for number, port in enumerate(values):
        if port is not None:
            found[port] = found.get(port, 0) | 1 << number
    return sorted(found), [found[port] for port in sorted(found)]


def _merge(found: Effect, effect: Effect, possible: int, alive: int) -> None:
    """Add the rules that a rule leads to, with those of their packets that get there."""
    for rule, packets in effect.drops.items():
        if packets & possible and (rule in found.drops or len(found.drops) < NAMED):
            found.drops[rule] = found.drops.get(rule, 0) | packets & possible
    for rule, (maybe, surely) in effect.tracks.items():
        if maybe & possible and (rule in found.tracks or len(found.tracks) < NAMED):
            before = found.tracks.get(rule, (0, 0))
            found.tracks[rule] = before[0] | maybe & possible, before[1] | surely & alive


def _is(truth: object, clause: Clause) -> int:
    """Return how sure a condition is of which the truth is known."""
    return TRUE if bool(truth) is not clause.negated else FALSE


def _never(clause: Clause, _packet: Packet) -> int:
    """Of what asks for fragments, which connection tracking has put together, or for a wrong way in."""
    return _is(0, clause)


def _unknown(_clause: Clause, _packet: Packet) -> int:
    return MAYBE


def _always(_clause: Clause, _packet: Packet) -> int:
    return TRUE


def _at_low_rate(clause: Clause, _packet: Packet) -> int:
    return FALSE if clause.negated else USUALLY


def _at_high_rate(clause: Clause, _packet: Packet) -> int:
    return USUALLY if clause.negated else FALSE


def _at_high_rate_of_packets(clause: Clause, packet: Packet) -> int:
    """Tell of a rate that a transfer soon has more packets than; to open and to answer takes few."""
    return _at_high_rate(clause, packet) if packet.state != "ESTABLISHED" or "SYN" in packet.flags else MAYBE


def _protocol(clause: Clause, packet: Packet) -> int:
    name = PROTOCOLS.get(clause.values[0], clause.values[0])
    return _is(name in (packet.protocol, "all", "0"), clause)


def _interface(clause: Clause, packet: Packet) -> int:
    interface = packet.in_interface if clause.option == "-i" else packet.out_interface
    if not covers(clause.values[0], interface, negated=not clause.negated):
        return TRUE
    return PARTLY if covers(clause.values[0], interface, negated=clause.negated) else FALSE


def port_ranges(text: str) -> list[tuple[int, int]]:
    """Return the ranges of a condition on ports, each the first and the last."""
    found = []
    for ports in text.split(","):
        first, colon, last = ports.partition(":")
        found.append((int(first), int(last) if colon else int(first)))
    return found


def _state(clause: Clause, packet: Packet) -> int:
    states = clause.values[0].split(",")
    if packet.state not in states and {"DNAT", "SNAT"} & set(states):
        return MAYBE
    return _is(packet.state in states, clause)


def _direction(clause: Clause, packet: Packet) -> int:
    return _is(clause.values[0] == ("REPLY" if packet.reply else "ORIGINAL"), clause)


def _flags(clause: Clause, packet: Packet) -> int:
    flags = set(packet.flags.split(","))
    mask, asked = (
        {"FIN", "SYN", "RST", "PSH", "ACK", "URG"} if words == "ALL" else set(words.split(","))
        for words in clause.values[:2]
    )
    return _is(flags & mask == asked - {"NONE"}, clause)


def _icmp_type(clause: Clause, packet: Packet) -> int:
    return FALSE if packet.icmp_type is None else _is(clause.values[0] == packet.icmp_type, clause)


def _helper(clause: Clause, packet: Packet) -> int:
    return _is(packet.helper and clause.values[:1] in (("ftp",), ("",)), clause)


def _address_type(clause: Clause, packet: Packet) -> int:
    ends = packet.source if clause.option == "--src-type" else packet.destination
    if ends == ANYWHERE:
        return MAYBE
    return _is(bool({"UNICAST" if ends else "LOCAL"} & set(clause.values[0].split(","))), clause)


def _packet_type(clause: Clause, _packet: Packet) -> int:
    return _is(clause.values[0] in ("unicast", "host"), clause)


def _in_set(clause: Clause, packet: Packet) -> int:
    ends = packet.source if clause.values[1].startswith("src") else packet.destination
    return BANNED if ends and not clause.negated else MAYBE


def sets_with(networks: Iterable[str], printed: str) -> tuple[str, ...]:
    """Return the names of the ipsets that hold an address of some networks, among their first members.

    :arg printed: what C(ipset list) prints
    """
    near = [network for network in map(_network, networks) if network]
    found = []
    for text in printed.split("Name: ")[1:]:
        head, _title, members = text.partition("Members:\n")
        # Such as 192.0.2.1 timeout 60, or 192.0.2.0/24,tcp:80
        peers = (_network(re.split("[ ,]", member)[0]) for member in members.splitlines()[:MEMBERS] if member)
        if any(peer.version == other.version and peer.overlaps(other) for peer in peers if peer for other in near):
            found.append(head.splitlines()[0])
    return tuple(found)


def _bare(clause: Clause, _packet: Packet) -> int:
    """Tell what a match without options of its own asks for."""
    return TRUE if clause.values[0] in ("tcp", "udp", "conntrack", "state", "comment", "rpfilter") else MAYBE


def _address(clause: Clause, ends: tuple[str | None, ...], near: Sequence[Network] | None) -> int:
    text = clause.values[0]
    single = BANNED if text.endswith(("/32", "/128")) and not clause.negated and ends else MAYBE
    # The first octets of what no peer has.
    if text.startswith(("127.", "22", "23", "24", "25", "0.", "ff", "::1/")) and _nobody(text):
        return _is(0, clause)
    if not ends or (None in ends and (near is None or clause.negated or single == BANNED)):
        return single
    network = _network(text)
    if network is None:
        return single
    if None in ends:
        return MAYBE if any(network.overlaps(other) for other in near or ()) else BANNED
    among = [other for other in map(_network, filter(None, ends)) if other]
    if not any(network.overlaps(other) for other in among):
        return _is(0, clause)
    return _is(1, clause) if all(_within(other, network) for other in among) else single


def _published(clause: Clause, near: Sequence[Network] | None) -> int:
    """Tell whether the address may be meant that the host itself has for others."""
    network = _network(clause.values[0])
    if _nobody(clause.values[0]):
        return _is(0, clause)
    elsewhere = network and near and not clause.negated and not any(map(network.overlaps, near))
    return BANNED if elsewhere else MAYBE


def _within(one: Network, other: Network) -> bool:
    return one.version == other.version and one.prefixlen >= other.prefixlen and one.overlaps(other)


@cache
def _network(text: str) -> Network | None:
    try:
        return ipaddress.ip_network(text)
    except ValueError:  # a mask with holes
        return None


def _nobody(text: str) -> bool:
    """Tell whether no peer may have an address of a network."""
    return any(within is not None and _within(within, other) for within in [_network(text)] for other in NOBODY)


# What other conditions are, nobody knows here.
_CONDITIONS: dict[str, Callable[[Clause, Packet], int]] = {
    "-p": _protocol,
    "-i": _interface,
    "-o": _interface,
    "--ctstate": _state,
    "--state": _state,
    "--ctdir": _direction,
    "--ctproto": _protocol,
    "--tcp-flags": _flags,
    "--icmp-type": _icmp_type,
    "--icmpv6-type": _icmp_type,
    "--helper": _helper,
    "--src-type": _address_type,
    "--dst-type": _address_type,
    "--pkt-type": _packet_type,
    "-f": _never,
    "--invert": _never,
    "--match-set": _in_set,
    "-m": _bare,
    **dict.fromkeys(("--limit", "--hashlimit-upto", "--connlimit-upto"), _at_low_rate),
    "--hashlimit-above": _at_high_rate_of_packets,
    "--connlimit-above": _at_high_rate,
    **dict.fromkeys(
        (
            "--limit-burst",
            "--limit-iface-in",
            "--limit-iface-out",
            "--loose",
            "--validmark",
            "--accept-local",
            "--hashlimit-burst",
            "--hashlimit-mode",
            "--hashlimit-name",
            "--hashlimit-srcmask",
            "--hashlimit-dstmask",
            "--hashlimit-htable-size",
            "--hashlimit-htable-max",
            "--hashlimit-htable-expire",
            "--hashlimit-htable-gcinterval",
            "--hashlimit-rate-match",
            "--hashlimit-rate-interval",
            "--connlimit-mask",
            "--connlimit-saddr",
            "--connlimit-daddr",
            "--set",
            "--seconds",
            "--hitcount",
            "--name",
            "--mask",
            "--rsource",
            "--rdest",
            "--rttl",
            "--reap",
            "--mode",
        ),
        _always,
    ),
}
