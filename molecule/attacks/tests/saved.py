"""The rules of hosts to which the role has been applied, behind each firewall of others.

With iptables, they are those that the role's plan ends with, which takes no time; else the role runs, and what
nftables has then is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp import _desired
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables import _ruleset
from ansible_collections.hostfw.conntrack.plugins.module_utils._plan import _plan
from lab.desired import options
from lab.hosts import FOREIGN
from lab.kinds import KINDS, clear
from sessions import NARROW, TOPOLOGIES, Machine, Site, Topology, machines

IP_VERSIONS = ("ipv4", "ipv6")
Rulesets = Mapping[str, _ruleset.Ruleset]


@dataclass(frozen=True)
class Inputs:
    """Inputs of the role, besides those that say where the host stands."""

    name: str
    values: tuple[tuple[str, object], ...] = ()

    def __str__(self) -> str:
        return self.name

    def passes(self, mode: str) -> bool:
        """Tell whether data connections of a mode are to pass."""
        return dict(self.values).get("ftp_mode", "both") in ("both", mode)


DEFAULTS = Inputs("both")
ACTIVE = Inputs("active", (("ftp_mode", "active"),))
PASSIVE = Inputs("passive", (("ftp_mode", "passive"), ("ftp_passive_ports", NARROW)))


def read(saved: Iterable[str]) -> Rulesets:
    """Read what iptables-save and ip6tables-save print."""
    return {name: _ruleset.parse(text, _desired.TABLES) for name, text in zip(IP_VERSIONS, saved)}


def text(rulesets: Rulesets) -> list[str]:
    """Return rules for iptables-restore and ip6tables-restore."""
    found = []
    for ruleset in rulesets.values():
        lines = []
        for table, chains in ruleset.tables.items():
            lines.append(f"*{table}")
            lines += [f":{chain} {ruleset.policies.get((table, chain), '-')} [0:0]" for chain in chains]
            lines += [line for rules in chains.values() for line in rules]
            lines.append("COMMIT")
        found.append("\n".join(lines))
    return found


def firewall(site: Site, more: Iterable[str] = ()) -> Rulesets:
    """Return the site's firewall.

    :arg more: rules besides, each with the name of its table before it
    """
    rulesets = read(FOREIGN)
    for ruleset in rulesets.values():
        for table, line in (rule.split(" ", 1) for rule in (*site.rules, *more)):
            rules = ruleset.tables[table][line.split()[1]]
            rules.insert(0 if line.startswith("-I") else len(rules), line.replace("-I ", "-A ", 1))
    return rulesets


def planned(current: Rulesets, topology: Topology, **inputs: object) -> Rulesets:
    """Return what the role is to make of rules."""
    chosen = options({**topology.inputs, **inputs}, "eth1")
    plan = _plan.plan(_desired.of(chosen), current, {}, together=True)
    assert not plan.conflicts, plan.conflicts
    return plan.after


@cache
def rules(topology: Topology, site: Site, inputs: Inputs = DEFAULTS) -> list[str] | str:
    """Return the rules of a host to which the role has been applied, for Machine.load()."""
    if site.kind == "iptables":
        return text(planned(firewall(site), topology, **dict(inputs.values)))
    return native(site, inputs)[topology]


@cache
def native(site: Site, inputs: Inputs) -> dict[Topology, str]:
    """Return the rules of nftables of all hosts, with which they are left."""
    hosts = {topology: topology.machine.host for topology in TOPOLOGIES}
    for host in hosts.values():
        clear(host)
        # Forged senders are for the rules to stop.
        host.shell.check_output("sed -i s/^IPv6_rpfilter=.*/IPv6_rpfilter=no/ /etc/firewalld/firewalld.conf")
        KINDS[site.kind](host, site.firewall)
    apply(**dict(inputs.values))
    found = {topology: str(host.shell.check_output("nft list ruleset")) for topology, host in hosts.items()}
    for topology, host in hosts.items():
        clear(host)
        topology.machine.open = False
    return found


def apply(**inputs: object) -> None:
    """Apply the role to all hosts; what says where each stands is in the inventory."""
    everywhere = ":".join(topology.machine.host.name for topology in TOPOLOGIES)
    machines["server"].host.role(**inputs, converge_hosts=everywhere)


def same(machine: Machine, expected: Iterable[str]) -> bool:
    """Tell whether a host's rules are these, but for the places of jumps."""
    found = read(machine.host.save()), read(expected)
    ours, theirs = (
        {
            (ip_version, table, chain): sorted(line.replace("-I ", "-A ", 1) for line in lines)
            for ip_version, ruleset in rulesets.items()
            for table, chains in ruleset.tables.items()
            for chain, lines in chains.items()
            if lines
        }
        for rulesets in found
    )
    return ours == theirs
