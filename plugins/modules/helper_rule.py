#!/usr/bin/python

# Copyright (c) hostfw.conntrack contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: helper_rule
short_description: Manage iptables rules that assign or match a connection tracking helper
version_added: 0.1.0
author: hostfw.conntrack contributors (@hostfw)
description:
  - A connection tracking helper reads the control connections of protocols such as FTP, TFTP or SIP, and
    tells the kernel which connections they announce.
  - Since Linux 6.0 a helper reads a connection only where a rule assigns it. This module manages such rules, and
    those that match the connections that a helper announced.
  - M(ansible.builtin.iptables) can express neither. Use it for all other rules, and to create chains.
requirements:
  - Python 3.9 or newer on the host
  - iptables, and ip6tables for IPv6
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  platform:
    platforms: linux
    support: full
options:
  helper:
    description:
      - The name of the helper, as the kernel knows it, such as V(ftp), V(tftp) or V(sip).
      - Its kernel module, such as C(nf_conntrack_tftp), must be loaded or be there to be loaded.
    type: str
    required: true
  jump:
    description:
      - V(CT) makes a rule that assigns the helper to the connections that it matches.
      - Any other target or chain makes a rule that matches the data connections of the helper, those that it
        announced, and the ICMP errors that belong to them. It does not match the control connection.
    type: str
    default: CT
  table:
    description:
      - The table of the rule. A helper is assigned in V(raw).
      - The default is V(raw) with O(jump=CT), else V(filter).
    type: str
    choices: [filter, mangle, nat, raw, security]
  chain:
    description: The chain of the rule. It must exist.
    type: str
    required: true
  ip_version:
    description: The IP version of the rule. V(ipv4) is for C(iptables), V(ipv6) for C(ip6tables), V(both) for each.
    type: str
    default: ipv4
    choices: [ipv4, ipv6, both]
  protocol:
    description: The protocol of the packets, such as V(tcp) or V(udp).
    type: str
  source:
    description: The address or network that the packets come from, as iptables prints it, such as V(192.0.2.0/24).
    type: str
  destination:
    description: The address or network that the packets go to, as iptables prints it, such as V(192.0.2.1/32).
    type: str
  in_interface:
    description: The interface on which the packets arrive; V(eth+) for all whose names begin with C(eth).
    type: str
  out_interface:
    description: The interface on which the packets leave; V(eth+) for all whose names begin with C(eth).
    type: str
  source_port:
    description: The port, or the range of ports C(first:last), that the packets come from. Needs O(protocol).
    type: str
  destination_port:
    description: The port, or the range of ports C(first:last), that the packets go to. Needs O(protocol).
    type: str
  destination_type:
    description:
      - The kind of address that the packets go to. V(LOCAL) is one of the host itself, so that a rule in
        C(PREROUTING) passes over what the host only forwards.
    type: str
    choices: [UNSPEC, UNICAST, LOCAL, BROADCAST, ANYCAST, MULTICAST, BLACKHOLE, UNREACHABLE, PROHIBIT]
  ctstate:
    description: The connection states of the packets.
    type: list
    elements: str
    choices: [INVALID, NEW, RELATED, ESTABLISHED, UNTRACKED, SNAT, DNAT]
    default: []
  connmark:
    description:
      - A connection mark with its mask that the connection has, such as V(0x1/0x1), or does not have, such as
        V(!0x1/0x1). The connections that a helper announces begin with the mark of their control connection.
      - Not with O(jump=CT), which comes before there is a connection.
    type: str
  comment:
    description: A comment that stands on the rule.
    type: str
  action:
    description:
      - Where a missing rule goes. V(append) is at the end of the chain, V(insert) at O(rule_num), or at its beginning.
      - A rule that is there is not moved.
    type: str
    default: append
    choices: [append, insert]
  rule_num:
    description: The number that an inserted rule gets in its chain.
    type: int
  wait:
    description: How many seconds to wait for the lock of the tables, which other programs may hold.
    type: int
    default: 60
  state:
    description: Whether the rule is there. With V(absent) it is not, not even twice.
    type: str
    default: present
    choices: [present, absent]
seealso:
  - module: ansible.builtin.iptables
  - name: Secure use of iptables and connection tracking helpers
    description: Why helpers are assigned by rules, and what their connections should be allowed.
    link: https://home.regit.org/netfilter-en/secure-use-of-helpers/
"""

EXAMPLES = r"""
- name: Let the tftp helper read what comes in on port 69
  hostfw.conntrack.helper_rule:
    helper: tftp
    chain: PREROUTING
    in_interface: eth0
    protocol: udp
    destination_port: "69"
    destination_type: LOCAL
    ip_version: both

- name: Let the requests in
  ansible.builtin.iptables:
    chain: INPUT
    in_interface: eth0
    protocol: udp
    destination_port: "69"
    jump: ACCEPT
    ip_version: both # since ansible-core 2.19

- name: Let the transfers through that the helper announces
  hostfw.conntrack.helper_rule:
    helper: tftp
    chain: "{{ item }}"
    jump: ACCEPT
    ctstate: [RELATED, ESTABLISHED]
    ip_version: both
  loop: [INPUT, OUTPUT]

- name: Let a SIP client on this host be read
  hostfw.conntrack.helper_rule:
    helper: sip
    chain: OUTPUT
    protocol: udp
    destination: 192.0.2.10/32
    destination_port: "5060"

- name: Let a SIP client on this host be read no more
  hostfw.conntrack.helper_rule:
    helper: sip
    chain: OUTPUT
    protocol: udp
    destination: 192.0.2.10/32
    destination_port: "5060"
    state: absent
"""

RETURN = r"""
rule:
  description: The rule, as C(iptables -S) prints it.
  type: str
  returned: always
  sample: -A PREROUTING -i eth0 -p udp -m udp --dport 69 -m addrtype --dst-type LOCAL -j CT --helper tftp
"""

import re

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables._rule import PROGRAMS, Rule


def converge(module: AnsibleModule, rule: Rule, ip_version: str) -> bool:
    """Add or remove the rule for one IP version, and tell whether there was anything to do."""
    path = module.get_bin_path(PROGRAMS[ip_version], required=True)

    def run(command: str, *place: str, allowed: tuple[int, ...] = (0,)) -> int:
        words = [path, "-w", str(module.params["wait"]), "-t", rule.table, command, rule.chain, *place, *rule.spec()]
        code, _out, err = module.run_command(words)
        if code not in allowed:
            module.fail_json(msg=f"{PROGRAMS[ip_version]} {command} failed: {err.strip()}", rule=rule.line(), rc=code)
        return int(code)

    def is_there() -> bool:
        # 1 is a rule that is not there, 2 also one whose chain or target is not.
        return run("-C", allowed=(0, 1, 2)) == 0

    there = is_there()
    wanted = module.params["state"] == "present"
    if there == wanted:
        return False
    if module.check_mode:
        return True
    if wanted and module.params["action"] == "insert":
        run("-I", str(module.params["rule_num"] or 1))
    elif wanted:
        run("-A")
    else:
        while is_there():
            run("-D")
    return True


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "helper": {"type": "str", "required": True},
            "jump": {"type": "str", "default": "CT"},
            "table": {"type": "str", "choices": ["filter", "mangle", "nat", "raw", "security"]},
            "chain": {"type": "str", "required": True},
            "ip_version": {"type": "str", "default": "ipv4", "choices": ["ipv4", "ipv6", "both"]},
            "protocol": {"type": "str"},
            "source": {"type": "str"},
            "destination": {"type": "str"},
            "in_interface": {"type": "str"},
            "out_interface": {"type": "str"},
            "source_port": {"type": "str"},
            "destination_port": {"type": "str"},
            "destination_type": {
                "type": "str",
                "choices": [
                    "UNSPEC",
                    "UNICAST",
                    "LOCAL",
                    "BROADCAST",
                    "ANYCAST",
                    "MULTICAST",
                    "BLACKHOLE",
                    "UNREACHABLE",
                    "PROHIBIT",
                ],
            },
            "ctstate": {
                "type": "list",
                "elements": "str",
                "choices": ["INVALID", "NEW", "RELATED", "ESTABLISHED", "UNTRACKED", "SNAT", "DNAT"],
                "default": [],
            },
            "connmark": {"type": "str"},
            "comment": {"type": "str"},
            "action": {"type": "str", "default": "append", "choices": ["append", "insert"]},
            "rule_num": {"type": "int"},
            "wait": {"type": "int", "default": 60},
            "state": {"type": "str", "default": "present", "choices": ["present", "absent"]},
        },
        required_by={"source_port": ["protocol"], "destination_port": ["protocol"]},
        supports_check_mode=True,
    )
    assigns = module.params["jump"] == "CT"
    table = module.params["table"] or ("raw" if assigns else "filter")
    if assigns and table != "raw":
        module.fail_json(msg=f"table: must be raw where jump is CT, got {table!r}")
    connmark = module.params["connmark"]
    if connmark and (assigns or not re.fullmatch(r"!?0x[0-9a-f]{1,8}/0x[0-9a-f]{1,8}", connmark)):
        module.fail_json(msg=f"connmark: must be such as 0x1/0x1 or !0x1/0x1, and not with jump CT, got {connmark!r}")
    rule = Rule(
        table=table,
        connmark=connmark,
        ctstate=tuple(module.params["ctstate"]),
        **{
            name: module.params[name]
            for name in (
                "helper",
                "jump",
                "chain",
                "protocol",
                "source",
                "destination",
                "in_interface",
                "out_interface",
                "source_port",
                "destination_port",
                "destination_type",
                "comment",
            )
        },
    )
    asked = module.params["ip_version"]
    changed = [
        ip_version for ip_version in PROGRAMS if asked in (ip_version, "both") and converge(module, rule, ip_version)
    ]
    lines = "".join(f"{PROGRAMS[ip_version]} -t {table} {rule.line()}\n" for ip_version in changed)
    wanted = module.params["state"] == "present"
    module.exit_json(
        changed=bool(changed),
        rule=rule.line(),
        diff={"before": "" if wanted else lines, "after": lines if wanted else ""},
    )


if __name__ == "__main__":
    main()
