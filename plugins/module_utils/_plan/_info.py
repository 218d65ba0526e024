# Copyright (c) hostfw.conntrack contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is to be seen of FTP on a host: who else makes rules, and what our rules have counted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp._desired import GUARD, OURS
from ansible_collections.hostfw.conntrack.plugins.module_utils._host import _gates
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables._rule import comment_of, target_of
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables._ruleset import Ruleset

# How the names of their chains begin.
TOOLS = {
    "ufw": "ufw-",
    "docker": "DOCKER",
    "fail2ban": "f2b-",
    "libvirt": "LIBVIRT_",
    "kube-proxy": "KUBE-",
    "firewalld": "INPUT_ZONES",
}
# What loads rules at boot, by the file of the rules.
STORES = {
    "netfilter-persistent": "etc/iptables/rules.v4",
    "iptables-services": "etc/sysconfig/iptables",
}


def tools(current: Mapping[str, Ruleset], nft: str, *, firewalld_runs: bool, root: str = "/") -> list[str]:
    """Return who else makes rules of the firewall.

    :arg nft: what C(nft --json --terse list ruleset) prints; empty where there is no nft
    """
    chains = {chain for ruleset in current.values() for table in ruleset.tables.values() for chain in table}
    found = [tool for tool, start in TOOLS.items() if any(chain.startswith(start) for chain in chains)]
    if firewalld_runs and "firewalld" not in found:
        found.append("firewalld")
    native = [chain for chain in _gates.parse(nft).values() if chain.hook]
    found += [f"nftables {chain.family} {chain.table}" for chain in native if chain.table != "firewalld"]
    found += [name for name, path in STORES.items() if Path(root, path).is_file()]
    return list(dict.fromkeys(found))


def counters(saved: str, ip_version: str, prefix: str) -> list[dict[str, Any]]:
    """Return our rules with what they have counted.

    :arg saved: what C(iptables-save --counters) prints
    """
    found = []
    table = ""
    for line in saved.split("\n"):
        if line.startswith("*"):
            table = line[1:]
        counted = re.match(r"\[(\d+):(\d+)\] (-A (\S+) .*)", line)
        if not counted:
            continue
        packets, size, rule, chain = counted.groups()
        comment = comment_of(rule) or ""
        target = target_of(rule) or ""
        ours = any(name.startswith(f"{prefix}-") or name in GUARD.values() for name in (chain, target))
        if comment.startswith(OURS) and ours:
            found.append(
                {
                    "ip_version": ip_version,
                    "table": table,
                    "chain": chain,
                    "words": comment.removeprefix(OURS),
                    "rule": rule,
                    "packets": int(packets),
                    "bytes": int(size),
                }
            )
    return found
