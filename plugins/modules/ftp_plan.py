#!/usr/bin/python

# Copyright (c) hostfw.conntrack contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ftp_plan
short_description: Plan what lets FTP through a host's iptables firewall
version_added: 0.1.0
author: hostfw.conntrack contributors (@hostfw)
description:
  - Looks at a host once and says what differs from what was asked for, the kernel module to load,
    the rules to add, to move and to remove.
  - It changes nothing. The role P(hostfw.conntrack.ftp#role) carries the plan out.
  - Bad values and conflicts make it fail.
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  platform:
    platforms: posix
    support: full
options:
  mode:
    description: Which data connections may be opened.
    type: str
    default: both
    choices:
      active: The server opens them, from O(data_port) to the client.
      passive: The client opens them, to O(passive_ports) of the server.
      both: Either.
  interface:
    description:
      - The interfaces on which FTP clients are served, names, or wildcards such as V(eth+), or V(any) alone.
      - An empty list stands for the interfaces of the default routes.
    type: list
    elements: str
    default: []
  control_ports:
    description: The ports of the control connection.
    type: list
    elements: str
    default: ['21']
  data_port:
    description: The port from which the server opens active data connections, or V(any).
    type: str
    default: '20'
  passive_ports:
    description: The port, or the range of ports C(first:last), to which clients open passive data connections.
    type: str
    default: '1024:65535'
  allowed_addresses:
    description:
      - The addresses and networks of the clients, IPv4 and IPv6 mixed.
      - An empty list allows all. A list without networks of one IP version closes FTP over that version.
    type: list
    elements: str
    default: []
  ip_versions:
    description: The IP versions over which FTP passes, V(ipv4), V(ipv6) or both.
    type: list
    elements: str
    default: [ipv4, ipv6]
  position:
    description: Where the jumps stand in the chains INPUT and OUTPUT.
    type: str
    default: auto
    choices:
      auto: Before the first rule that drops or rejects everything on the interface, else at the end.
      first: Before all rules of others.
      last: Behind all rules of others.
  chain_prefix:
    description: Begins the names of the chains.
    type: str
    default: FTP
  state:
    description: What is asked for.
    type: str
    default: present
    choices:
      present: FTP passes.
      absent: No rule and no chain of the role is left.
  ip_versions_together:
    description:
      - Whether one item of the plan may be for both IP versions.
      - M(ansible.builtin.iptables) knows O(ansible.builtin.iptables#module:ip_version=both) since ansible-core 2.19.
    type: bool
    default: false
seealso:
  - module: hostfw.conntrack.helper_rule
  - module: ansible.builtin.iptables
"""

EXAMPLES = r"""
- name: See what would let FTP in on eth0
  hostfw.conntrack.ftp_plan:
    mode: passive
    interface: eth0
    passive_ports: "50000:50999"
  register: plan
  diff: true

- name: Show the rules that are missing
  ansible.builtin.debug:
    var: plan.rules
"""

RETURN = r"""
converged:
  description: Whether the host is as was asked for. Where it is not, the module reports a change, but makes none.
  type: bool
  returned: success
packages:
  description: Packages to install first. Where iptables is among them, plan again afterwards.
  type: list
  elements: str
  returned: success
  sample: [iptables]
load:
  description: Kernel modules to load.
  type: list
  elements: str
  returned: success
  sample: [nf_conntrack_ftp]
chains:
  description:
    - What C(iptables-restore --noflush) and C(ip6tables-restore --noflush) are to read first, to create the missing
      chains.
  type: list
  elements: dict
  returned: success
  sample:
    - program: /usr/sbin/iptables-restore
      lines: |
        *filter
        -N FTP-IN
        COMMIT
helper_rules:
  description: Rules to add, as arguments of M(hostfw.conntrack.helper_rule).
  type: list
  elements: dict
  returned: success
  sample:
    - chain: FTP-HELPER
      comment: "hostfw.conntrack: control connection to port 21: gets the ftp helper"
      destination_port: "21"
      destination_type: LOCAL
      helper: ftp
      ip_version: both
      jump: CT
      protocol: tcp
      table: raw
rules:
  description: Rules to add after those, in this order, as arguments of M(ansible.builtin.iptables).
  type: list
  elements: dict
  returned: success
  sample:
    - chain: FTP-IN
      comment: "hostfw.conntrack: control connection to port 21: client opens"
      ctstate: [NEW, ESTABLISHED]
      destination_port: "21"
      ip_version: both
      jump: ACCEPT
      protocol: tcp
      table: filter
restores:
  description:
    - What C(iptables-restore --noflush) and C(ip6tables-restore --noflush) are to read at the end,
      to move jumps and to remove rules and chains of the role that are not wanted any more.
  type: list
  elements: dict
  returned: success
  sample:
    - program: /usr/sbin/iptables-restore
      lines: |
        *filter
        -D FTP-IN -p tcp -m tcp --dport 22 -j ACCEPT
        COMMIT
conflicts:
  description: Why nothing can be done.
  type: list
  elements: str
  returned: when there are any; the module then fails
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.hostfw.conntrack.plugins.module_utils import _host, _options, _plan, _ruleset
from ansible_collections.hostfw.conntrack.plugins.module_utils._options import Options

SBIN = ["/usr/sbin", "/sbin", "/usr/local/sbin"]
HELPER_MODULE = "nf_conntrack_ftp"


def read(module: AnsibleModule, options: Options) -> tuple[dict[str, _ruleset.Ruleset], list[str]]:
    """Return the rules of each IP version, and the packages that are missing."""
    current: dict[str, _ruleset.Ruleset] = {}
    packages = []
    for ip_version in _options.IP_VERSIONS:
        program = f"{_plan.PROGRAMS[ip_version]}-save"
        path = module.get_bin_path(program, opt_dirs=SBIN)
        asked = ip_version in options.peers
        if path is None:
            if asked and options.state == "present":
                packages.append("iptables")
                current[ip_version] = _ruleset.Ruleset()
            continue
        code, out, err = module.run_command([path])
        for line in (out + err).splitlines():
            if "tables present" in line:
                module.warn(f"{program}: {line.lstrip('# ')}; rules there are not seen here, and may drop FTP")
        if code == 0:
            try:
                current[ip_version] = _ruleset.parse(out, _plan.TABLES)
            except ValueError as exc:
                module.fail_json(msg=f"{program}: {exc}")
        elif asked or "Permission denied" in err:
            module.fail_json(msg=unreadable(program, ip_version, err.strip()))
    return current, list(dict.fromkeys(packages))


def unreadable(program: str, ip_version: str, error: str) -> str:
    """Return the error for rules that cannot be read."""
    if "Permission denied" in error or "Operation not permitted" in error:
        return (
            f"the firewall's rules cannot be read: they want root (become: true) and, in a container, "
            f"the capability NET_ADMIN (docker run --cap-add NET_ADMIN). {program} said: {error}"
        )
    return f"{program} failed; where the host has no {ip_version}, leave it out of ftp_ip_versions. It said: {error}"


def modules_to_load(module: AnsibleModule) -> list[str]:
    """Return the kernel modules that are neither loaded nor built in."""
    if _host.helper_ready(HELPER_MODULE):
        return []
    reason = _host.module_missing(HELPER_MODULE, os.uname().release)
    if reason is not None:
        module.fail_json(
            msg=f"the kernel's FTP helper {HELPER_MODULE} is neither loaded nor built in, and cannot be loaded here: "
            f"{reason}. In a container, run modprobe {HELPER_MODULE} on the container's host; elsewhere, install "
            "the package with all modules of the running kernel, or reboot into the kernel that is installed"
        )
    return [HELPER_MODULE]


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "mode": {"type": "str", "default": "both", "choices": list(_options.MODES)},
            "interface": {"type": "list", "elements": "str", "default": []},
            "control_ports": {"type": "list", "elements": "str", "default": ["21"]},
            "data_port": {"type": "str", "default": "20"},
            "passive_ports": {"type": "str", "default": "1024:65535"},
            "allowed_addresses": {"type": "list", "elements": "str", "default": []},
            "ip_versions": {"type": "list", "elements": "str", "default": list(_options.IP_VERSIONS)},
            "position": {"type": "str", "default": "auto", "choices": list(_options.POSITIONS)},
            "chain_prefix": {"type": "str", "default": "FTP"},
            "state": {"type": "str", "default": "present", "choices": list(_options.STATES)},
            "ip_versions_together": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    inputs: dict[str, Any] = module.params
    try:
        options = _options.parse(inputs, _host.interfaces(), _host.default_interfaces())
    except ValueError as exc:
        module.fail_json(msg=str(exc))

    wanted = options.state == "present"
    current, packages = read(module, options)
    load = modules_to_load(module) if wanted else []
    if load and module.get_bin_path("modprobe", opt_dirs=SBIN) is None:
        packages.append("kmod")
    if packages and not any(module.get_bin_path(name) for name in _host.PACKAGE_MANAGERS):
        module.fail_json(
            msg=f"{' and '.join(packages)} must be installed, and this host has no package manager to do it with "
            f"({', '.join(_host.PACKAGE_MANAGERS)})"
        )
    plan = _plan.plan(options, current, together=inputs["ip_versions_together"])
    if plan.conflicts:
        module.fail_json(msg="; ".join(plan.conflicts), conflicts=plan.conflicts)
    for wildcard in _host.unmatched(options.interfaces, _host.interfaces()):
        module.warn(f"ftp_interface: no interface of this host matches {wildcard} at present")
    for restore in plan.chains + plan.restores:
        # It is not there yet where iptables is still to be installed.
        restore["program"] = module.get_bin_path(restore["program"], opt_dirs=SBIN) or restore["program"]
    converged = not (packages or load or plan.changed)
    before = [f"+package {name}\n" for name in packages] + [f"+module {name}\n" for name in load]
    module.exit_json(
        changed=not converged,
        converged=converged,
        packages=packages,
        load=load,
        chains=plan.chains,
        helper_rules=plan.helper_rules,
        rules=plan.rules,
        restores=plan.restores,
        diff={"prepared": "".join(before) + plan.diff},
    )


if __name__ == "__main__":
    main()
