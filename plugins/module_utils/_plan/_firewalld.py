# Copyright (c) hostfw.conntrack contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What lets FTP through firewalld: policies of our own, as files that it reads (firewalld.policies(5)).

firewalld accepts what is ESTABLISHED or RELATED by itself, so that its policies accept what opens connections; helper
and guard stand in nftables tables of our own, which a reload of firewalld leaves alone. It cannot tell who holds a
control connection, so the guard drops the data connections of others.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.hostfw.conntrack.plugins.module_utils._diagnosis._findings import Finding
from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp._desired import OURS, Desired
from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp._flows import Ends, Flow, other
from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp._options import IP_VERSIONS
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables._rule import PROGRAMS
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables._ruleset import Ruleset, covers
from ansible_collections.hostfw.conntrack.plugins.module_utils._nftables._ruleset import Tables

FOLDER = "etc/firewalld/policies"
CONFIGURATION = "etc/firewalld/firewalld.conf"
TABLE = ("inet", "firewalld")
# What the names of firewalld's chains leave for that of a policy (max_policy_name_len in its policy.py).
NAME_LENGTH = 17
ANYWHERE = "ANY"
HOST = "HOST"

POLICY = """\
<?xml version="1.0" encoding="utf-8"?>
<policy priority="-10" target="CONTINUE">
  <short>FTP (hostfw.conntrack, {prefix})</short>
{zones}{rules}</policy>
"""


@dataclass(frozen=True)
class Zones:
    """The zones of the host's interfaces, by their names.

    What comes in by an interface that has none passes the default zone, but no policy of that zone.
    """

    of: Mapping[str, str]

    def named(self, interfaces: Iterable[str | None]) -> list[str]:
        """Return the zones of interfaces, or wildcards; V(ANY) where one has none, or for all of them (None)."""
        found: dict[str, None] = {}
        for interface in interfaces:
            here = [zone for name, zone in self.of.items() if interface and covers(interface, name, negated=False)]
            found.update(dict.fromkeys(here or [ANYWHERE]))
        return [ANYWHERE] if ANYWHERE in found else list(found)


def zones(active: str) -> Zones:
    """Return the zones.

    :arg active: what C(firewall-cmd --get-active-zones) prints
    """
    of: dict[str, str] = {}
    zone = ""
    for line in active.splitlines():
        words = line.split()
        if words and not line.startswith(" "):
            zone = words[0]
        elif words and words[0] == "interfaces:":
            of.update(dict.fromkeys(words[1:], zone))
    return Zones(of)


def by_iptables(root: str = "/") -> bool:
    """Tell whether firewalld is configured to filter by iptables (firewalld.conf(5))."""
    return re.search(r"^FirewallBackend\s*=\s*iptables\b", _configuration(root), re.MULTILINE) is not None


def names(prefix: str) -> tuple[str, str]:
    """Return the names of an instance's policies: for what clients open, and for what servers open."""
    name = f"hostfw-{prefix}"
    if len(name) > NAME_LENGTH - 2:
        name = f"hostfw-{zlib.crc32(prefix.encode()):08x}"
    return name, f"{name}-r"


def paths(prefix: str) -> list[str]:
    """Return the paths of the policies, without the first slash."""
    return [f"{FOLDER}/{name}.xml" for name in names(prefix)]


def files(desired: Desired, zones: Zones) -> dict[str, str]:
    """Return the policies of an instance, by their paths without the first slash."""
    options = desired.options
    found = {}
    for path, opener in zip(paths(options.prefix), ("client", "server")):
        rules: dict[str, None] = {}
        for ip_version in IP_VERSIONS:
            for flow, between in desired.opened(ip_version):
                if flow.opened_by == opener:
                    rules[_rule(flow, between, ip_version)] = None
        if rules:
            where = _where(desired, zones, opener)
            found[path] = POLICY.format(prefix=options.prefix, zones="".join(where), rules="".join(rules))
    return found


def _where(desired: Desired, zones: Zones, opener: str) -> list[str]:
    """Return the zones from which, and to which, an end opens connections."""
    options = desired.options
    here = zones.named(options.interfaces)
    at = {"client": here, "server": zones.named(options.out_interfaces)}
    if options.side != "gateway":
        at = {options.side: [HOST], other(options.side): here}
    lines = [f'  <ingress-zone name="{zone}"/>\n' for zone in at[opener]]
    return lines + [f'  <egress-zone name="{zone}"/>\n' for zone in at[other(opener)]]


def _rule(flow: Flow, between: Ends, ip_version: str) -> str:
    """Return the rule that accepts what opens a connection."""
    sender, receiver = between.client, between.server
    port = flow.server_port
    if flow.opened_by == "server":
        sender, receiver, port = receiver, sender, flow.client_port
    addresses = [f'<source address="{sender}"/>'] if sender else []
    addresses += [f'<destination address="{receiver}"/>'] if receiver else []
    ports = (port or "1-65535").replace(":", "-")
    accepts = f'<port port="{ports}" protocol="tcp"/><accept/>'
    return f'  <rule family="{ip_version}">{"".join(addresses)}{accepts}</rule>\n'


def loaded(prefix: str, tables: Tables) -> set[str]:
    """Return the paths of those policies of an instance that firewalld has loaded."""
    chains = tables[TABLE].chains if TABLE in tables else {}
    return {
        path
        for path, name in zip(paths(prefix), names(prefix))
        if any(chain.endswith(f"_policy_{name}") for chain in chains)
    }


def warnings(desired: Desired, zones: Zones, gates: Sequence[str] = ()) -> list[Finding]:
    """Warn of zones that have other interfaces than those on which FTP is to pass, of policies that stay, and of rules.

    :arg gates: who drops FTP unless it is let through
    """
    options = desired.options
    found = [] if options.persistent else [Finding("firewalld-permanent", folder=f"/{FOLDER}")]
    if not {"iptables", "ip6tables"}.isdisjoint(gates):
        found.append(Finding("firewalld-flushes", prefix=options.prefix))
    asked = options.interfaces + options.out_interfaces
    if None in asked:
        return found
    alone = [str(interface) for interface in asked if zones.named([interface]) == [ANYWHERE]]
    if alone:
        return [*found, Finding("zone-missing", interfaces=", ".join(alone))]
    others: dict[str, list[str]] = {}
    used = zones.named(asked)
    for name, zone in zones.of.items():
        if zone in used and not any(covers(str(interface), name, negated=False) for interface in asked):
            others.setdefault(zone, []).append(name)
    found += [Finding("zone-wider", zone=zone, interfaces=", ".join(names)) for zone, names in others.items()]
    return found


def runtime_only(runtime: str, permanent: str) -> list[str]:
    """Return what of firewalld's settings a reload would lose or, where it loses none, bring in.

    :arg runtime: what C(firewall-cmd --list-all-zones) and C(--list-all-policies) print
    :arg permanent: the same with C(--permanent)
    """
    now, then = (_settings(text) for text in (runtime, permanent))
    return [line for line in now if line not in then] or [line for line in then if line not in now]


def flushed_settings(current: Mapping[str, Ruleset], tables: Tables, root: str = "/") -> dict[str, list[str]]:
    """Return by what arguments firewall-cmd lists what else a reload loses, where the host has any, each with a name.

    These are direct rules and the entries of ipsets, unless FlushAllOnReload is off (firewalld.conf(5)).

    :arg current: the rules of each IP version
    """
    if re.search(r"^FlushAllOnReload\s*=\s*(?:no|false)\b", _configuration(root), re.MULTILINE):
        return {}
    direct = any(
        lines and name.endswith("_direct")
        for ruleset in current.values()
        for chains in ruleset.tables.values()
        for name, lines in chains.items()
    )
    found = {"direct": ["--direct", "--get-all-rules"]} if direct else {}
    sets = tables[TABLE].sets if TABLE in tables else {}
    return {**found, **{f"ipset:{name}": [f"--ipset={name}", "--get-entries"] for name in sets}}


def listed(name: str, lines: str) -> str:
    """Return lines as settings of a name, as firewall-cmd lists those of a zone."""
    return f"{name}\n" + "".join(f"  {line}\n" for line in lines.splitlines())


def _configuration(root: str) -> str:
    try:
        return Path(root, CONFIGURATION).read_text(encoding="utf-8")
    except OSError:
        return ""


def _settings(text: str) -> list[str]:
    """Return each setting with the name of its zone or policy; which interfaces it has is kept over a reload."""
    found = []
    name = ""
    for line in text.splitlines():
        key, colon, values = line.strip().partition(": ")
        if line and not line.startswith((" ", "\t")):
            name = line.split()[0]
        elif key and key.rstrip(":") != "interfaces":
            found.append(f"{name}: {key}{colon}{' '.join(sorted(values.split()))}".rstrip())
    return _without_ours(found)


def _without_ours(lines: Iterable[str]) -> list[str]:
    return [line for line in lines if not line.startswith("hostfw-")]


# Rules of those who make them anew when firewalld is reloaded: docker, libvirt, podman, Kubernetes, firewalld itself.
MADE_ANEW = re.compile(r"DOCKER|docker0|br-[0-9a-f]{12}|LIBVIRT|virbr\d|NETAVARK|CNI-|KUBE-|_direct\b")


def flushed(current: Mapping[str, Ruleset]) -> list[str]:
    """Return the foreign rules of iptables that a reload removes, as it removes all, and nobody makes anew.

    :arg current: the rules of each IP version
    """
    return [
        f"{PROGRAMS[ip_version]} -t {table} {line}"
        for ip_version, ruleset in current.items()
        for table, chains in ruleset.tables.items()
        for lines in chains.values()
        for line in lines
        if OURS not in line and not MADE_ANEW.search(line)
    ]


def reload(prefix: str, wanted: Sequence[str], changed: Sequence[str], tables: Tables) -> list[list[str]]:
    """Return the commands by which firewalld reads its files, where it has to.

    :arg wanted: the paths of the policies that are to be there
    :arg changed: the paths of all files that change
    """
    known = loaded(prefix, tables)
    stale = set(paths(prefix)) & {path.lstrip("/") for path in changed} or known != set(wanted)
    return [["firewall-cmd", "--check-config"], ["firewall-cmd", "--reload"]] if stale else []
