# Copyright (c) hostfw.conntrack contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Others in charge of the firewall, whose drop no ACCEPT of iptables can undo: firewalld, and native nftables rules.

A packet must be accepted by every base chain on its hook.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.hostfw.conntrack.plugins.module_utils import _flows
from ansible_collections.hostfw.conntrack.plugins.module_utils._flows import Chains
from ansible_collections.hostfw.conntrack.plugins.module_utils._options import IP_VERSIONS, Options
from ansible_collections.hostfw.conntrack.plugins.module_utils._rule import Rule
from ansible_collections.hostfw.conntrack.plugins.module_utils._ruleset import covers

FAMILIES = {"ip": ("ipv4",), "ip6": ("ipv6",), "inet": IP_VERSIONS}
# What iptables-nft makes; iptables-save shows what is in them, but no other base chains of the same tables.
OF_IPTABLES = ("raw", "mangle", "nat", "filter", "security")
BUILT_IN = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")

FIREWALLD = (
    "firewalld runs on this host, and drops what it does not allow whatever iptables accepts. Let it allow FTP, and "
    "leave this role out, by the task\n"
    "  ansible.posix.firewalld: {service: ftp, state: enabled, permanent: true, immediate: true}\n"
    "or the command\n"
    "  firewall-cmd --permanent --add-service=ftp && firewall-cmd --reload\n"
    "or set ftp_ignore_conflicts to true to go on"
)
NFTABLES = (
    "chain {chain} of the nftables table {family} {table} drops what it does not accept whatever iptables accepts. "
    "Let it accept FTP by\n{commands}\n"
    "and by the same in its configuration, and then set ftp_ignore_conflicts to true"
)


@dataclass
class Chain:
    """A chain of a native nftables table, with its rules as nft prints them in JSON."""

    family: str
    table: str
    name: str
    hook: str | None
    policy: str | None
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


def conflicts(options: Options, nft: str, *, firewalld_runs: bool) -> list[str]:
    """Return who else must let FTP through, each with how.

    :arg nft: what C(nft --json --terse list ruleset) prints; empty where there is no nft
    """
    if not any(_flows.ends(options, ip_version) for ip_version in IP_VERSIONS):
        return []
    found = [FIREWALLD] if firewalld_runs else []
    chains = parse(nft)
    for chain in chains.values():
        if firewalld_runs and chain.table == "firewalld":
            continue
        rules = accepting(options, chain)
        if rules and drops(options, chains, chain):
            place = f"{chain.family} {chain.table} {chain.name}"
            commands = "\n".join(f"  nft 'insert rule {place} {rule} accept'" for rule in rules)
            found.append(NFTABLES.format(chain=chain.name, family=chain.family, table=chain.table, commands=commands))
    return found


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
            found[key] = Chain(*key, hook, of.get("policy"))
        else:
            found[of["family"], of["table"], of["chain"]].rules.append(of["expr"])
    return found


def drops(options: Options, chains: Mapping[tuple[str, str, str], Chain], chain: Chain) -> bool:
    """Tell whether a base chain drops what none of its rules names."""
    verdict = _verdict(options, chains, chain, ())
    return (verdict or chain.policy) in ("drop", "reject")


def _verdict(
    options: Options, chains: Mapping[tuple[str, str, str], Chain], chain: Chain, callers: Sequence[str]
) -> str | None:
    """Return what becomes of a packet on the interfaces in question that no condition names."""
    for rule in chain.rules:
        for statement in rule:
            (kind, value), *_rest = statement.items()
            if kind in ("accept", "drop", "reject"):
                return kind
            if kind == "return":
                return None
            if kind in ("jump", "goto"):
                target = chains.get((chain.family, chain.table, value["target"]))
                if target and value["target"] not in callers:
                    verdict = _verdict(options, chains, target, [*callers, value["target"]])
                    if verdict or kind == "goto":
                        return verdict
            elif kind not in ("counter", "log") and not (kind == "match" and _fulfilled(options, value)):
                break
    return None


def _fulfilled(options: Options, match: Mapping[str, Any]) -> bool:
    """Tell whether a match is true for the opening packet of some FTP connection, whatever its ports and addresses."""
    left, right = match["left"], match["right"]
    values = right.get("set", []) if isinstance(right, dict) else right if isinstance(right, list) else [right]
    subject = next(iter(left), "") if isinstance(left, dict) else ""
    key = left[subject].get("key", "") if subject in ("meta", "ct") else ""
    negated = match["op"] == "!="
    if key in ("iif", "iifname", "oif", "oifname"):
        names = [value.replace("*", "+") for value in values if isinstance(value, str)]
        asked = options.interfaces + options.out_interfaces
        decide = all if negated else any
        return any(decide(covers(name, interface, negated=negated) for name in names) for interface in asked)
    if key in ("l4proto", "state"):
        return (("tcp" if key == "l4proto" else "new") in values) is not negated
    return False


def accepting(options: Options, chain: Chain) -> list[str]:
    """Return the conditions of the nftables rules that accept in a base chain what our chains accept."""
    found: list[str] = []
    for ip_version in FAMILIES[chain.family]:
        rules = [rule for rule in _flows.rules(options, ip_version) if rule.table == "filter"]
        inside = [name for _table, name in Chains(options.prefix).all()]
        for jump in _flows.jumps(options, ip_version):
            if jump.table != "filter" or jump.chain != str(chain.hook).upper():
                continue
            for rule in rules:
                if rule.chain != jump.jump:
                    continue
                last = [other for other in rules if other.chain == rule.jump] if rule.jump in inside else [None]
                found += [" ".join(_conditions((jump, rule, other), ip_version)) for other in last]
    return list(dict.fromkeys(found))


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
