# Copyright (c) hostfw.conntrack contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The files in which other programs save all rules of a host, with those of this role among them.

What is saved comes back at boot, whatever has become of the role. A file that names an ipset that is not there loads
no rule at all, and leaves the host without a firewall: so the role keeps a set as long as such a file names it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from ansible_collections.hostfw.conntrack.plugins.module_utils._diagnosis._findings import Finding
from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp._desired import OURS, Chains, Desired
from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp._options import IP_VERSIONS
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables._ruleset import sets_of

# Each file of saved rules, and the command that saves them anew.
RULES = {
    "etc/iptables/rules.v4": "netfilter-persistent save",
    "etc/iptables/rules.v6": "netfilter-persistent save",
    "etc/sysconfig/iptables": "service iptables save",
    "etc/sysconfig/ip6tables": "service ip6tables save",
}
# The same for all that nft lists.
NATIVE = {
    path: f"(echo flush ruleset; nft list ruleset) > /{path}"
    for path in ("etc/nftables.conf", "etc/sysconfig/nftables.conf")
}
# The same for saved ipsets.
SETS = {"etc/iptables/ipsets": "netfilter-persistent save"}


def read(root: str = "/") -> dict[str, list[str]]:
    """Return what is saved: the lines of each file, without comments, by its path without the first slash."""
    found = {}
    for path in (*RULES, *NATIVE, *SETS):
        try:
            text = Path(root, path).read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        found[path] = [line for line in text.splitlines() if not line.startswith("#")]
    return found


def sets(prefix: str, stores: Mapping[str, list[str]]) -> list[str]:
    """Return the names of those ipsets of an instance without which saved rules do not load."""
    saved = {name for path in RULES for name in _sets(prefix, stores.get(path, []))}
    return [name for name in _names(prefix) if name in saved]


def warnings(desired: Desired, stores: Mapping[str, list[str]]) -> list[Finding]:
    """Return a warning for each file that brings back at boot what is not asked for any more."""
    found = []
    prefix = desired.options.prefix
    wanted = desired.live_sets.values()
    for path, lines in stores.items():
        anew = {**RULES, **NATIVE, **SETS}[path]
        if path in SETS:
            found += [
                Finding("stale-ipset-stored", path=path, ipset=name, command=anew)
                for name in _names(prefix)
                if name not in wanted and any(line.startswith(f"create {name} ") for line in lines)
            ]
            continue
        ours = _rules(prefix, lines) if desired.options.state == "absent" else []
        if ours:
            found.append(Finding("stale-rules-stored", path=path, rule=ours[0], command=anew))
        found += [
            Finding("ipset-kept", path=path, ipset=name, command=anew)
            for name in _sets(prefix, lines)
            if name not in wanted
        ]
    return found


def _names(prefix: str) -> list[str]:
    return [Chains(prefix).live(ip_version) for ip_version in IP_VERSIONS]


def _sets(prefix: str, lines: list[str]) -> list[str]:
    """Return the names of the ipsets of an instance that rules name."""
    named = sets_of(lines)
    return [name for name in _names(prefix) if name in named]


def _rules(prefix: str, lines: list[str]) -> list[str]:
    """Return the rules of an instance, without their counters."""
    names = "|".join({re.escape(name) for _table, name in Chains(prefix).all()})
    ours = re.compile(rf"(?:^|\] )(-A (?:{names}) .*|-A .* -j (?:{names})|[^-].* jump (?:{names}) .*)$")
    matches = [ours.search(line.strip()) for line in lines if OURS in line]
    return [match[1] for match in matches if match]
