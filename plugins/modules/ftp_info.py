#!/usr/bin/python

# Copyright (c) hostfw.conntrack contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ftp_info
short_description: Show what a host's firewall does to FTP
version_added: 1.0.0
author: hostfw.conntrack contributors (@hostfw)
description:
  - Returns which other tools make firewall rules, whether the kernel's FTP helper is there and assigned, what each
    rule of the role P(hostfw.conntrack.ftp#role) has counted, and what other recipes for FTP have left on the host.
requirements:
  - Python 3.9 or newer on the host
  - root, or the capability NET_ADMIN
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  platform:
    platforms: posix
    support: full
options:
  chain_prefix:
    description: Begins the names of the chains of the role.
    type: str
    default: FTP
  passive_ports:
    description: The passive ports of the role, for RV(leftovers) that open them.
    type: str
    default: "1024:65535"
    version_added: 1.1.0
seealso:
  - module: hostfw.conntrack.ftp_probe
"""

EXAMPLES = r"""
- name: Check the firewall
  hostfw.conntrack.ftp_info:
  register: firewall

- name: Show how many packets each rule has seen
  ansible.builtin.debug:
    msg: "{{ firewall.rules | map(attribute='words') | zip(firewall.rules | map(attribute='packets')) }}"
"""

RETURN = r"""
kernel:
  description: The running kernel's release.
  type: str
  returned: success
  sample: 6.1.0-42-amd64
helper:
  description: The kernel's FTP helper.
  type: dict
  returned: success
  contains:
    ready:
      description: Whether it is loaded or built in.
      type: bool
    missing:
      description: Why it cannot be loaded where it is not.
      type: str
    assigned:
      description: To how many connections rules have assigned it since they were made.
      type: int
variant:
  description: The variant of iptables, V(nf_tables) or V(legacy); V(none) without iptables.
  type: str
  returned: success
  sample: nf_tables
tools:
  description: Other tools that make firewall rules.
  type: list
  elements: str
  returned: success
  sample: [ufw, docker]
policies:
  description: The policies of the built-in chains of table filter, for each IP version.
  type: dict
  returned: success
  sample: {ipv4: {INPUT: DROP, FORWARD: DROP, OUTPUT: DROP}}
unit:
  description: Whether a unit of systemd restores the role's rules at boot; none where there is no systemd.
  type: bool
  returned: success
rules:
  description: The role's rules, with what they have counted.
  type: list
  elements: dict
  returned: success
  sample:
    - bytes: 240
      chain: FTP-HELPER
      ip_version: ipv4
      packets: 4
      rule: -A FTP-HELPER -p tcp -m tcp --dport 21 -m addrtype --dst-type LOCAL -j CT --helper ftp
      table: raw
      words: "control connection to port 21: gets the ftp helper"
leftovers:
  description: What hand-written recipes for FTP have left on the host, with what of it is dead, may go, and must stay.
  type: list
  elements: dict
  returned: success
  version_added: 1.1.0
  sample:
    - id: helper-automatic-gone
      facts: {path: /etc/sysctl.d/ftp.conf, lines: net.netfilter.nf_conntrack_helper = 1}
      message: >-
        /etc/sysctl.d/ftp.conf has a setting that this kernel does not know: net.netfilter.nf_conntrack_helper = 1.
        Dead: all of it, since Linux 6.0. May go: that line. Must stay: nothing
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp import _options
from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp._desired import TABLES
from ansible_collections.hostfw.conntrack.plugins.module_utils._host import _commands, _host
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables import _ruleset
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables._rule import PROGRAMS
from ansible_collections.hostfw.conntrack.plugins.module_utils._nftables import _ruleset as _nftables
from ansible_collections.hostfw.conntrack.plugins.module_utils._plan import _boot, _gates, _info, _leftovers


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "chain_prefix": {"type": "str", "default": "FTP"},
            "passive_ports": {"type": "str", "default": "1024:65535"},
        },
        supports_check_mode=True,
    )
    prefix: str = module.params["chain_prefix"]
    try:
        passive_ports = _options.parse_port_range("passive_ports", module.params["passive_ports"])
    except ValueError as exc:
        module.fail_json(msg=str(exc))
    rules: list[dict[str, Any]] = []
    current: dict[str, _ruleset.Ruleset] = {}
    variant = "none"
    for ip_version in _options.IP_VERSIONS:
        path = module.get_bin_path(f"{PROGRAMS[ip_version]}-save", opt_dirs=_commands.SBIN)
        if path is None:
            continue
        variant = "nf_tables" if "nft" in Path(path).resolve().name else "legacy"
        code, out, err = module.run_command([path, "--counters"])
        if code != 0:
            module.fail_json(msg=f"{path} failed: {err.strip()}; the rules want root (become: true)")
        current[ip_version] = _ruleset.parse(out, (*TABLES, "nat"))
        rules += _info.counters(out, ip_version, prefix)
    ready = _host.helper_ready(_host.HELPER)
    nft, unseen = _commands.nftables(module)
    for warning in unseen:
        module.warn(warning)
    rules += _info.native_counters(nft, prefix)
    firewalld_runs = _gates.firewalld()
    seen = _leftovers.Seen(
        files=_leftovers.read(),
        rules=current,
        tables=_nftables.parse(nft),
        automatic=_host.setting(_leftovers.AUTOMATIC) is not None,
        passive_ports=passive_ports,
        firewalld=firewalld_runs,
    )
    module.exit_json(
        changed=False,
        kernel=_host.release(),
        helper={
            "ready": ready,
            "missing": "" if ready else _host.module_missing(_host.HELPER, _host.release()) or "",
            "assigned": sum(rule["packets"] for rule in rules if _info.assigns(rule["rule"])),
        },
        variant=variant,
        tools=_info.tools(current, nft, firewalld_runs=firewalld_runs),
        policies={
            ip_version: {
                chain: policy
                for (table, chain), policy in ruleset.policies.items()
                if table == "filter" and policy != "-"
            }
            for ip_version, ruleset in current.items()
        },
        unit=_boot.enabled(_boot.unit(prefix)) if Path("/", _boot.SYSTEMD).is_dir() else None,
        rules=rules,
        leftovers=[finding.report() for finding in _leftovers.leftovers(seen)],
    )


if __name__ == "__main__":
    main()
