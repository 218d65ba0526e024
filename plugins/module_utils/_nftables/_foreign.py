# Copyright (c) hostfw.conntrack contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the rules of native nftables tables do with a packet of FTP of which little is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables._ruleset import covers
from ansible_collections.hostfw.conntrack.plugins.module_utils._nftables._rule import Statement
from ansible_collections.hostfw.conntrack.plugins.module_utils._nftables._ruleset import Chain, Table


@dataclass(frozen=True)
class Packet:
    """A packet that opens an FTP connection, or answers on the control connection.

    - interfaces: those on which FTP is to pass; None is any
    - ports: what is known of them, by C(sport) and C(dport); nothing where it is any FTP connection's
    """

    interfaces: tuple[str | None, ...]
    ports: Mapping[str, int]
    state: str = "new"


def verdict(packet: Packet, table: Table, rule: Sequence[Statement], callers: Sequence[str] = ()) -> str | None:
    """Return what a rule does with a packet: C(accept), C(drop), C(reject), or C(return); None where it goes on.

    :arg callers: the names of the chains on the way, which no packet enters again
    """
    for statement in rule:
        (kind, value), *_rest = statement.items()
        if kind in ("accept", "drop", "reject", "return"):
            return kind
        if kind in ("jump", "goto"):
            found = _called(packet, table, value["target"], callers)
            return "return" if kind == "goto" and found is None else found
        if kind == "vmap":
            return _mapped(packet, table, value, callers)
        if kind not in ("counter", "log") and not (kind == "match" and _fulfilled(packet, table, value)):
            return None
    return None


def _called(packet: Packet, table: Table, name: str, callers: Sequence[str]) -> str | None:
    """Return what becomes of a packet in a chain that another one jumps to."""
    target = table.chains.get(name)
    return None if target is None or name in callers else walk(packet, table, target, [*callers, name])


def walk(packet: Packet, table: Table, chain: Chain, callers: Sequence[str] = ()) -> str | None:
    """Return what becomes of a packet in a chain; None where it comes to its end."""
    for rule in chain.rules:
        found = verdict(packet, table, rule.statements, callers)
        if found is not None:
            return None if found == "return" else found
    return None


def _mapped(packet: Packet, table: Table, vmap: Mapping[str, Any], callers: Sequence[str]) -> str | None:
    """Return what becomes of a packet by a verdict map; a drop where only some of the packets are dropped."""
    key = vmap["key"]
    parts = key["concat"] if isinstance(key, dict) and "concat" in key else [key]
    found: list[str | None] = []
    for entry, does in _values(table, vmap["data"]):
        values = entry["concat"] if isinstance(entry, dict) and "concat" in entry else [entry]
        matches = [{"left": left, "right": right, "op": "=="} for left, right in zip(parts, values)]
        if all(_fulfilled(packet, table, match) for match in matches):
            found.append(verdict(packet, table, [does], callers))
    return next((each for each in found if each in ("drop", "reject")), found[0] if found else None)


def _values(table: Table, right: object) -> list[Any]:
    """Return the values of the right side of a match or map, those of a named set or map, too."""
    if isinstance(right, str) and right.startswith("@"):
        return list(table.sets.get(right[1:], {}).get("elem", ()))
    if isinstance(right, dict) and "set" in right:
        return list(right["set"])
    return right if isinstance(right, list) else [right]


def _port_fulfilled(port: int, op: str, values: Sequence[Any]) -> bool:
    """Tell whether a match of ports is true for one."""
    if op in ("<", ">", "<=", ">=") and len(values) == 1 and isinstance(values[0], int):
        return {"<": port < values[0], ">": port > values[0], "<=": port <= values[0], ">=": port >= values[0]}[op]
    ranges = [value["range"] if isinstance(value, dict) and "range" in value else [value, value] for value in values]
    known = [(first, last) for first, last in ranges if isinstance(first, int) and isinstance(last, int)]
    if not known:
        return False
    return any(first <= port <= last for first, last in known) is not (op == "!=")


def _fulfilled(packet: Packet, table: Table, match: Mapping[str, Any]) -> bool:
    """Tell whether a match is true for a packet, whatever is not known of its ports and addresses."""
    left, right = match["left"], match["right"]
    values = _values(table, right)
    payload = left.get("payload", {}) if isinstance(left, dict) else {}
    if isinstance(payload, dict) and payload.get("protocol") in ("tcp", "th") and payload.get("field") in packet.ports:
        return _port_fulfilled(packet.ports[payload["field"]], match["op"], values)
    subject = next(iter(left), "") if isinstance(left, dict) else ""
    key = left[subject].get("key", "") if subject in ("meta", "ct") else ""
    negated = match["op"] == "!="
    if key in ("iif", "iifname", "oif", "oifname"):
        names = [value.replace("*", "+") for value in values if isinstance(value, str)]
        decide = all if negated else any
        return any(
            decide(covers(name, interface, negated=negated) for name in names) for interface in packet.interfaces
        )
    if key in ("l4proto", "state"):
        return (("tcp" if key == "l4proto" else packet.state) in values) is not negated
    return False
