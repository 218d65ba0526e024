# Copyright (c) hostfw.conntrack contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Foreign rules of nftables in the words of iptables, so that one reader tells what both do to packets.

A rule becomes one line or several, one for each value of a set or a map. What iptables has no word for becomes a
condition of which nobody knows whether it is true.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables._ruleset import Ruleset
from ansible_collections.hostfw.conntrack.plugins.module_utils._nftables._rule import ADDRESSES, Statement
from ansible_collections.hostfw.conntrack.plugins.module_utils._nftables._ruleset import Chain, Listed, Table

UNKNOWN = "--unknown"
# What the reader takes for a condition that no packet of FTP meets.
NEVER = "-f"
# How many values of a set are looked at one by one; with more of addresses, it is most likely a list of bans.
VALUES = 64
# Their elements come and go.
CHANGING = {"dynamic", "timeout"}
VERDICTS = {"accept": "ACCEPT", "drop": "DROP", "reject": "REJECT", "return": "RETURN", "queue": "NFQUEUE"}
# What translates addresses; iptables has a target of each name.
NAT = ("dnat", "masquerade", "redirect", "snat")
# What names what is matched.
KEYS = ("field", "key", "result")
# What says nothing of which packets a rule is for.
PLAIN = ("counter", "log", "mangle", "ct helper", "ct timeout", "ct expectation", "notrack", "flow", "continue")
ICMP_TYPES = {
    "nd-router-solicit": 133,
    "nd-router-advert": 134,
    "nd-neighbor-solicit": 135,
    "nd-neighbor-advert": 136,
    "destination-unreachable": {"icmp": 3, "icmpv6": 1},
    "packet-too-big": 2,
    "time-exceeded": {"icmp": 11, "icmpv6": 3},
    "parameter-problem": {"icmp": 12, "icmpv6": 4},
    "echo-request": {"icmp": 8, "icmpv6": 128},
    "echo-reply": {"icmp": 0, "icmpv6": 129},
}


def name(chain: str) -> str:
    """Return the name of a chain that no target of iptables has."""
    return f"chain:{chain}"


@dataclass(frozen=True)
class Foreign:
    """The rules that packets of one IP version meet in a base chain, in table filter.

    - indexes: of each line of the base chain, the number of its rule
    - sources: of each line, the chain that its rule is in and the handle by which nft knows it
    """

    ruleset: Ruleset
    indexes: list[int]
    sources: dict[str, tuple[str, int]]


def read(
    ip_version: str, table: Table, base: tuple[str, Chain], rules: Sequence[Listed], hooks: Sequence[str]
) -> Foreign:
    """Return what packets meet.

    :arg base: the base chain, with its name
    :arg rules: those rules of it that are to be read
    :arg hooks: the chains of iptables that it is to be
    """
    words = _Words(ip_version, table)
    chains: dict[str, list[str]] = {}
    sources: dict[str, tuple[str, int]] = {}
    for chain_name, chain in table.chains.items():
        if not chain.hook:
            lines = chains[name(chain_name)] = []
            for rule in chain.rules:
                for line in words.lines(rule.statements):
                    lines.append(f"-A {name(chain_name)} {line}")
                    sources.setdefault(lines[-1], (chain_name, rule.handle))
    found = [(index, rule, line) for index, rule in enumerate(rules) for line in words.lines(rule.statements)]
    for hook in hooks:
        chains[hook] = [f"-A {hook} {line}" for _index, _rule, line in found]
        for _index, rule, line in reversed(found):
            sources[f"-A {hook} {line}"] = base[0], rule.handle
    policy = "DROP" if base[1].policy == "drop" else "ACCEPT"
    ruleset = Ruleset({"filter": chains}, {("filter", hook): policy for hook in hooks})
    return Foreign(ruleset, [index for index, _rule, _line in found], sources)


def translating(ip_version: str, table: Table) -> dict[str, tuple[str, int]]:
    """Return the lines of the rules that translate addresses as packets come in or go through, each with its rule.

    A rule is told by the chain that it is in and the handle by which nft knows it.
    """
    words = _Words(ip_version, table)
    return {
        f"-A {name(chain_name)} {line}": (chain_name, rule.handle)
        for chain_name, chain in table.chains.items()
        if chain.nat != "output"
        for rule in chain.rules
        if any(set(statement) & set(NAT) for statement in rule.statements)
        for line in words.lines(rule.statements)
    }


class _Words:
    """The words of iptables for the rules of one table, for one IP version."""

    def __init__(self, ip_version: str, table: Table) -> None:
        self.ip_version = ip_version
        self.table = table

    def lines(self, statements: Sequence[Statement]) -> Iterator[str]:
        """Return the lines of a rule, without chain; none where it is for no packet of this IP version."""
        found: list[list[str]] = []
        for statement in statements:
            (kind, value), *_rest = statement.items()
            if kind in ("jump", "goto", *NAT) or kind in VERDICTS:
                return self._made(found, [self._verdict(statement)])
            if kind == "vmap":
                return self._mapped(found, value)
            if kind == "match":
                found.append(self._condition(value["left"], value["right"], value["op"]))
            elif kind not in PLAIN:
                found.append([_rate(kind, value)])
        return iter(())

    def _made(self, conditions: Sequence[Sequence[str]], verdicts: Sequence[str]) -> Iterator[str]:
        for parts in product(*conditions, verdicts):
            if NEVER not in parts:
                yield " ".join(part for part in parts if part)

    def _verdict(self, statement: Statement) -> str:
        (kind, value), *_rest = statement.items()
        if kind in ("jump", "goto"):
            return f"{'-j' if kind == 'jump' else '-g'} {name(value['target'])}"
        if kind in NAT:
            return self._translation(kind, value or {})
        return f"-j {VERDICTS[kind]}" if kind in VERDICTS else ""

    def _translation(self, kind: str, to: Mapping[str, Any]) -> str:
        """Return the target of what translates addresses; where to, if it is one port, and no map says which."""
        if to.get("family", ADDRESSES[self.ip_version]) != ADDRESSES[self.ip_version]:
            return NEVER
        ports = (_number(to.get("port")) or "").replace(":", "-")
        address = to.get("addr", "")
        if not ports or not isinstance(address, str) or kind not in ("dnat", "redirect"):
            return f"-j {kind.upper()}"
        if kind == "redirect":
            return f"-j REDIRECT --to-ports {ports}"
        return f"-j DNAT --to-destination {f'[{address}]' if ':' in address else address}:{ports}"

    def _mapped(self, found: Sequence[Sequence[str]], vmap: Mapping[str, Any]) -> Iterator[str]:
        """Return the lines of a verdict map, one for each of its values."""
        parts = _concatenated(vmap["key"])
        for entry, does in self._values(vmap["data"]):
            values = _concatenated(_value(entry))
            conditions = [
                [""] if right == "*" else self._condition(left, right, "==") for left, right in zip(parts, values)
            ]
            yield from self._made([*found, *conditions], [self._verdict(does)])

    def _values(self, right: object) -> list[Any]:
        """Return the values of the right side of a match or map, those of a named set or map, too."""
        if isinstance(right, str) and right.startswith("@"):
            right = self.table.sets.get(right[1:], {}).get("elem", [])
        elif isinstance(right, dict) and "set" in right:
            right = right["set"]
        return [_value(each) for each in (right if isinstance(right, list) else [right])]

    def _condition(self, left: object, right: object, op: str) -> list[str]:
        """Return the conditions of a match, of which one must be true."""
        found: tuple[str, Any] = next(iter(left.items())) if isinstance(left, dict) and left else ("", {})
        subject, of = found
        if subject == "&":
            return self._masked(of, right, op)
        if not isinstance(of, dict):
            return [UNKNOWN]
        what = next((of[key] for key in KEYS if key in of), "")
        say = _SAY.get((subject, of.get("protocol", ""), what))
        named = right[1:] if isinstance(right, str) and right.startswith("@") else None
        if (
            say is None
            or op not in ("==", "!=", "in", "<", "<=", ">", ">=")
            or (named and named not in self.table.sets)
        ):
            return [UNKNOWN]
        values = self._values(right)
        if op[0] in "<>":
            values, op = _compared(op, values), "=="
        of_set = self.table.sets[named] if named else {"elem": values}
        # What is in a set of addresses is not always looked at.
        many = say is _address and (len(values) > VALUES or "elem" not in of_set)
        if many or CHANGING & set(of_set.get("flags", ())):
            values = [right if named else "@"]
        said = [say(self, of, value) for value in values]
        if op == "!=":
            return [UNKNOWN] if None in said else [" ".join(_negated(str(each)) for each in said if each != NEVER)]
        return [UNKNOWN if each is None else each for each in said]

    def _masked(self, sides: Sequence[Any], right: object, op: str) -> list[str]:
        """Return the conditions of a match of some flags of TCP."""
        left, mask = sides
        if left == {"payload": {"protocol": "tcp", "field": "flags"}} and op in ("==", "!="):
            asked, wanted = _flags(mask), _flags(right)
            if asked and wanted is not None:
                negated = "! " if op == "!=" else ""
                return [f"-p tcp {negated}--tcp-flags {','.join(asked)} {','.join(wanted) or 'NONE'}"]
        return [UNKNOWN]


def _concatenated(value: object) -> list[Any]:
    return list(value["concat"]) if isinstance(value, dict) and "concat" in value else [value]


def _value(element: object) -> Any:  # noqa: ANN401 any of JSON's values
    """Return the value of an element, which may have a timeout or a counter."""
    return element["elem"]["val"] if isinstance(element, dict) and "elem" in element else element


def _rate(kind: str, value: object) -> str:
    """Return the condition of a statement that lets go on only so much."""
    inner = value.get("stmt") if isinstance(value, dict) and kind in ("set", "meter") else None
    if inner:
        (kind, value), *_rest = (inner[0] if isinstance(inner, list) else inner).items()
    elif kind == "set":
        return ""
    over = isinstance(value, dict) and value.get("inv")
    if kind == "limit":
        return "--hashlimit-above 1" if over else "--limit 1"
    if kind == "ct count":
        return "--connlimit-above 1" if over else "! --connlimit-above 1"
    return UNKNOWN


def _compared(op: str, values: Sequence[Any]) -> list[Any]:
    """Return the range of numbers that are less, or more, than one."""
    number = values[0] if values and isinstance(values[0], int) else 0
    return [{"range": [0, number - (op == "<")] if op[0] == "<" else [number + (op == ">"), 65535]}]


def _negated(said: str) -> str:
    """Return the opposite of a condition, the last option of which is what is asked."""
    if not said:
        return NEVER
    head, space, last = said.rpartition(" -")
    return f"{head} ! -{last}" if space else f"! {said}"


def _flags(value: object) -> list[str] | None:
    """Return the flags of TCP that a side of a match has; None for what is no flag."""
    if value == 0:
        return []
    values = value if isinstance(value, list) else [value]
    return [str(each).upper() for each in values] if all(isinstance(each, str) for each in values) else None


def _number(value: object) -> str | None:
    """Return a port or a range of ports."""
    if isinstance(value, int):
        return str(value)
    ends = value.get("range") if isinstance(value, dict) else None
    return f"{ends[0]}:{ends[1]}" if ends and all(isinstance(end, int) for end in ends) else None


def _port(_words: _Words, of: Mapping[str, str], value: object) -> str | None:
    ports = _number(value)
    protocol = "" if of["protocol"] == "th" else f"-p {of['protocol']} "
    return ports and f"{protocol}--{of['field']} {ports}"


def _address(words: _Words, of: Mapping[str, str], value: object) -> str | None:
    if of["protocol"] != ADDRESSES[words.ip_version]:
        return NEVER
    option, end = ("-s", "src") if of["field"] == "saddr" else ("-d", "dst")
    if isinstance(value, str) and value.startswith("@"):
        return f"--match-set {value} {end}"
    prefix = value.get("prefix") if isinstance(value, dict) else None
    text = f"{prefix['addr']}/{prefix['len']}" if prefix else value
    try:
        return f"{option} {ipaddress.ip_network(str(text))}"
    except ValueError:  # a range, or the address of something else
        return None


def _interface(_words: _Words, of: Mapping[str, str], value: object) -> str | None:
    option = "-i" if of["key"].startswith("i") else "-o"
    return f"{option} {value.replace('*', '+')}" if isinstance(value, str) and not value.startswith("@") else None


def _protocol(words: _Words, of: Mapping[str, str], value: object) -> str | None:
    if of.get("protocol", ADDRESSES[words.ip_version]) != ADDRESSES[words.ip_version]:
        return NEVER
    return f"-p {value}" if isinstance(value, (int, str)) else None


def _family(words: _Words, _of: Mapping[str, str], value: object) -> str | None:
    return "" if value in (words.ip_version, ADDRESSES[words.ip_version]) else NEVER


def _state(_words: _Words, _of: Mapping[str, str], value: object) -> str | None:
    return f"--ctstate {value.upper()}" if isinstance(value, str) else None


def _status(_words: _Words, _of: Mapping[str, str], value: object) -> str | None:
    return f"--ctstate {value.upper()}" if value in ("dnat", "snat") else None


def _direction(_words: _Words, _of: Mapping[str, str], value: object) -> str | None:
    return f"--ctdir {str(value).upper()}"


def _helper(_words: _Words, _of: Mapping[str, str], value: object) -> str | None:
    return f"--helper {value}"


def _type_of_address(_words: _Words, of: Mapping[str, Any], value: object) -> str | None:
    ends = of.get("flags", [])
    ends = [ends] if isinstance(ends, str) else ends
    side = {"saddr": "src", "daddr": "dst"}.get(ends[0]) if len(ends) == 1 else None
    return f"--{side}-type {value.upper()}" if side and isinstance(value, str) else None


def _route(_words: _Words, _of: Mapping[str, str], value: object) -> str | None:
    """Of what came in by a wrong interface, which FTP is not to do."""
    return {False: NEVER, True: ""}.get(value) if isinstance(value, bool) else None


def _type_of_packet(_words: _Words, _of: Mapping[str, str], value: object) -> str | None:
    return f"--pkt-type {value}"


def _type_of_icmp(words: _Words, of: Mapping[str, str], value: object) -> str | None:
    protocol = of["protocol"]
    if protocol != {"ipv4": "icmp", "ipv6": "icmpv6"}[words.ip_version]:
        return NEVER
    number = ICMP_TYPES.get(value, value) if isinstance(value, str) else value
    number = number.get(protocol) if isinstance(number, dict) else number
    return f"-p {protocol} --{protocol}-type {number}" if isinstance(number, int) else None


def _flags_of_tcp(_words: _Words, _of: Mapping[str, str], value: object) -> str | None:
    return f"-p tcp --tcp-flags {value.upper()} {value.upper()}" if isinstance(value, str) else None


# By the kind of what is matched, its protocol, and its field, key or result.
_SAY: dict[tuple[str, str, str], Callable[[_Words, Any, Any], str | None]] = {
    **{("payload", protocol, port): _port for protocol in ("tcp", "udp", "th") for port in ("sport", "dport")},
    **{("payload", protocol, field): _address for protocol in ("ip", "ip6") for field in ("saddr", "daddr")},
    ("payload", "ip", "protocol"): _protocol,
    ("payload", "ip6", "nexthdr"): _protocol,
    ("payload", "icmp", "type"): _type_of_icmp,
    ("payload", "icmpv6", "type"): _type_of_icmp,
    ("payload", "tcp", "flags"): _flags_of_tcp,
    **{("meta", "", key): _interface for key in ("iif", "iifname", "oif", "oifname")},
    ("meta", "", "l4proto"): _protocol,
    ("meta", "", "nfproto"): _family,
    ("meta", "", "protocol"): _family,
    ("meta", "", "pkttype"): _type_of_packet,
    ("ct", "", "state"): _state,
    ("ct", "", "status"): _status,
    ("ct", "", "direction"): _direction,
    ("ct", "", "helper"): _helper,
    ("fib", "", "type"): _type_of_address,
    ("fib", "", "oif"): _route,
}
