# Copyright (c) hostfw.conntrack contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One iptables rule, as C(iptables -S) prints it and as the arguments of the module that adds it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

# For how many seconds an address stays in a live set, and how many there is room for.
LIVE_SECONDS = 60
LIVE_SIZE = 65536
PROGRAMS = {"ipv4": "iptables", "ipv6": "ip6tables"}
# The order in which libxt_conntrack prints --ctstate, whatever the order it was given in.
_CTSTATES = ("INVALID", "NEW", "RELATED", "ESTABLISHED", "UNTRACKED", "SNAT", "DNAT")


@dataclass(frozen=True)
class Rule:
    """A rule of one table and chain.

    All text is in the form that iptables prints: networks with their prefix length,
    ports as C(21), C(1024:65535) or C(21,990,50000:50099). With O(jump=CT), O(helper) is
    assigned to the connection; with any other jump it is matched. O(live_set) likewise:
    with O(jump=SET) the packet's sender enters it, with any other jump the packet's
    O(live_end) (C(src) or C(dst)) must be in it.

    O(port) is the packet's source or destination port. O(tcp_flags) has the flags that are looked at, and those of
    them that must be set, such as C(SYN,ACK SYN); O(connmark) is a mark with its mask that the connection must have.
    After a C(!), neither must be so. O(set_connmark) is what O(jump=CONNMARK) makes of the mark. O(dnat) asks for a
    connection whose destination NAT has changed.
    """

    table: str
    chain: str
    jump: str
    comment: str | None = None
    protocol: str | None = None
    source: str | None = None
    destination: str | None = None
    in_interface: str | None = None
    out_interface: str | None = None
    source_port: str | None = None
    destination_port: str | None = None
    port: str | None = None
    destination_type: str | None = None
    ctstate: tuple[str, ...] = ()
    ctstatus: str | None = None
    ctexpire: str | None = None
    ctdir: str | None = None
    dnat: bool = False
    tcp_flags: str | None = None
    connmark: str | None = None
    set_connmark: str | None = None
    live_set: str | None = None
    live_end: str | None = None
    helper: str | None = None

    @property
    def expressible(self) -> bool:
        """Tell whether the arguments of a module can say this rule."""
        beyond_both = (
            self.jump in ("SET", "CONNMARK"),
            self.port,
            self.ctstatus,
            self.ctexpire,
            self.ctdir,
            self.dnat,
            self.tcp_flags,
            "," in (self.source_port or ""),
        )
        return not any(beyond_both) and (self.helper is not None or not self.connmark)

    def spec(self) -> list[str]:
        """Return the rule's specification: what follows C(-A CHAIN), one word an item."""
        words = _flags(
            ("-s", self.source),
            ("-d", self.destination),
            ("-i", self.in_interface),
            ("-o", self.out_interface),
            ("-p", self.protocol),
        )
        states = ",".join(sorted(self.ctstate, key=_CTSTATES.index))
        for match, *options in (
            (
                "multiport",
                ("--sports", _several(self.source_port)),
                ("--dports", _several(self.destination_port)),
                ("--ports", self.port),
            ),
            (
                self.protocol,
                ("--sport", _one(self.source_port)),
                ("--dport", _one(self.destination_port)),
                _negatable("--tcp-flags", self.tcp_flags),
            ),
            ("addrtype", ("--dst-type", self.destination_type)),
            (
                "conntrack",
                ("--ctstate", states or None),
                ("--ctstatus", self.ctstatus),
                ("--ctexpire", self.ctexpire),
                ("--ctdir", self.ctdir),
            ),
            # Of the states that one match names, any is enough.
            ("conntrack", ("--ctstate", "DNAT" if self.dnat else None)),
            ("connmark", _negatable("--mark", self.connmark)),
            ("set", ("--match-set", self.live_set, self.live_end)),
            ("helper", ("--helper", self.helper if self.jump != "CT" else None)),
            ("comment", ("--comment", self.comment)),
        ):
            conditions = _flags(*options)
            if conditions:
                words += ["-m", str(match), *conditions]
        words += ["-j", self.jump]
        if self.helper is not None and self.jump == "CT":
            words += ["--helper", self.helper]
        if self.live_set is not None and self.jump == "SET":
            words += ["--add-set", self.live_set, "src", "--exist"]
        if self.set_connmark is not None:
            words += ["--set-xmark", self.set_connmark]
        return words

    def line(self) -> str:
        """Return the line that C(iptables -S) prints for this rule (1.8.7 to 1.8.11, nft and legacy)."""
        return " ".join(["-A", self.chain, *(word if word == "!" else quote(word) for word in self.spec())])

    def arguments(self, ip_version: str) -> dict[str, Any]:
        """Return the arguments that add this rule.

        They are those of ansible.builtin.iptables or, where the rule speaks of a
        helper, those of hostfw.conntrack.helper_rule.

        :arg ip_version: V(ipv4), V(ipv6) or V(both)
        """
        several = _several(self.destination_port)
        values = {
            "table": self.table,
            "chain": self.chain,
            "jump": self.jump,
            "comment": self.comment,
            "protocol": self.protocol,
            "source": self.source,
            "destination": self.destination,
            "in_interface": self.in_interface,
            "out_interface": self.out_interface,
            "source_port": self.source_port,
            "destination_port": _one(self.destination_port),
            "destination_ports": several.split(",") if several else None,
            "destination_type": self.destination_type,
            "ctstate": list(self.ctstate),
            "connmark": self.connmark,
            "match_set": self.live_set,
            "match_set_flags": self.live_end,
            "helper": self.helper,
            "ip_version": ip_version,
        }
        return {name: value for name, value in values.items() if value}


def _one(ports: str | None) -> str | None:
    """Return the ports where they are one, or one range."""
    return None if ports is None or "," in ports else ports


def _several(ports: str | None) -> str | None:
    """Return the ports where they are several, which is the match multiport's to say."""
    return ports if ports is not None and "," in ports else None


def _negatable(option: str, value: str | None) -> tuple[str | None, ...]:
    """Return an option with its words; an exclamation mark before them negates it."""
    if value is None:
        return option, None
    return (*(["!"] if value.startswith("!") else []), option, *value.lstrip("!").split())


def _flags(*flags: tuple[str | None, ...]) -> list[str]:
    """Return those of the flags that have all their values, each followed by them."""
    return [word for flag in flags if None not in flag for word in map(str, flag)]


def quote(word: str) -> str:
    """Quote a word as iptables does when it prints a rule (xtables_save_string)."""
    if re.fullmatch(r"[A-Za-z0-9_./:,+-]+", word):
        return word
    return '"' + re.sub(r"([\"'\\])", r"\\\1", word) + '"'


def _words(line: str) -> list[str]:
    """Split a printed rule at its spaces, and unquote its words."""
    return [
        re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL) if quoted else word
        for quoted, word in re.findall(r'"((?:[^"\\]|\\.)*)"|(\S+)', line, re.DOTALL)
    ]


class Clause(NamedTuple):
    """One condition or the target of a printed rule, such as C(! -i lo) or C(-j REJECT --reject-with ...)."""

    option: str
    values: tuple[str, ...]
    negated: bool = False


@cache
def clauses(line: str) -> tuple[Clause, ...]:
    """Split a printed rule (C(-A CHAIN ...)) into its clauses, without chain and without the C(-m NAME) of options.

    What follows C(-j) or C(-g) belongs to the target and is one clause with it.
    """
    words = (_words(line) if '"' in line else line.split())[2:]
    found: list[Clause] = []
    negated = False
    position = 0
    while position < len(words):
        word = words[position]
        if word == "!":
            negated = True
            position += 1
            continue
        if word in ("-j", "-g"):
            found.append(Clause(word, tuple(words[position + 1 :])))
            break
        end = position + 1
        while end < len(words) and words[end] != "!" and not words[end].startswith("-"):
            end += 1
        if word == "--comment":  # a comment may begin with a dash or be a lone "!"
            end = position + 2
        # A match without options of its own, such as -m socket, is a condition, too.
        if word != "-m" or words[end : end + 1] == ["-m"] or words[end : end + 1] in (["-j"], ["-g"], []):
            found.append(Clause(word, tuple(words[position + 1 : end]), negated))
            negated = False
        position = end
    return tuple(found)


def same(one: str, other: str) -> bool:
    """Tell whether two printed rules of one chain say the same, in whatever order their matches stand."""
    return one == other or (len(one) == len(other) and _sorted(one) == _sorted(other))


@cache
def _sorted(line: str) -> list[tuple[str, tuple[str, ...], bool]]:
    return sorted((clause.option, clause.values, clause.negated) for clause in clauses(line))


def comment_of(line: str) -> str | None:
    """Return the comment of a printed rule."""
    for clause in clauses(line):
        if clause.option == "--comment":
            return clause.values[0]
    return None


def target_of(line: str) -> str | None:
    """Return where a printed rule jumps or goes to; None for a rule without a target."""
    for clause in clauses(line):
        if clause.option in ("-j", "-g"):
            return clause.values[0]
    return None
