# Copyright (c) hostfw.conntrack contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Others in charge of the firewall, whose drop no ACCEPT of iptables can undo: firewalld, and native nftables rules.

A packet must be accepted by every base chain on its hook.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ansible_collections.hostfw.conntrack.plugins.module_utils._diagnosis._findings import Finding
from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp._desired import Desired
from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp._options import IP_VERSIONS, Options
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables._rule import Rule
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables._ruleset import covers

FAMILIES = {"ip": ("ipv4",), "ip6": ("ipv6",), "inet": IP_VERSIONS}
# What iptables-nft makes; iptables-save shows what is in them, but no other base chains of the same tables.
OF_IPTABLES = ("raw", "mangle", "nat", "filter", "security")
BUILT_IN = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")

# NF_IP_PRI_CONNTRACK in the kernel's netfilter_ipv4.h.
CONNTRACK = -200
# The chains of iptables whose packets pass each hook.
HOOKS = {
    "input": ("INPUT",),
    "output": ("OUTPUT",),
    "forward": ("FORWARD",),
    "prerouting": ("INPUT", "FORWARD"),
    "postrouting": ("OUTPUT", "FORWARD"),
}

TASK = "ansible.posix.firewalld: {service: ftp, state: enabled, permanent: true, immediate: true}"


@dataclass
class Chain:
    """A chain of a native nftables table, with its rules as nft prints them in JSON."""

    family: str
    table: str
    name: str
    hook: str | None
    policy: str | None
    priority: int = 0
    rules: list[list[dict[str, Any]]] = field(default_factory=list)


def firewalld(root: str = "/") -> bool:
    """Tell whether firewalld runs, in the network namespace of this process."""
    here = Path(root, "proc/self/ns/net").readlink()
    for process in Path(root, "proc").glob("[0-9]*"):
        try:
            if Path(process, "comm").read_text(encoding="utf-8").strip() != "firewalld":
                continue
            if Path(process, "ns/net").readlink() == here:
                return True
        except OSError:  # it has ended
            continue
    return False


def conflicts(desired: Desired, nft: str, *, firewalld_runs: bool) -> list[Finding]:
    """Return who else must let FTP through, each with how.

    :arg nft: what C(nft --json --terse list ruleset) prints; empty where there is no nft
    """
    options = desired.options
    if not any(desired.rules[ip_version].jumps for ip_version in IP_VERSIONS):
        return []
    found = [Finding("firewalld-drops", how=firewalld_allows(options))] if firewalld_runs else []
    chains = parse(nft)
    sets = elements(nft)
    for chain in chains.values():
        if firewalld_runs and chain.table == "firewalld":
            continue
        rules = accepting(desired, chain)
        if not rules or not drops(desired, chains, chain, sets):
            continue
        place = {"chain": chain.name, "family": chain.family, "table": chain.table}
        if chain.hook == "prerouting" and chain.priority <= CONNTRACK:
            found.append(Finding("nftables-drops-early", **place, priority=CONNTRACK))
        else:
            insert = f"nft 'insert rule {chain.family} {chain.table} {chain.name}"
            commands = "\n".join(f"  {insert} {rule} accept'" for rule in rules)
            found.append(Finding("nftables-drops", **place, commands=commands))
    return found


def firewalld_allows(options: Options) -> str:
    """Return how firewalld lets FTP through: on a server by a service in its zone, else by a policy."""
    commands, service = _firewalld_service(options)
    if options.side == "server":
        commands.append(f"--add-service={service}")
    else:
        commands.append("--new-policy=hostfw-ftp")
        commands += [f"--policy=hostfw-ftp --add-{end}-zone={zone}" for end, zone in _firewalld_zones(options)]
        commands.append(f"--policy=hostfw-ftp --add-service={service}")
    if options.side == "client" and options.tls and options.active:
        ports = options.active_ports.replace(":", "-")
        commands += [
            f'--add-rich-rule=\'rule family="{ip_version}" source address="{peer}" port port="{ports}" '
            'protocol="tcp" accept\''
            for ip_version, peers in options.peers.items()
            for peer in peers
        ]
    lines = [f"  firewall-cmd --permanent {command} &&" for command in commands]
    lines = [*lines, "  firewall-cmd --reload"]
    if options.side == "server" and service == "ftp":
        how = f"the task\n  {TASK}\nor the command\n  {' '.join(line.strip() for line in lines)}"
    else:
        how = "\n".join(["the commands", *lines])
    notes = []
    if options.side == "server":
        notes.append("in the zone of the interface, where that is not the default one (--zone)")
    if any(None not in peers for peers in options.peers.values()):
        notes.append("for all addresses, unless the zone has those of ftp_allowed_addresses as its sources")
    if options.tls and options.passive:
        notes.append(
            "with the passive ports open to whoever may connect, whether they hold a control connection or not"
        )
    if options.nat:
        notes.append("but not through a forward-port or DNAT of firewalld, after which its helper comes too late")
    return "\n".join([how, *(f"  ({note})" for note in notes)])


def _firewalld_service(options: Options) -> tuple[list[str], str]:
    """Return the commands that make a service of firewalld, and its name; firewalld has one for port 21."""
    if options.control_ports == ("21",) and not options.tls:
        return [], "ftp"
    name = "hostfw-ftp"
    commands = []
    helper = "ftp"
    if options.control_ports != ("21",):
        helper = name
        commands.append(f"--new-helper={name} --module=nf_conntrack_ftp")
        commands += [f"--helper={name} --add-port={port}/tcp" for port in options.control_ports]
    passive = [options.passive_ports.replace(":", "-")] if options.tls and options.passive else []
    commands.append(f"--new-service={name}")
    commands += [f"--service={name} --add-port={port}/tcp" for port in (*options.control_ports, *passive)]
    return [*commands, f"--service={name} --add-helper={helper}"], name


def _firewalld_zones(options: Options) -> list[tuple[str, str]]:
    """Return the zones of a policy, each with whether packets come in (ingress) or go out (egress) there."""
    if options.side == "client":
        return [("ingress", "HOST"), ("egress", "ANY")]
    found = []
    for end, interfaces in (("ingress", options.interfaces), ("egress", options.out_interfaces)):
        unnamed = any(name is None or name.endswith("+") for name in interfaces)
        zones = ["ANY"] if unnamed else [_zone_of(str(name)) for name in interfaces]
        found += [(end, zone) for zone in zones]
    return found


def _zone_of(interface: str) -> str:
    command = f"firewall-cmd --get-zone-of-interface={interface} 2>/dev/null || firewall-cmd --get-default-zone"
    return f'"$({command})"'


def parse(text: str) -> dict[tuple[str, str, str], Chain]:
    """Read the chains of native nftables tables, by family, table and name.

    :arg text: what C(nft --json --terse list ruleset) prints
    """
    found: dict[tuple[str, str, str], Chain] = {}
    for item in json.loads(text)["nftables"] if text.strip() else ():
        of = item.get("chain") or item.get("rule")
        if not of or of["family"] not in FAMILIES:
            continue
        if "chain" in item:
            own = of["family"] != "inet" and of["table"] in OF_IPTABLES and of["name"] in BUILT_IN
            hook = of.get("hook") if of.get("type") == "filter" and not own else None
            key = of["family"], of["table"], of["name"]
            found[key] = Chain(*key, hook, of.get("policy"), of.get("prio", 0))
        else:
            found[of["family"], of["table"], of["chain"]].rules.append(of["expr"])
    return found


def elements(text: str) -> dict[tuple[str, str, str], list[Any]]:
    """Read what named sets and maps hold, by family, table and name; those that nft was not asked for have nothing.

    :arg text: what C(nft --json list ruleset) prints
    """
    items = json.loads(text)["nftables"] if text.strip() else ()
    named = [item.get("set") or item.get("map") for item in items]
    return {(of["family"], of["table"], of["name"]): of["elem"] for of in named if of and "elem" in of}


@dataclass(frozen=True)
class _Packet:
    """A packet that opens an FTP connection, or answers on the control connection.

    - ports: what is known of them, by C(sport) and C(dport); nothing where it is any FTP connection's
    """

    options: Options
    chains: Mapping[tuple[str, str, str], Chain]
    sets: Mapping[tuple[str, str, str], list[Any]]
    ports: Mapping[str, int]
    state: str = "new"


def drops(
    desired: Desired,
    chains: Mapping[tuple[str, str, str], Chain],
    chain: Chain,
    sets: Mapping[tuple[str, str, str], list[Any]],
) -> bool:
    """Tell whether a base chain drops what none of its rules names, or control connections."""
    options = desired.options
    packets = [_Packet(options, chains, sets, {})]
    jumps = desired.rules[FAMILIES[chain.family][0]].jumps
    ways = {jump.chain: None for jump in jumps if jump.table == "filter"}
    here = [way for way in ways if way in HOOKS[str(chain.hook)]]
    for port in map(int, options.control_ports):
        outwards = options.side == "client"
        if "FORWARD" in here or ("OUTPUT" if outwards else "INPUT") in here:
            packets.append(_Packet(options, chains, sets, {"dport": port}))
        if "FORWARD" in here or ("INPUT" if outwards else "OUTPUT") in here:
            packets.append(_Packet(options, chains, sets, {"sport": port}, "established"))
    verdicts = [_verdict(packet, chain, ()) or chain.policy for packet in packets]
    return bool({"drop", "reject"} & set(verdicts))


def _verdict(packet: _Packet, chain: Chain, callers: Sequence[str]) -> str | None:
    """Return what becomes of a packet on the interfaces in question, of which no more is known."""
    for rule in chain.rules:
        for statement in rule:
            (kind, value), *_rest = statement.items()
            if kind in ("accept", "drop", "reject"):
                return kind
            if kind == "return":
                return None
            if kind in ("jump", "goto"):
                verdict = _called(packet, chain, value["target"], callers)
                if verdict or kind == "goto":
                    return verdict
            elif kind == "vmap":
                verdict = _mapped(packet, chain, value, callers)
                if verdict:
                    return verdict
            elif kind not in ("counter", "log") and not (kind == "match" and _fulfilled(packet, chain, value)):
                break
    return None


def _called(packet: _Packet, chain: Chain, name: str, callers: Sequence[str]) -> str | None:
    """Return what becomes of a packet in a chain that another one jumps to."""
    target = packet.chains.get((chain.family, chain.table, name))
    return None if target is None or name in callers else _verdict(packet, target, [*callers, name])


def _mapped(packet: _Packet, chain: Chain, vmap: Mapping[str, Any], callers: Sequence[str]) -> str | None:
    """Return what becomes of a packet by a verdict map; a drop where only some of the packets are dropped."""
    key = vmap["key"]
    parts = key["concat"] if isinstance(key, dict) and "concat" in key else [key]
    found: list[str | None] = []
    for entry, verdict in _values(packet, chain, vmap["data"]):
        values = entry["concat"] if isinstance(entry, dict) and "concat" in entry else [entry]
        matches = [{"left": left, "right": right, "op": "=="} for left, right in zip(parts, values)]
        if all(_fulfilled(packet, chain, match) for match in matches):
            found.append(_verdict(packet, replace(chain, rules=[[verdict]]), callers))
    return next((verdict for verdict in found if verdict in ("drop", "reject")), found[0] if found else None)


def _values(packet: _Packet, chain: Chain, right: object) -> list[Any]:
    """Return the values of the right side of a match or map, those of a named set or map, too."""
    if isinstance(right, str) and right.startswith("@"):
        return packet.sets.get((chain.family, chain.table, right[1:]), [])
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


def _fulfilled(packet: _Packet, chain: Chain, match: Mapping[str, Any]) -> bool:
    """Tell whether a match is true for a packet, whatever is not known of its ports and addresses."""
    options = packet.options
    left, right = match["left"], match["right"]
    values = _values(packet, chain, right)
    payload = left.get("payload", {}) if isinstance(left, dict) else {}
    if isinstance(payload, dict) and payload.get("protocol") in ("tcp", "th") and payload.get("field") in packet.ports:
        return _port_fulfilled(packet.ports[payload["field"]], match["op"], values)
    subject = next(iter(left), "") if isinstance(left, dict) else ""
    key = left[subject].get("key", "") if subject in ("meta", "ct") else ""
    negated = match["op"] == "!="
    if key in ("iif", "iifname", "oif", "oifname"):
        names = [value.replace("*", "+") for value in values if isinstance(value, str)]
        asked = options.interfaces + options.out_interfaces
        decide = all if negated else any
        return any(decide(covers(name, interface, negated=negated) for name in names) for interface in asked)
    if key in ("l4proto", "state"):
        return (("tcp" if key == "l4proto" else packet.state) in values) is not negated
    return False


def accepting(desired: Desired, chain: Chain) -> list[str]:
    """Return the conditions of the nftables rules that accept in a base chain what our chains accept."""
    found: list[str] = []
    for ip_version in FAMILIES[chain.family]:
        rules = [rule for rule in desired.rules[ip_version].inside if rule.table == "filter"]
        inside = [name for _table, name in desired.chains.all()]
        for jump in desired.rules[ip_version].jumps:
            if jump.table != "filter" or jump.chain not in HOOKS.get(str(chain.hook), ()):
                continue
            for rule in rules:
                if rule.chain != jump.jump:
                    continue
                last = [other for other in rules if other.chain == rule.jump] if rule.jump in inside else [None]
                ways = [(jump, rule, other) for other in last]
                possible = [way for way in ways if len({each.protocol for each in way if each} - {None}) <= 1]
                found += [" ".join(_conditions(_known(way, chain), ip_version)) for way in possible]
    return list(dict.fromkeys(found))


def _known(way: Sequence[Rule | None], chain: Chain) -> list[Rule | None]:
    """Return rules with those conditions alone that can be asked at a hook.

    Before routing, nobody knows where a packet goes, and the guard has not marked the first one.
    """
    if chain.hook == "prerouting":
        return [rule and replace(rule, out_interface=None, connmark=None) for rule in way]
    return list(way)


def _conditions(way: Sequence[Rule | None], ip_version: str) -> list[str]:
    """Return the conditions of rules that follow one another, in nftables' words."""
    found: list[str] = []
    ip = "ip" if ip_version == "ipv4" else "ip6"
    for rule in way:
        if rule is None:
            continue
        states = ",".join(rule.ctstate).lower()
        mark = (rule.connmark or "").lstrip("!").partition("/")
        for words, value in (
            ("iifname", _quoted(rule.in_interface)),
            ("oifname", _quoted(rule.out_interface)),
            (f"{ip} saddr", rule.source),
            (f"{ip} daddr", rule.destination),
            ("meta l4proto", {"icmp": "icmp", "ipv6-icmp": "ipv6-icmp"}.get(str(rule.protocol))),
            ("tcp sport", _range(rule.source_port)),
            ("tcp dport", _range(rule.destination_port)),
            ("ct state", states or None),
            (f"ct mark and {mark[2]} !=", mark[0] or None),
            ("ct helper", _quoted(rule.helper)),
        ):
            if value is not None and f"{words} {value}" not in found:
                found.append(f"{words} {value}")
    return found


def _quoted(name: str | None) -> str | None:
    return None if name is None else '"' + name.replace("+", "*") + '"'


def _range(ports: str | None) -> str | None:
    return None if ports is None else ports.replace(":", "-")
