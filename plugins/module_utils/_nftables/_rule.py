# Copyright (c) hostfw.conntrack contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A rule as nftables has it: the statements that C(nft --json) prints, and the words that C(nft --file) reads.

The statements are those of libnftables-json(5), in the one form that normal() makes of what each version prints
(0.9.8 to 1.1.4); what a rule has counted is no part of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables._rule import LIVE_SECONDS, Rule

Statement = dict[str, Any]

VERDICTS = {"ACCEPT": "accept", "DROP": "drop", "RETURN": "return"}
# Which of both nft prints depends on its version and on /etc/protocols, as what it reads does.
PROTOCOLS = {1: "icmp", 6: "tcp", 58: "ipv6-icmp"}
NUMBERS = {name: number for number, name in PROTOCOLS.items()}
ADDRESSES = {"ipv4": "ip", "ipv6": "ip6"}
ALL = 0xFFFFFFFF


def statements(rule: Rule, ip_version: str, *, both: bool = False) -> list[list[Statement]]:
    """Return what says a rule of iptables: one rule, or two where it asks for a port at either end.

    :arg both: whether the table is for both IP versions, so that the rule must say which it is for
    """
    found: list[Statement] = []
    ip = ADDRESSES[ip_version]
    tells = rule.source or rule.destination or (rule.protocol or "").endswith("icmp")
    if both and not tells:
        found.append(_match(_meta("nfproto"), ip_version))
    for key, interface in (("iifname", rule.in_interface), ("oifname", rule.out_interface)):
        if interface is not None:
            found.append(_match(_meta(key), interface.replace("+", "*")))
    for field, network in (("saddr", rule.source), ("daddr", rule.destination)):
        if network is not None:
            found.append(_match(_payload(ip, field), _network(network)))
    ports = [("sport", rule.source_port), ("dport", rule.destination_port)]
    if rule.protocol and rule.port is None and not any(port for _field, port in ports):
        found.append(_match(_meta("l4proto"), rule.protocol))
    found += [_match(_payload("tcp", field), _ports(port)) for field, port in ports if port is not None]
    either = [_match(_payload("tcp", field), _ports(rule.port)) for field in ("sport", "dport") if rule.port]
    rest = [*_conditions(rule, ip), *_does(rule, ip)]
    return [[*found, port, *rest] for port in either] or [[*found, *rest]]


def _conditions(rule: Rule, ip: str) -> list[Statement]:
    """Return what a rule asks of the packet's flags, of its destination and of its connection."""
    value, mask = _mark((rule.connmark or "0/0").lstrip("!"))
    mark = {"&": [_ct("mark"), mask]}, value, "!=" if (rule.connmark or "").startswith("!") else "=="
    within = int((rule.ctexpire or ":0").partition(":")[2]) + 1
    live = "saddr" if rule.live_end == "src" else "daddr"
    asked: tuple[tuple[object, tuple[Any, ...]], ...] = (
        (rule.tcp_flags, _flags(rule.tcp_flags or "NONE NONE")),
        (rule.destination_type, ({"fib": {"result": "type", "flags": ["daddr"]}}, _lower(rule.destination_type))),
        (rule.ctstate, (_ct("state"), _some([state.lower() for state in rule.ctstate]), "in")),
        (rule.ctstatus, (_ct("status"), _lower(rule.ctstatus), "in")),
        (rule.dnat, (_ct("status"), "dnat", "in")),
        (rule.ctexpire, (_ct("expiration"), within, "<")),
        (rule.ctdir, (_ct("direction"), _lower(rule.ctdir))),
        (rule.connmark, mark),
        (rule.live_set and rule.jump != "SET", (_payload(ip, live), f"@{rule.live_set}")),
        (rule.helper and rule.jump != "CT", (_ct("helper"), rule.helper)),
    )
    return [_match(*match) for asks, match in asked if asks]


def _flags(text: str) -> tuple[Any, ...]:
    """Return what a rule asks of the flags of TCP."""
    asked, are_set = ([flag.lower() for flag in flags.split(",")] for flags in text.lstrip("!").split())
    flags = _payload("tcp", "flags")
    return (flags, _some(asked), "in") if are_set == ["none"] else ({"&": [flags, _some(asked)]}, _some(are_set))


def _lower(word: str | None) -> str:
    return (word or "").lower()


def _does(rule: Rule, ip: str) -> list[Statement]:
    """Return what a rule does with the packets that it is for."""
    if rule.jump == "CT":
        return [{"ct helper": rule.helper}]
    if rule.jump == "SET":
        element = {"val": _payload(ip, "saddr"), "timeout": LIVE_SECONDS}
        return [{"set": {"op": "update", "elem": {"elem": element}, "set": f"@{rule.live_set}"}}]
    if rule.jump == "CONNMARK":
        value, mask = _mark(str(rule.set_connmark))
        # As nft itself makes it shorter.
        kept = ~mask & ALL | value
        mark = _ct("mark") if kept == ALL else {"&": [_ct("mark"), kept]}
        return [{"mangle": {"key": _ct("mark"), "value": {"|": [mark, value]}}}]
    if rule.jump in VERDICTS:
        return [{VERDICTS[rule.jump]: None}]
    return [{"jump": {"target": rule.jump}}]


def _match(left: Mapping[str, Any], right: object, op: str = "==") -> Statement:
    return {"match": {"op": op, "left": left, "right": right}}


def _meta(key: str) -> Statement:
    return {"meta": {"key": key}}


def _ct(key: str) -> Statement:
    return {"ct": {"key": key}}


def _payload(protocol: str, field: str) -> Statement:
    return {"payload": {"protocol": protocol, "field": field}}


def _mark(text: str) -> tuple[int, int]:
    value, _slash, mask = text.partition("/")
    return int(value, 16), int(mask, 16)


def _network(text: str) -> object:
    """Return a network; an address alone where it is no more than one."""
    address, _slash, length = text.partition("/")
    if length in ("", "128" if ":" in address else "32"):
        return address
    return {"prefix": {"addr": address, "len": int(length)}}


def _ports(text: str) -> object:
    """Return ports, one, a range, or several of both."""
    found: list[Any] = []
    for part in text.split(","):
        first, colon, last = part.partition(":")
        found.append({"range": [int(first), int(last)]} if colon else int(first))
    return _set(found)


def _set(values: Sequence[Any]) -> object:
    """Return a set, or its only port or range, as nft makes of it; values of a map are lists."""
    merged = _merged(values)
    return merged[0] if len(merged) == 1 and isinstance(merged[0], (int, dict)) else {"set": merged}


def _merged(values: Sequence[Any]) -> list[Any]:
    """Return what a set holds in one form: ports in their order, with ranges that touch made one, as nft may do."""
    ranges = [value["range"] if isinstance(value, dict) and "range" in value else [value, value] for value in values]
    if not all(isinstance(end, int) for ends in ranges for end in ends):
        return list(values)
    found: list[list[int]] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1][1] = max(last, found[-1][1])
        else:
            found.append([first, last])
    return [first if first == last else {"range": [first, last]} for first, last in found]


def _some(values: Sequence[str]) -> object:
    """Return one value, or several in their order."""
    return values[0] if len(values) == 1 else sorted(values)


def normal(statements: Sequence[Statement]) -> list[Statement]:
    """Return the statements that nft prints of a rule in the one form, without what it has counted."""
    return [_normal(statement) for statement in statements if next(iter(statement)) != "counter"]


def _normal(item: object) -> Any:  # noqa: ANN401 any of JSON's values
    if isinstance(item, list):
        # Only flags and states are lists of words, and their order says nothing.
        values = [_normal(each) for each in item]
        return sorted(values) if all(isinstance(each, str) for each in values) else values
    if not isinstance(item, dict):
        return item
    words = _words(item)
    if words is not None:
        return sorted(words)
    if list(item) == ["set"] and isinstance(item["set"], list):
        return _set(item["set"])
    made = {key: _normal(listed(value) if key == "flags" else value) for key, value in item.items()}
    if made.get("left") == _meta("l4proto") and isinstance(made["right"], int):
        made["right"] = PROTOCOLS.get(made["right"], made["right"])
    return made


def listed(flags: object) -> object:
    """Return flags as a list, of which newer versions of nft print one alone as a word."""
    return [flags] if isinstance(flags, str) else flags


def _words(item: object) -> list[str] | None:
    """Return the words of nested bitwise ors; None where it is something else."""
    if not isinstance(item, dict) or list(item) != ["|"]:
        return None
    parts = [[part] if isinstance(part, str) else _words(part) for part in item["|"]]
    return None if None in parts else [word for part in parts if part for word in part]


def text(statements: Sequence[Statement], comment: str | None = None) -> str:
    """Return a rule in the words that C(nft --file) reads; what is no rule of ours, as JSON."""
    words = [_text(statement) for statement in statements[:-1]]
    # Counts what meets all its conditions.
    words += ["counter", *map(_text, statements[-1:])]
    return " ".join(words) + (f' comment "{comment}"' if comment else "")


def _text(statement: Statement) -> str:
    (kind, value), *_rest = statement.items()
    return _PRINTED[kind](value) if kind in _PRINTED else json.dumps(statement)


def _match_text(match: Mapping[str, Any]) -> str:
    op = "" if match["op"] in ("==", "in") else f"{match['op']} "
    left, right = _text(match["left"]), _value(match["right"])
    if left in ("iifname", "oifname", "ct helper"):
        right = f'"{right}"'
    elif left == "meta l4proto":
        right = str(NUMBERS.get(right, right))
    elif left.startswith("ct mark &"):
        op, right = op or "== ", f"{match['right']:#x}"
    elif left.startswith("tcp flags &"):
        op, right = "== ", f"({right.replace(',', ' | ')})"
    return f"{left} {op}{right}"


def _bits_text(op: str, sides: Sequence[Any]) -> str:
    left, right = sides
    mask = f"{right:#x}" if isinstance(right, int) else f"({_value(right).replace(',', ' | ')})"
    return f"{_text(left)} {op} {mask}"


def _set_text(value: Mapping[str, Any]) -> str:
    element = value["elem"]["elem"]
    return f"{value['op']} {value['set']} {{ {_text(element['val'])} timeout {element['timeout']}s }}"


_PRINTED: dict[str, Callable[[Any], str]] = {
    "match": _match_text,
    "accept": lambda _none: "accept",
    "drop": lambda _none: "drop",
    "return": lambda _none: "return",
    "jump": lambda jump: f"jump {jump['target']}",
    "ct helper": lambda name: f'ct helper set "{name}"',
    "set": _set_text,
    "mangle": lambda value: f"{_text(value['key'])} set {_text(value['value'])}",
    "meta": lambda of: of["key"] if of["key"] in ("iifname", "oifname") else f"meta {of['key']}",
    "ct": lambda of: f"ct {of['key']}",
    "payload": lambda of: f"{of['protocol']} {of['field']}",
    "fib": lambda of: f"fib {' . '.join(of['flags'])} {of['result']}",
    "&": lambda sides: _bits_text("&", sides),
    "|": lambda sides: _bits_text("|", sides),
}


def _value(value: object) -> str:
    """Return the right side of a match in words."""
    if isinstance(value, list):
        return ",".join(map(_value, value))
    if not isinstance(value, dict):
        return str(value)
    (kind, of), *_rest = value.items()
    if kind == "prefix":
        return f"{of['addr']}/{of['len']}"
    if kind == "range":
        return f"{of[0]}-{of[1]}"
    return f"{{ {', '.join(map(_value, of))} }}" if kind == "set" else json.dumps(value)
