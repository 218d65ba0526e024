# Copyright (c) hostfw.conntrack contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who filters on a host: the gates at which FTP is dropped unless it is let through, and by what each is opened.

A drop in any base chain is final, so each gate must let FTP through: those of iptables, base chains of native nftables
tables, and firewalld.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ansible_collections.hostfw.conntrack.plugins.module_utils._diagnosis._findings import Finding
from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp._desired import Chains, Desired, Rules
from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp._options import Options
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables._foreign import Near
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables._rule import PROGRAMS
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables._ruleset import Ruleset
from ansible_collections.hostfw.conntrack.plugins.module_utils._nftables._rule import ADDRESSES
from ansible_collections.hostfw.conntrack.plugins.module_utils._nftables._ruleset import BUILT_IN, Table, Tables
from ansible_collections.hostfw.conntrack.plugins.module_utils._plan import _native, _own
from ansible_collections.hostfw.conntrack.plugins.module_utils._plan._site import Site

TASK = "ansible.posix.firewalld: {service: ftp, state: enabled, permanent: true, immediate: true}"


@dataclass(frozen=True)
class Share:
    """What each of those who filter is to have.

    - iptables: the rules of iptables; nothing where iptables drops no FTP and nftables does; without helper and guard
      where firewalld filters, too, whose reload removes all rules of iptables
    - own: our own nftables tables, with helper and guard, where iptables has none
    - parts: our chains and jumps in the site's nftables tables
    - gates: the base chains of nftables that drop FTP
    - sites: the foreign rules of iptables of each IP version, as FTP meets them
    - native: the site's rules of nftables, as FTP meets them
    - names: all gates
    """

    iptables: Desired
    own: Tables
    parts: _native.Parts
    gates: list[_native.Gate]
    sites: dict[str, Site]
    native: _native.Sites
    names: list[str]


def share(
    desired: Desired, current: Mapping[str, Ruleset], tables: Tables, near: Near | None, *, by_firewalld: bool = False
) -> tuple[Desired, Share]:
    """Return what an instance is to have behind these gates, and what each of those who filter is to have of it.

    :arg desired: what it is to have on any host
    :arg current: the rules of iptables of each IP version that can be read
    :arg tables: the tables of nftables
    :arg near: where peers are whom a foreign rule does not ban
    :arg by_firewalld: whether firewalld filters, by nftables
    """
    native = _native.Sites(desired, tables, near)
    gates = _native.gates(native)
    if by_firewalld or _native.open_ports(gates, tables):
        desired = desired.with_open_ports()
    parts = _native.parts(desired, tables, gates)
    sites = {ip_version: Site(desired, ip_version, ruleset, near) for ip_version, ruleset in current.items()}
    by_iptables = [PROGRAMS[ip_version] for ip_version, site in sites.items() if site.filters()]
    names = by_iptables + [f"nftables {gate.family} {gate.table} {gate.chain}" for gate in gates]
    names += ["firewalld"] * by_firewalld
    iptables = desired
    if (any(native.chains()) or by_firewalld) and not by_iptables:
        iptables = replace(desired, rules={ip_version: Rules() for ip_version in desired.rules})
    elif by_firewalld:
        iptables = _accepting(desired)
    if not iptables.any:
        _forget_unreadable(desired.options.prefix, current, tables)
    own = {} if iptables is desired else _own.tables(desired)
    return desired, Share(iptables, own, parts, gates, sites, native, names)


def _accepting(desired: Desired) -> Desired:
    """Return what an instance is to have of iptables where helper, guard and live addresses are elsewhere."""
    rules = {}
    for ip_version, found in desired.rules.items():
        inside = [replace(rule, live_set=None, live_end=None) for rule in found.inside if rule.table == "filter"]
        jumps = tuple(jump for jump in found.jumps if jump.table == "filter")
        rules[ip_version] = Rules(tuple(dict.fromkeys(inside)), jumps=jumps)
    return replace(desired, rules=rules)


def _forget_unreadable(prefix: str, current: Mapping[str, Ruleset], tables: Tables) -> None:
    """Forget the tables that iptables cannot read, but for those in which iptables has chains of an instance."""
    names = {name for _table, name in Chains(prefix).all()}
    for ip_version, ruleset in current.items():
        chains = {table: tables.get((ADDRESSES[ip_version], table), Table()).chains for table in ruleset.incompatible}
        ruleset.incompatible = [
            table for table, here in chains.items() if names & set(here) and set(BUILT_IN) & set(here)
        ]


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


def conflicts(desired: Desired, gates: Sequence[_native.Gate], *, firewalld_drops: bool) -> list[Finding]:
    """Return who else must let FTP through, each with how.

    :arg gates: the base chains of nftables that drop FTP
    :arg firewalld_drops: whether firewalld filters, and not by nftables
    """
    if not desired.any:
        return []
    found = [Finding("firewalld-drops", how=firewalld_allows(desired.options))] if firewalld_drops else []
    return found + [
        Finding(
            "nftables-drops-early",
            chain=gate.chain,
            family=gate.family,
            table=gate.table,
            priority=_native.CONNTRACK,
        )
        for gate in gates
        if gate.early
    ]


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
