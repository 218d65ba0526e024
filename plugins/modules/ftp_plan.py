#!/usr/bin/python

# Copyright (c) hostfw.conntrack contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ftp_plan
short_description: Plan what lets FTP through a host's firewall
version_added: 0.1.0
author: hostfw.conntrack contributors (@hostfw)
description:
  - Checks a host once and returns how its current state differs from the desired one, such as the kernel module to
    load, and the rules to add, to move and to remove.
  - It changes nothing. The role P(hostfw.conntrack.ftp#role) carries the plan out.
  - In an image, a folder that chroot has led it into, it plans the files by which FTP passes when the image boots. What
    the image will load at boot, it loads in a network namespace of its own, which needs the capability SYS_ADMIN.
  - Bad values and conflicts make it fail.
requirements:
  - Python 3.9 or newer on the host
  - root, or the capability NET_ADMIN
  - iptables, which may be among the packages to install; or nft with JSON, where native nftables rules filter
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
  side:
    description:
      - What the host is. An FTP server runs on a V(server), a V(client) opens FTP sessions to servers, a V(gateway)
        forwards FTP sessions between clients and servers.
    type: str
    default: server
    choices: [server, client, gateway]
  mode:
    description:
      - Which data connections may be opened. The server opens V(active) ones, from O(data_port) to the client; the
        client opens V(passive) ones, to O(passive_ports) of the server.
    type: str
    default: both
    choices: [active, passive, both]
  interface:
    description:
      - The interfaces on which FTP passes, names, or wildcards such as V(eth+), or V(any) alone. On a gateway, those
        on which the clients are.
      - An empty list stands for the interfaces of the default routes, but not on a gateway.
      - One that is away for the moment makes the module fail, unless rules for it stand, or are stored for the boot.
    type: list
    elements: str
    default: []
  out_interface:
    description: With O(side=gateway), the interfaces on which the servers are, in the same form.
    type: list
    elements: str
    default: []
  nat:
    description: With O(side=gateway), whether FTP crosses NAT here, which needs the kernel module C(nf_nat_ftp).
    type: bool
    default: false
  control_ports:
    description: The ports of the control connection.
    type: list
    elements: str
    default: ['21']
  data_port:
    description:
      - The port from which the server opens active data connections, or V(any).
      - V(auto) is V(20) with O(side=server), else V(any).
      - ProFTPD needs V(any) unless its C(RootRevoke) is off, vsftpd unless its C(connect_from_port_20) is C(YES), and
        so does a server without privileges.
    type: str
    default: auto
  active_ports:
    description:
      - The port, or the range of ports C(first:last), on which clients listen for active data connections.
      - With O(side=client), V(auto) is what C(net.ipv4.ip_local_port_range) says, else V(1024:65535).
    type: str
    default: auto
    version_added: 1.1.0
  passive_ports:
    description:
      - The port, or the range of ports C(first:last), to which clients open passive data connections.
      - With O(side=server), V(auto) takes it from the configuration of vsftpd, proftpd or pure-ftpd. Where one of
        them that is installed does not say it, or none is installed, it is V(1024:65535), with a warning.
      - With another O(side), V(auto) is V(1024:65535).
    type: str
    default: auto
  public_address:
    description:
      - With O(side=server), the IPv4 address, or the host name, that the server announces in place of its own address,
        as it does in a cloud or behind one-to-one NAT. The helper believes no announcement of another address than
        that of the control connection, so O(passive_ports) are opened for addresses that hold a control connection.
      - Nothing is opened for an address that the host itself has. A host name counts as one that it does not have.
      - V(auto) takes it from the configuration of vsftpd (C(pasv_address)), proftpd (C(MasqueradeAddress)) or
        pure-ftpd (C(ForcePassiveIP)). With V(none), nothing is opened.
      - It needs fewer than 1,000 O(passive_ports), or O(allowed_addresses).
    type: str
    default: auto
    version_added: 1.1.0
  tls:
    description:
      - Whether FTPS passes, too. Its data connections are opened without the helper, which cannot read an encrypted
        control connection, but only for addresses that hold a control connection.
      - In passive mode, it needs fewer than 1,000 O(passive_ports), or O(allowed_addresses); in active mode, unless
        O(side=server), O(allowed_addresses).
    type: bool
    default: false
  allowed_addresses:
    description:
      - The addresses and networks of the other end, IPv4 and IPv6 mixed. With O(side=client) that is the servers,
        else the clients.
      - An empty list allows all. A list without networks of one IP version closes FTP over that version.
    type: list
    elements: str
    default: []
  server_addresses:
    description:
      - With O(side=gateway), the addresses and networks of the servers, in the same form.
      - An empty list allows all. A list without networks of one IP version closes FTP over that version.
    type: list
    elements: str
    default: []
    version_added: 1.1.0
  ip_versions:
    description: The IP versions over which FTP passes, V(ipv4), V(ipv6) or both.
    type: list
    elements: str
    default: [ipv4, ipv6]
  position:
    description:
      - Where the jumps stand in the chains INPUT, OUTPUT and FORWARD.
      - V(auto) is before the first foreign rule that drops or rejects FTP wherever it comes from, else the end. What
        drops it from some addresses only, such as a ban, stays before the jumps.
      - V(first) is before, V(last) is behind all foreign rules.
    type: str
    default: auto
    choices: [auto, first, last]
  chain_prefix:
    description: Begins the names of the chains.
    type: str
    default: FTP
  connmark:
    description:
      - The two bits of the connection mark by which the rules know control connections, and closed ones; a number
        such as V(0x30000000). All instances of the role on a host must have the same.
    type: str
    default: '0x30000000'
    version_added: 1.1.0
  persistent:
    description:
      - Whether FTP passes after a reboot, too. The chains, jumps and sets are stored in C(/etc/hostfw-conntrack),
        and a unit of systemd loads them.
    type: bool
    default: true
  restore_after:
    description:
      - The names of further services of systemd whose start or reload flushes rules, such as
        V(site-firewall.service). The rules come back after each of them.
      - Those of netfilter-persistent, iptables-services, nftables, ufw, firewalld, docker, ferm, shorewall and csf, and
        V(firewall.service), are known.
    type: list
    elements: str
    default: []
    version_added: 1.1.0
  ignore_conflicts:
    description:
      - Whether to go on, with a warning, where firewalld filters by iptables, or where nftables drops FTP early. Else
        the module fails, and says how to let FTP pass there.
    type: bool
    default: false
  state:
    description: Whether FTP passes (V(present)), or no rule and no chain of the role is left (V(absent)).
    type: str
    default: present
    choices: [present, absent]
  role:
    description: What the role P(hostfw.conntrack.ftp#role) hands on from one plan to the next. Not for playbooks.
    type: dict
    default: {}
    version_added: 1.1.0
    suboptions:
      ip_versions_together:
        description:
          - Whether one item of the plan may be for both IP versions, which
            O(ansible.builtin.iptables#module:ip_version=both) is since ansible-core 2.19.
        type: bool
        default: false
      first:
        description:
          - Whether jumps that are missing, or behind what stops FTP, go before all rules. FTP passes then, also where
            others change rules all the time.
        type: bool
        default: false
      undo:
        description:
          - An earlier RV(before), to roll back to. No other option but O(chain_prefix) then counts.
        type: dict
        default: {}
      earlier:
        description:
          - An earlier RV(instances) of this host. The module fails where another O(side) had the same O(chain_prefix)
            there, as each would remove the rules of the other.
        type: dict
        default: {}
      variables:
        description: The names of variables that are set. The module warns where they look like misspelt inputs.
        type: list
        elements: str
        default: []
      more:
        description: The names of variables that add to lists, such as C(ftp_allowed_addresses__office).
        type: list
        elements: str
        default: []
      more_values:
        description: The values of O(role.more), in their order.
        type: list
        elements: raw
        default: []
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
  description: Whether the current state is the desired one. If not, the module reports a change, but makes none.
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
passive_ports:
  description: The passive ports that are let through, and where O(passive_ports=auto) found them.
  type: dict
  returned: success
  sample:
    ports: "50000:50999"
    source: pasv_min_port and pasv_max_port of vsftpd in /etc/vsftpd.conf
public_address:
  description: The address or the host name for which O(passive_ports) are opened, or V(none).
  type: str
  returned: success
  sample: 203.0.113.7
addresses:
  description: The IPv4 addresses of the host.
  type: list
  elements: str
  returned: success
  sample: [127.0.0.1, 10.0.0.5]
prepare:
  description: Commands to run first, each with what it reads. They create chains, and what no module can express.
  type: list
  elements: dict
  returned: success
  sample:
    - argv: [/usr/sbin/iptables-restore, --noflush, -w, "60"]
      stdin: |
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
finish:
  description:
    - Commands to run at the end, to move jumps and to remove rules, chains and sets of the role that are not desired
      any more.
  type: list
  elements: dict
  returned: success
  sample:
    - argv: [/usr/sbin/iptables-restore, --noflush, -w, "60"]
      stdin: |
        *filter
        -D FTP-IN -p tcp -m tcp --dport 22 -j ACCEPT
        COMMIT
placing:
  description:
    - Whether nothing is left to do but to move jumps below foreign rules, such as bans, that others have put there
      meanwhile. FTP passes.
  type: bool
  returned: success
disable:
  description: Units of systemd to stop and disable, before all else.
  type: list
  elements: str
  returned: success
  sample: [hostfw-conntrack-FTP.service]
remove:
  description: Files and folders to remove then.
  type: list
  elements: str
  returned: success
  sample: [/etc/systemd/system/hostfw-conntrack-FTP.service]
store:
  description: The command that writes files after the rules have changed, with what it reads; at most one.
  type: list
  elements: dict
  returned: success
  sample:
    - argv: [sh]
      stdin: store 0644 /etc/modules-load.d/hostfw-conntrack-FTP.conf ...
reload:
  description: Commands by which firewalld then reads its files.
  type: list
  elements: list
  returned: success
  sample:
    - [firewall-cmd, --check-config]
    - [firewall-cmd, --reload]
enable:
  description: Units of systemd to enable and start at last.
  type: list
  elements: str
  returned: success
  sample: [hostfw-conntrack-FTP.service]
image:
  description: Whether this is an image, of which only the files count.
  type: bool
  returned: success
gates:
  description: Who drops FTP unless it is let through. A packet must pass all of them.
  type: list
  elements: str
  returned: success, but not with O(role.undo)
  sample: [iptables, ip6tables, nftables inet filter input]
inputs:
  description:
    - The options on which a probe of FTP rests, in one form. Of O(ip_versions), those over which the addresses let FTP
      pass.
  type: dict
  returned: success, but not with O(role.undo)
  sample:
    control_ports: ["21"]
    data_port: "20"
    ip_versions: [ipv4, ipv6]
    mode: both
    modes: [passive, active]
    side: server
    tls: false
instances:
  description: The side for each prefix that was planned so far, for O(role.earlier).
  type: dict
  returned: success, but not with O(role.undo)
  sample: {FTP: server}
refresh:
  description: Whether the lists of packages are to be fetched before any is installed, as apt does not do so itself.
  type: bool
  returned: success
before:
  description: The chains, jumps, sets and files that the role has on the host, for O(role.undo).
  type: dict
  returned: when the host is not converged
findings:
  description:
    - What it has warned of. Each has an id, listed in docs/troubleshooting.md, the facts that it is about, and the
      words of the warning.
  type: list
  elements: dict
  returned: always
  sample:
    - id: interface-away
      facts:
        interface: ppp0
      message: "ftp_interface: this host has no interface ppp0 at present; its rules stand, for when it is back"
conflicts:
  description: Why nothing can be done, in the same form.
  type: list
  elements: dict
  returned: when there are any; the module then fails
  sample:
    - id: unreadable-table
      facts:
        ip_version: ipv4
        table: filter
      message: >-
        table filter of ipv4 holds native nftables rules that iptables cannot read (iptables-save: table is
        incompatible); move them to a table of another name
"""

import gc
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.hostfw.conntrack.plugins.module_utils._diagnosis._findings import Finding
from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp import _desired, _options, _servers
from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp._desired import OURS, TABLES, Desired
from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp._options import Options
from ansible_collections.hostfw.conntrack.plugins.module_utils._host import (
    _commands,
    _host,
    _image,
    _instances,
    _stores,
)
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables import _extensions, _ruleset
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables._foreign import Near, sets_with
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables._rule import PROGRAMS
from ansible_collections.hostfw.conntrack.plugins.module_utils._nftables import _ruleset as _nftables
from ansible_collections.hostfw.conntrack.plugins.module_utils._nftables._ruleset import Tables
from ansible_collections.hostfw.conntrack.plugins.module_utils._plan import (
    _boot,
    _firewalld,
    _gates,
    _native,
    _plan,
    _warnings,
)

ARGUMENTS: dict[str, Any] = {
    "side": {"type": "str", "default": "server", "choices": list(_options.SIDES)},
    "mode": {"type": "str", "default": "both", "choices": list(_options.MODES)},
    "interface": {"type": "list", "elements": "str", "default": []},
    "out_interface": {"type": "list", "elements": "str", "default": []},
    "nat": {"type": "bool", "default": False},
    "control_ports": {"type": "list", "elements": "str", "default": ["21"]},
    "data_port": {"type": "str", "default": "auto"},
    "active_ports": {"type": "str", "default": "auto"},
    "passive_ports": {"type": "str", "default": "auto"},
    "public_address": {"type": "str", "default": "auto"},
    "tls": {"type": "bool", "default": False},
    "allowed_addresses": {"type": "list", "elements": "str", "default": []},
    "server_addresses": {"type": "list", "elements": "str", "default": []},
    "ip_versions": {"type": "list", "elements": "str", "default": list(_options.IP_VERSIONS)},
    "position": {"type": "str", "default": "auto", "choices": list(_options.POSITIONS)},
    "chain_prefix": {"type": "str", "default": "FTP"},
    "connmark": {"type": "str", "default": "0x30000000"},
    "persistent": {"type": "bool", "default": True},
    "restore_after": {"type": "list", "elements": "str", "default": []},
    "ignore_conflicts": {"type": "bool", "default": False},
    "state": {"type": "str", "default": "present", "choices": list(_options.STATES)},
    "role": {
        "type": "dict",
        "default": {},
        "apply_defaults": True,
        "options": {
            "ip_versions_together": {"type": "bool", "default": False},
            "first": {"type": "bool", "default": False},
            "undo": {"type": "dict", "default": {}},
            "earlier": {"type": "dict", "default": {}},
            "variables": {"type": "list", "elements": "str", "default": []},
            "more": {"type": "list", "elements": "str", "default": []},
            "more_values": {"type": "list", "elements": "raw", "default": []},
        },
    },
}

# How many settings one message names.
NAMED = 10
# What this run has warned of.
WARNED: list[dict[str, Any]] = []


def read(module: AnsibleModule, options: Options, tables: Tables) -> tuple[dict[str, _ruleset.Ruleset], list[str]]:
    """Return the rules of each IP version, and the packages that are missing.

    :arg tables: those of nftables, which show whether iptables-nft has any
    """
    current: dict[str, _ruleset.Ruleset] = {}
    packages = []
    for ip_version in _options.IP_VERSIONS:
        program = f"{PROGRAMS[ip_version]}-save"
        path = module.get_bin_path(program, opt_dirs=_commands.SBIN)
        asked = ip_version in options.peers
        if path is None:
            if asked and options.state == "present":
                packages.append("iptables")
                current[ip_version] = _ruleset.Ruleset()
            continue
        if asked:
            warn(module, other_variant(module, path, ip_version))
        if tables and "nft" in Path(path).resolve().name and not _nftables.of_iptables(tables, ip_version):
            current[ip_version] = _ruleset.Ruleset()
            continue
        code, out, err = module.run_command([path])
        if code == 0:
            try:
                current[ip_version] = _ruleset.parse(out, (*TABLES, "nat", "security"))
            except ValueError as exc:
                module.fail_json(msg=f"{program}: {exc}")
        elif asked or "Permission denied" in err:
            module.fail_json(msg=unreadable(program, ip_version, err.strip()))
    return current, list(dict.fromkeys(packages))


def read_nftables(module: AnsibleModule) -> Tables:
    """Return the tables of nftables."""
    text, unseen = _commands.nftables(module)
    warn(module, unseen)
    return _nftables.parse(text)


def other_variant(module: AnsibleModule, path: str, ip_version: str) -> list[Finding]:
    """Return a warning where the other variant of iptables holds rules that may drop, too; those of nat cannot."""
    program = Path(path).name
    names = [program.replace("-save", f"-{variant}-save") for variant in ("nft", "legacy")]
    here, other = names if "nft" in Path(path).resolve().name else reversed(names)
    found = module.get_bin_path(other, opt_dirs=_commands.SBIN)
    if found is None or ("legacy" in other and not _host.legacy_tables(ip_version)):
        return []
    _code, out, _err = module.run_command([found])
    ruleset = _ruleset.parse(out, TABLES)
    rules = any(lines for chains in ruleset.tables.values() for lines in chains.values())
    if rules or not set(ruleset.policies.values()) <= {"ACCEPT", "-"}:
        uses, others = (name.removesuffix("-save") for name in (here, other))
        return [Finding("both-variants", here=uses, other=others)]
    return []


def unreadable(program: str, ip_version: str, error: str) -> str:
    """Return the error for rules that cannot be read."""
    if "Permission denied" in error or "Operation not permitted" in error:
        return (
            f"the firewall's rules cannot be read: they want root (become: true) and, in a container, "
            f"the capability NET_ADMIN (docker run --cap-add NET_ADMIN). {program} said: {error}"
        )
    return f"{program} failed; where the host has no {ip_version}, leave it out of ftp_ip_versions. It said: {error}"


def standing_interfaces(module: AnsibleModule, names: list[str], defaults: list[str]) -> list[str]:
    """Return the interfaces that the rules of this instance name, now or at boot; only where that counts.

    :arg names: the names of the interfaces that the host has
    :arg defaults: those of its default routes
    :raises ValueError: for a bad prefix
    """
    inputs = module.params
    prefix = _options.parse_prefix(inputs["chain_prefix"])
    asked = {name for name in inputs["interface"] + inputs["out_interface"] if not name.endswith("+")}
    if asked <= {*names, "any"} and (inputs["interface"] or defaults):
        return []
    texts = list(_boot.read(prefix).values())
    for program in PROGRAMS.values():
        path = module.get_bin_path(f"{program}-save", opt_dirs=_commands.SBIN)
        if path is not None:
            texts.append(module.run_command([path])[1])
    return _instances.interfaces(prefix, texts)


def of_inputs(module: AnsibleModule, options: Options, current: dict[str, _ruleset.Ruleset]) -> list[Finding]:
    """Return warnings of inputs that most likely are not what was meant."""
    found = []
    inputs = [f"ftp_{name}" for name in module.params if name != "role"]
    found += _options.misspelt(module.params["role"]["variables"], [*inputs, "ftp_verify"])
    sides = _instances.sides(options.prefix, current)
    if options.state == "present" and sides and options.side not in sides:
        found.append(Finding("side-changes", prefix=options.prefix, here=sides[0], side=options.side))
    return found


def warn(module: AnsibleModule, found: Iterable[Finding]) -> None:
    """Warn of what is found, and note it for the result."""
    for warning in found:
        module.warn(warning)
        WARNED.append(warning.report())


def read_servers(inputs: dict[str, Any]) -> list[_servers.Server]:
    """Return the FTP servers of the host.

    :raises ValueError: where V(auto) wants a configuration that cannot be understood
    """
    try:
        return _servers.installed()
    except ValueError as exc:
        if inputs["passive_ports"] == "auto" and inputs["mode"] != "active":
            raise ValueError(f"{exc}; mend it, or set ftp_passive_ports to the server's range") from exc
        return []


def read_sets(module: AnsibleModule, options: Options) -> dict[str, str]:
    """Return the type and the family of each ipset; fail where one is needed and the kernel has none."""
    path = module.get_bin_path("ipset", opt_dirs=_commands.SBIN)
    if path is None:
        return {}
    code, out, err = module.run_command([path, "-terse", "list"])
    if code != 0 and options.live and options.state == "present":
        name, who = ("ftp_tls", "FTPS opens its") if options.tls else ("ftp_public_address", "it opens the passive")
        module.fail_json(
            msg=f"{name}: this kernel has no ipsets, or hides them, and {who} data ports by one; "
            f"ipset list said: {err.strip()}"
        )
    return {
        name: " ".join([kind, *re.findall(r"family (\w+)", header)])
        for name, kind, header in re.findall(r"^Name: (.*)\nType: (.*)\n.*\nHeader: (.*)", out, re.MULTILINE)
    }


def near(module: AnsibleModule, current: dict[str, _ruleset.Ruleset]) -> Near:
    """Return where peers are whom a foreign rule does not ban, by the ipsets that the rules name."""
    networks = tuple(_host.networks())
    chains = [
        chain for ruleset in current.values() for table in TABLES for chain in ruleset.tables.get(table, {}).values()
    ]
    names = _ruleset.sets_of(line for chain in chains for line in chain if OURS not in line)
    path = module.get_bin_path("ipset", opt_dirs=_commands.SBIN)
    texts = [module.run_command([path, "list", name])[1] for name in names] if path else []
    return Near(networks, sets_with(networks, "".join(texts)))


def add_packages(
    module: AnsibleModule, desired: Desired, packages: list[str], load: list[str], *, by_firewalld: bool
) -> None:
    """Add the packages of other programs that are missing, and fail where none can be installed.

    :arg desired: what iptables is to have
    :arg by_firewalld: whether firewalld filters, which needs no nft for its rules of nftables
    """
    live = bool(desired.live_sets)
    if not desired.any:
        packages.clear()
    programs = (("modprobe", "kmod", bool(load)), ("ipset", "ipset", live), ("nft", "nftables", by_firewalld))
    for program, package, needed in programs:
        if needed and module.get_bin_path(program, opt_dirs=_commands.SBIN) is None:
            packages.append(package)
    if packages and not any(module.get_bin_path(name) for name in _host.PACKAGE_MANAGERS):
        module.fail_json(
            msg=f"{' and '.join(packages)} must be installed, and this host has no package manager to do it with "
            f"({', '.join(_host.PACKAGE_MANAGERS)})"
        )


def check(module: AnsibleModule, plan: _plan.Plan, in_charge: list[Finding]) -> None:
    """Fail where nothing can be done, or where it would be in vain.

    :arg in_charge: who else must let FTP through
    """
    ignored = in_charge if module.params["ignore_conflicts"] else []
    warn(module, (Finding("ignored-conflict", conflict=conflict, of=conflict.id) for conflict in ignored))
    stop(module, plan.conflicts + ([] if ignored else in_charge))


def stop(module: AnsibleModule, conflicts: list[Finding]) -> None:
    """Fail where there are conflicts."""
    if conflicts:
        msg = "; ".join(conflicts)
        module.fail_json(msg=msg, conflicts=[conflict.report() for conflict in conflicts], findings=WARNED)


def leave(
    module: AnsibleModule,
    plan: _plan.Plan,
    files: _boot.Changes,
    reloads: list[list[str]],
    packages: list[str],
    load: list[str],
    before: Callable[[], dict[str, Any]],
    *,
    image: bool,
    **values: object,
) -> None:
    """End the module with a plan.

    :arg before: returns what the instance has, from which a converged host is spared
    """
    if image:  # no rule of it is loaded before it boots
        plan = replace(plan, prepare=[], helper_rules=[], rules=[], finish=[], sets=[])
        reloads = []
    for command in plan.prepare + plan.finish:
        # It is not there yet where its package is still to be installed.
        command["argv"][0] = module.get_bin_path(command["argv"][0], opt_dirs=_commands.SBIN) or command["argv"][0]
    converged = not (packages or load or plan.changed or files.changed or reloads)
    shown = [f"+package {name}" for name in packages] + [f"+module {name}" for name in load]
    shown += [f"+ipset {name}" for name in plan.sets]
    shown += [f"+file {item['dest']}" for item in files.write] + [f"-file {path}" for path in files.remove]
    if not converged:
        values["before"] = before()
    module.exit_json(
        changed=not converged,
        converged=converged,
        packages=packages,
        findings=WARNED,
        refresh=_host.stale_lists(),
        load=load,
        prepare=plan.prepare,
        helper_rules=plan.helper_rules,
        rules=plan.rules,
        finish=plan.finish,
        placing=plan.placing and not (packages or load or files.changed or reloads),
        disable=files.disable,
        remove=files.remove,
        store=files.store,
        reload=reloads,
        enable=files.enable,
        image=image,
        diff={"prepared": "".join(f"{line}\n" for line in shown) + plan.diff},
        **values,
    )


def firewall_cmd(module: AnsibleModule, *arguments: str) -> str:
    """Return what firewall-cmd prints."""
    path = module.get_bin_path("firewall-cmd", required=True)
    _code, out, _err = module.run_command([path, *arguments])
    return str(out)


def reload(
    module: AnsibleModule,
    prefix: str,
    policies: Iterable[str],
    files: _boot.Changes,
    tables: Tables,
    current: dict[str, _ruleset.Ruleset],
) -> list[list[str]]:
    """Return the commands by which firewalld reads its files; fail where that would lose settings or rules of others.

    :arg policies: the paths of the policies that are to be there
    """
    changed = [item["dest"] for item in files.write] + files.remove
    commands = _firewalld.reload(prefix, list(policies), changed, tables) if _firewalld.TABLE in tables else []
    if commands:
        kinds = "--list-all-zones", "--list-all-policies"
        runtime = "".join(firewall_cmd(module, kind) for kind in kinds)
        permanent = "".join(firewall_cmd(module, "--permanent", kind) for kind in kinds)
        for name, asks in _firewalld.flushed_settings(current, tables).items():
            runtime += _firewalld.listed(name, firewall_cmd(module, *asks))
            permanent += _firewalld.listed(name, firewall_cmd(module, "--permanent", *asks))
        lost = _firewalld.runtime_only(runtime, permanent)
        stop(module, [Finding("firewalld-runtime-only", settings="; ".join(lost[:NAMED]))] if lost else [])
        rules = _firewalld.flushed(current)
        stop(module, [Finding("firewalld-reload-flushes", number=len(rules), rule=rules[0])] if rules else [])
    return commands


def printer(module: AnsibleModule) -> Callable[[str], str]:
    """Return a function that returns what nft prints, with handles, of the table that a chain is in."""

    @cache
    def listed(table: str) -> str:
        path = module.get_bin_path("nft", required=True, opt_dirs=_commands.SBIN)
        return str(module.run_command([path, "-s", "-a", "-t", "list", "table", table])[1])

    return lambda chain: listed(chain.rpartition(" ")[0])


@dataclass
class Running:
    """What a host that runs says of itself."""

    module: AnsibleModule
    options: Options = field(init=False)
    image = False

    @property
    def wanted(self) -> bool:
        """Tell whether FTP is to pass."""
        return bool(self.module.params["state"] == "present")

    def addresses(self) -> list[str]:
        """Return its IPv4 addresses."""
        return _host.addresses()

    def interfaces(self) -> list[str]:
        """Return the names of its interfaces."""
        return _host.interfaces()

    def default_interfaces(self) -> list[str]:
        """Return the names of those of its default routes."""
        return _host.default_interfaces()

    def check(self) -> None:
        """Check the inputs that not every host can do without.

        :raises ValueError: for those that are missing
        """

    def load_rules(self) -> None:
        """Let the rules be there that the host has without the role."""

    def systemd(self) -> bool:
        """Tell whether systemd is in charge of the host."""
        return Path("/", _boot.SYSTEMD).is_dir()

    def firewalld(self) -> bool:
        """Tell whether firewalld filters, by whatever backend."""
        return _gates.firewalld()

    def zones(self, tables: Tables) -> _firewalld.Zones | None:
        """Return the zones of firewalld; nothing where it filters by iptables."""
        unseen = self.module.get_bin_path("nft", opt_dirs=_commands.SBIN) is None and not _firewalld.by_iptables()
        if _firewalld.TABLE not in tables and not unseen:
            return None
        return _firewalld.zones(firewall_cmd(self.module, "--get-active-zones"))

    def to_load(self) -> list[str]:
        """Return the kernel modules that are neither loaded nor built in."""
        release = _host.release()
        load = [] if _host.helper_ready(_host.HELPER) else [_host.HELPER]
        if self.options.nat and not _host.nat_helper_ready(_host.NAT_HELPER, release):
            load.append(_host.NAT_HELPER)
        for name in load:
            reason = _host.module_missing(name, release)
            if reason is not None:
                stop(self.module, [Finding("helper-missing", module=name, reason=reason)])
        return load

    def at_boot(self) -> list[str]:
        """Return the kernel modules that are to be loaded at boot."""
        release = _host.release()
        return [name for name in _host.modules(nat=self.options.nat) if _host.module_missing(name, release) is None]

    def check_extensions(self, desired: Desired) -> None:
        """Fail where a match or target is missing that the rules need."""
        lacking: dict[_extensions.Extension, bool] = {}
        for ip_version, name in PROGRAMS.items():
            program = self.module.get_bin_path(name, opt_dirs=_commands.SBIN)
            rules = desired.rules[ip_version].all
            if program and rules:
                needed = _extensions.needed(rules)
                lacking.update(_extensions.missing(program, needed, self.module.run_command))
        if lacking:
            error = _extensions.error(list(lacking.items()), _host.release())
            stop(self.module, [Finding("extension-missing", error=error)])

    def warnings(self) -> list[Finding]:
        """Return warnings of interfaces that are away."""
        found = [
            Finding("interface-unmatched" if name.endswith("+") else "interface-away", interface=name)
            for name in _host.unmatched(self.options.interfaces + self.options.out_interfaces, self.interfaces())
        ]
        if self.wanted and not self.module.params["interface"] and not self.default_interfaces():
            found.append(Finding("no-default-route"))
        return found


class Image(Running):
    """What an image says of the host that it will be."""

    image = True

    def addresses(self) -> list[str]:
        """Return no address: those are another host's."""
        return []

    def interfaces(self) -> list[str]:
        """Return the names of the interfaces that it will have, as far as they are known."""
        return [*self.module.params["interface"], *self.module.params["out_interface"]]

    def default_interfaces(self) -> list[str]:
        """Return no interface: those are another host's."""
        return []

    def check(self) -> None:
        """Check the inputs without which an image cannot be planned for."""
        _options.check_image(self.module.params)

    def load_rules(self) -> None:
        """Load what the image will load when it boots, for this process alone."""
        try:
            _image.leave_network()
        except OSError as exc:
            stop(self.module, [Finding("image-without-network", error=exc.strerror)])
        for unit, command in _image.loaders(self.options.restore_after):
            code, out, err = self.module.run_command(command)
            if code != 0:
                stop(self.module, [Finding("image-fails-to-load", unit=unit, error=err.strip() or out.strip())])

    def systemd(self) -> bool:
        """Tell whether systemd will be in charge of the host."""
        return _image.has_systemd()

    def firewalld(self) -> bool:
        """Tell whether firewalld will filter, by whatever backend."""
        return _image.enabled("firewalld.service")

    def zones(self, _tables: Tables) -> _firewalld.Zones | None:
        """Return the zones that firewalld's own files give the interfaces; nothing where it will filter by iptables."""
        if _firewalld.by_iptables():
            return None
        path = self.module.get_bin_path("firewall-offline-cmd", required=True)
        named = [
            name for name in self.options.interfaces + self.options.out_interfaces if name and not name.endswith("+")
        ]
        answers = {name: self.module.run_command([path, f"--get-zone-of-interface={name}"]) for name in named}
        return _firewalld.Zones({name: out.strip() for name, (code, out, _err) in answers.items() if code == 0})

    def to_load(self) -> list[str]:
        """Return no kernel module: this kernel is another host's."""
        return []

    def at_boot(self) -> list[str]:
        """Return the kernel modules that are to be loaded when the image boots."""
        loadable, missing = _image.modules(_host.modules(nat=self.options.nat))
        for name in missing:
            stop(self.module, [Finding("helper-missing", module=name, reason="no kernel in /lib/modules has it")])
        return loadable

    def check_extensions(self, desired: Desired) -> None:
        """Check nothing: the kernel that will boot does not run."""

    def warnings(self) -> list[Finding]:
        """Return a warning that nothing is loaded yet."""
        return [Finding("image")] if self.wanted else []


def understand(
    module: AnsibleModule, host: Running, addresses: list[str]
) -> tuple[Options, list[_servers.Server], str]:
    """Return the options, the FTP servers of the host, and where the passive ports come from.

    :arg addresses: those of the host
    :raises ValueError: for bad values
    """
    inputs: dict[str, Any] = module.params
    inputs.update(_options.add(inputs, dict(zip(inputs["role"]["more"], inputs["role"]["more_values"]))))
    if host.wanted:
        host.check()
    names, defaults = host.interfaces(), host.default_interfaces()
    servers = read_servers(inputs) if host.wanted and inputs["side"] == "server" else []
    narrow = _servers.narrow(inputs, servers)
    inputs["passive_ports"], source = _servers.passive_ports(inputs, servers)
    inputs["public_address"] = _servers.public_address(inputs, servers, [*addresses, *names])
    standing = standing_interfaces(module, names, defaults) if host.wanted else ()
    options = _options.parse(inputs, names, defaults, _host.local_ports() or _options.HIGH_PORTS, standing)
    if host.wanted:
        _options.check_public_address(options, narrow)
    return options, servers, source


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    # The process ends before any of this is garbage, and with many rules it would be looked for all the time.
    gc.disable()
    role, asked = module.params["role"], module.params["passive_ports"]
    host = Image(module) if _image.is_image() else Running(module)
    addresses = host.addresses()
    try:
        options, servers, source = understand(module, host, addresses)
        instances = _instances.together(role["earlier"], options)
    except ValueError as exc:
        module.fail_json(msg=str(exc))

    host.options = options
    host.load_rules()
    tables = read_nftables(module)
    current, packages = read(module, options, tables)
    sets = read_sets(module, options)

    def before() -> dict[str, Any]:
        return _plan.snapshot(options.prefix, current, sets, tables) | {"files": _boot.read(options.prefix)}

    systemd, plugins = host.systemd(), Path("/", _boot.PLUGINS).is_dir()
    stores = _stores.read()
    # Without the program, there is no set to keep.
    kept = _stores.sets(options.prefix, stores) if module.get_bin_path("ipset", opt_dirs=_commands.SBIN) else []
    if role["undo"]:
        plan = _plan.undo(options.prefix, role["undo"], current, sets, tables, kept)
        needed = _boot.sets_files(options.prefix, kept, systemd=systemd, plugins=plugins)
        files = _boot.changes(options.prefix, {**needed, **role["undo"]["files"]}, systemd=systemd)
        had = [path for path in _firewalld.paths(options.prefix) if path in role["undo"]["files"]]
        reloads = reload(module, options.prefix, had, files, tables, {})
        leave(module, plan, files, reloads, [], [], before, image=host.image)
    networks = near(module, current) if host.wanted else None
    by_firewalld = host.wanted and host.firewalld()
    zones = host.zones(tables) if by_firewalld else None
    desired, share = _gates.share(_desired.of(options), current, tables, networks, by_firewalld=zones is not None)
    load = host.to_load() if host.wanted else []
    add_packages(module, share.iptables, packages, load, by_firewalld=zones is not None)
    plan = _plan.plan(
        share.iptables,
        current,
        sets,
        together=role["ip_versions_together"],
        first=role["first"],
        kept=kept,
        sites=share.sites,
        near=networks,
    )
    plan.add_native(options.prefix, tables, share.own, share.parts)
    check(module, plan, _gates.conflicts(desired, share.gates, firewalld_drops=by_firewalld and zones is None))
    if host.wanted and plan.changed and "iptables" not in packages:
        host.check_extensions(share.iptables)
    printed = printer(module)
    warnings = [
        *host.warnings(),
        *of_inputs(module, options, current),
        *(_firewalld.warnings(desired, zones, share.names) if zones else ()),
        *_native.warnings(share.native, share.parts, printed),
        *_warnings.warnings(
            options,
            current,
            servers,
            native=lambda ip_version: _native.translating(ip_version, tables, printed),
            running=not host.image,
        ),
        *_stores.warnings(desired, stores),
        *_instances.warnings(desired, current, tables),
    ]
    for ip_version, site in plan.sites.items():
        warnings += site.warnings(PROGRAMS[ip_version], plan.after[ip_version])
    if host.wanted and options.side == "server" and options.passive and asked == "auto":
        warnings += _servers.unbounded(servers)
    warn(module, warnings)
    loadable = host.at_boot() if host.wanted else []
    native = _native.files(share.own, share.parts, tables, printed)
    wanted_files = _boot.files(
        share.iptables,
        plan,
        loadable,
        native,
        systemd=systemd,
        plugins=plugins,
        kept=kept,
        by_firewalld=zones is not None,
    )
    policies = _firewalld.files(desired, zones) if zones else {}
    files = _boot.changes(options.prefix, {**wanted_files, **policies}, systemd=systemd)
    leave(
        module,
        plan,
        files,
        reload(module, options.prefix, policies, files, tables, current),
        packages,
        load,
        before,
        image=host.image,
        passive_ports={"ports": options.passive_ports, "source": source},
        public_address=options.public_address or "none",
        addresses=addresses,
        gates=share.names,
        inputs=_options.understood(options),
        instances=instances,
    )


if __name__ == "__main__":
    main()
