# Copyright (c) hostfw.conntrack contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What hand-written recipes for FTP have left on a host: modules, settings of the kernel, and foreign rules.

docs/migration.md says how each came about, and in which order to delete it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from ansible_collections.hostfw.conntrack.plugins.module_utils._diagnosis._findings import Finding
from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp._desired import OURS
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables._foreign import PORTS, port_ranges
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables._rule import PROGRAMS, clauses
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables._ruleset import Ruleset
from ansible_collections.hostfw.conntrack.plugins.module_utils._nftables._ruleset import Tables
from ansible_collections.hostfw.conntrack.plugins.module_utils._plan import _firewalld, _info, _own

NAME = r"\b(?:ip|nf)[_-](?:conntrack|nat)[_-]ftp\b"
LISTS = ("etc/modules", "etc/modules-load.d/*.conf")
VARIABLES = ("etc/sysconfig/ip*tables-config", "etc/default/ufw")
MODPROBE = ("etc/modprobe.d/*.conf",)
SYSCTL = ("etc/sysctl.conf", "etc/sysctl.d/*.conf", "etc/ufw/sysctl.conf")
ZONES = ("etc/firewalld/zones/*.xml", "etc/firewalld/policies/*.xml")
# Where the kernel assigns helpers by itself, if it can.
AUTOMATIC = "proc/sys/net/netfilter/nf_conntrack_helper"
# What the lines of files are, and how they begin.
LINES = (
    ("module-loaded-by-hand", LISTS, NAME),
    ("module-loaded-by-hand", VARIABLES, rf"IP6?T(?:ABLES)?_MODULES=.*{NAME}"),
    ("module-loaded-by-hand", MODPROBE, rf"(?:install|softdep|alias)\s.*{NAME}"),
    ("helper-ports", MODPROBE, rf"options\s+{NAME}\s.*\bports="),
    ("helper-automatic", MODPROBE, r"options\s+nf_conntrack\s.*\bnf_conntrack_helper=[1Yy]"),
    ("helper-automatic", SYSCTL, r"-?net[./]netfilter[./]nf_conntrack_helper\s*=\s*1"),
)
# What foreign rules are, in the order in which it is told.
RULES = (
    "helper-assigned-by-hand",
    "ftp-accepted-by-hand",
    "ftp-port-among-others",
    "high-ports-by-state",
    "passive-ports-open",
)
DATA, CONTROL = 20, 21
HIGH = 1024
# So many passive ports are no server's own any more, but all that it may have.
MANY = 1000
# How many rules are named.
NAMED = 8
# On what a rule may depend and still be for everybody.
FOR_ALL = {*PORTS, "-i", "-o", "-p", "-d", "--tcp-flags", "--ctstate", "--state", "--comment", "-j"}

Files = dict[str, str]


@dataclass(frozen=True)
class Seen:
    """What is seen of a host.

    - files: what read() returned
    - rules: those of iptables, by the IP version
    - tables: those of nftables
    - automatic: whether the kernel can assign helpers by itself
    - passive_ports: the role's, as iptables has them
    - firewalld: whether it runs
    """

    files: Files = field(default_factory=dict)
    rules: Mapping[str, Ruleset] = field(default_factory=dict)
    tables: Tables = field(default_factory=dict)
    automatic: bool = False
    passive_ports: str = "1024:65535"
    firewalld: bool = False


def read(root: str = "/") -> Files:
    """Return the files in which recipes for FTP stand, but the role's, by their paths without the first slash."""
    return {
        str(path.relative_to(root)): path.read_text(encoding="utf-8", errors="replace")
        for names in (LISTS, VARIABLES, MODPROBE, SYSCTL, ZONES)
        for name in names
        for path in sorted(Path(root).glob(name))
        if path.is_file() and not path.name.startswith("hostfw-")
    }


def leftovers(seen: Seen) -> list[Finding]:
    """Return what is left of recipes for FTP, with what of it is dead, what may go and what must stay."""
    return [*_of_files(seen), *(_of_firewalld(seen) if seen.firewalld else ()), *_of_rules(seen)]


def _of_files(seen: Seen) -> Iterator[Finding]:
    for name, places, beginning in LINES:
        dead = name == "helper-automatic" and not seen.automatic
        for path, text in seen.files.items():
            lines = [line.strip() for line in text.splitlines() if re.match(rf"\s*(?:{beginning})", line)]
            if lines and any(fnmatch(path, place) for place in places):
                yield Finding("helper-automatic-gone" if dead else name, path=f"/{path}", lines="; ".join(lines))


def _of_firewalld(seen: Seen) -> Iterator[Finding]:
    for path, text in seen.files.items():
        if not any(fnmatch(path, place) for place in ZONES):
            continue
        of = f"the {'policy' if 'policies' in path else 'zone'} {Path(path).stem}"
        if re.search(r'<service\s+name="ftp"', text):
            yield Finding("firewalld-ftp-service", of=of)
        own = re.sub("<rule.*?</rule>", "", text, flags=re.DOTALL)
        for ports in re.findall(r'<port\s+port="([\d-]+)"\s+protocol="tcp"', "" if "<source " in own else own):
            if any(_passive(seen, *ends) for ends in port_ranges(ports.replace("-", ":"))):
                yield Finding("passive-ports-open", rules=f"{ports} in {of} of firewalld")


def _of_rules(seen: Seen) -> Iterator[Finding]:
    found: dict[str, list[str]] = {}
    for table, program, line in _foreign(seen):
        rule = f"{program} -t {table} {line}"
        kind = _kind(seen, table, line)
        by_word = " -m state " in line and kind not in RULES
        for name in filter(None, (kind, "state-match" if by_word else None)):
            found.setdefault(name, []).append(rule)
    found.setdefault(RULES[0], []).extend(_assigned_by_nftables(seen.tables))
    told = [name for name in RULES if found.get(name)]
    # What must stay, where others may go.
    told += ["established-stays"] if told and "established-stays" in found else []
    for name in told + ["state-match"] * ("state-match" in found):
        more = len(found[name]) - NAMED
        yield Finding(name, rules="; ".join(found[name][:NAMED]) + (f"; and {more} more" if more > 0 else ""))


def _foreign(seen: Seen) -> Iterator[tuple[str, str, str]]:
    """Return the foreign rules of iptables that people have made, each with its table and program."""
    for ip_version, ruleset in seen.rules.items():
        if ruleset.has("filter", _info.TOOLS["firewalld"]):
            continue
        for table in ("raw", "filter"):
            for lines in ruleset.tables.get(table, {}).values():
                for line in lines:
                    if OURS not in line and not _firewalld.MADE_ANEW.search(line):
                        yield table, PROGRAMS[ip_version], line


def _assigned_by_nftables(tables: Tables) -> Iterator[str]:
    """Return the foreign rules of nftables that assign the FTP helper, but firewalld's."""
    for (family, name), table in tables.items():
        if _own.is_own(name) or (family, name) == _firewalld.TABLE:
            continue
        helpers = [helper for helper, kind in table.helpers.items() if kind == "ftp"]
        for chain_name, chain in table.chains.items():
            for rule in chain.rules:
                if any(statement.get("ct helper") in helpers for statement in rule.statements):
                    yield f"nft {family} {name} {chain_name} {rule.text.replace('counter ', '', 1)}"


def _kind(seen: Seen, table: str, line: str) -> str | None:
    """Return what part of a recipe a rule of iptables is."""
    if " -j ACCEPT" not in line and " -j CT " not in line:
        return None
    said = {clause.option: clause for clause in clauses(line)}
    target = said["-j"].values if "-j" in said else ()
    if table == "raw":
        helped = re.fullmatch(r"CT .*--helper ftp(-\d+)?( .*)?", " ".join(target))
        return "helper-assigned-by-hand" if helped else None
    if target != ("ACCEPT",):
        return None
    states = [state for key in ("--ctstate", "--state") if key in said for state in said[key].values[0].split(",")]
    sides = {key: port_ranges(said[key].values[0]) for key in PORTS if key in said and not said[key].negated}
    new = not states or "NEW" in states
    ftp = {key: [first >= DATA and last <= CONTROL for first, last in ranges] for key, ranges in sides.items()}
    passive = {key: [_passive(seen, *ends) for ends in ranges] for key, ranges in sides.items()}
    opens = new and FOR_ALL.issuperset(said) and any(any(passive.get(key, ())) for key in ("--dport", "--dports"))
    both = [any(ftp[key]) and all(map(any, zip(ftp[key], passive[key]))) for key in sides]
    tcp = "-p" in said and said["-p"].values[0] == "tcp"
    kinds = {
        "established-stays": not sides and "ESTABLISHED" in states,
        "passive-ports-open": tcp and opens and not line.startswith("-A OUTPUT "),
        "ftp-accepted-by-hand": tcp and any(both),
        "ftp-port-among-others": tcp and any(map(any, ftp.values())),
        "high-ports-by-state": tcp and bool(sides) and not new and all(map(all, passive.values())),
    }
    return next((kind for kind, so in kinds.items() if so), None)


def _passive(seen: Seen, first: int, last: int) -> bool:
    """Tell whether ports are the passive ones: all those of the role, or a great part of all that are possible."""
    ((low, high),) = port_ranges(seen.passive_ports)
    return first >= HIGH and ((first <= low and high <= last) or min(last, high) - max(first, low) + 1 >= MANY)
