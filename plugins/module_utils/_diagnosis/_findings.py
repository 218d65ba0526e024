# Copyright (c) hostfw.conntrack contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What keeps FTP from passing, lets in more than FTP, is most likely not meant, or left over: by ids, and in words.

Ids are stable: playbooks of others may act on them. docs/troubleshooting.md lists them.
"""

from __future__ import annotations

from typing import Any

# Why nothing can be done. The role stops.
CONFLICTS = {
    "foreign-ipset": "ipset {ipset} is not this role's, as it is of {type} and not of {own}; set ftp_chain_prefix to "
    "another name than {prefix}",
    "unreadable-table": "table {table} of {ip_version} holds native nftables rules that iptables cannot read "
    "(iptables-save: table is incompatible); move them to a table of another name",
    "helper-kept-away": "a rule in table raw ({ip_version}) keeps FTP from the helper, without which no file passes: "
    "{rule}; let it spare FTP's control connections and data connections, or give the control connections the helper "
    "there (-j CT --helper {helper})",
    "foreign-chain": "chain {chain} of table {table} ({ip_version}) is not this role's, as a rule that the role did "
    "not make uses it: {rule}; set ftp_chain_prefix to another name than {prefix}",
    "foreign-chain-nftables": "chain {chain} of the nftables table {table} is not this role's, as it holds none of its "
    "rules; set ftp_chain_prefix to another name than {prefix}",
    "chain-in-use": "chain {chain} of table {table} ({ip_version}) cannot be removed, as a rule that this role did not "
    "make jumps to it: {rule}; remove that rule first",
    "foreign-guard-chain": "chain {chain} of table mangle ({ip_version}) is not this role's, as it holds rules that "
    "the role did not make: {rule}; rename that chain",
    "connmark-differs": "ftp_connmark: must be the same for all instances on a host, got {bits:#x} beside this rule of "
    "another one: {rule}",
    "firewalld-runtime-only": "firewalld has settings in its runtime configuration that differ from its permanent one, "
    "and a reload, which is needed for the policies of FTP, would lose them: {settings}; keep them by firewall-cmd "
    "--runtime-to-permanent, or drop them by firewall-cmd --reload, and run the role again",
    "firewalld-reload-flushes": "firewalld must be reloaded for the policies of FTP, which removes all rules of "
    "iptables, and nobody makes {number} of them anew, such as {rule}; move them to firewalld, or remove them",
    "firewalld-drops": "firewalld runs on this host, and drops what it does not allow whatever iptables accepts. Let "
    "it allow FTP, and leave this role out, by {how}\nor set ftp_ignore_conflicts to true to go on",
    "nftables-drops-early": "chain {chain} of the nftables table {family} {table} drops what it does not accept before "
    "the kernel knows which connection it belongs to, so it cannot let FTP's data connections through alone. Give it a "
    "priority above {priority}, or let it drop no FTP, and then set ftp_ignore_conflicts to true",
    "extension-missing": "{error}",
    "image-without-network": "this is an image (chroot): what will filter there is found in a network namespace of its "
    "own, and none can be made: {error}; run the role as root with the capability SYS_ADMIN",
    "image-fails-to-load": "this is an image (chroot): what its unit {unit} will do at boot, done here in a network "
    "namespace of its own, failed: {error}; mend that, or run the role once the image has booted",
    "helper-missing": "the kernel's FTP helper {module} is neither loaded nor built in, and cannot be loaded here: "
    "{reason}. In a container, run modprobe {module} on the container's host; elsewhere, install the package with all "
    "modules of the running kernel, or reboot into the kernel that is installed",
}

# The role goes on.
WARNINGS = {
    "ignored-conflict": "ftp_ignore_conflicts: {conflict}",
    # foreign rules
    "rule-before-jump": "{program}: a rule in table {table} may drop FTP that the role accepts: {rule}; if so, {cure}",
    "nftables-rule-before-jump": "nftables: a rule in chain {chain} may drop FTP before it meets the role's: {rule}; "
    "if so, let it spare FTP",
    "more-rules-before-jump": "{program}: {number} rules more may drop FTP",
    "rule-before-helper": "{program}: a rule in table {table} may keep FTP from the helper, so that no file passes: "
    "{rule}; let it spare FTP's control connections and data connections",
    "connmark-written": "{program}: a rule in table {table} writes over the bits {bits:#x} of the connection mark, "
    "which say whether a control connection is open, so what the role keeps closed may pass, and FTP may stop: "
    "{rule}; {cure}",
    "connmark-read": "{program}: a rule in table {table} reads the bits {bits:#x} of the connection mark, which the "
    "role's rules set, so it may take FTP for something else: {rule}; {cure}",
    "both-variants": "there are rules of {here}, which this host uses, and of {other}: a packet must pass both, and "
    "those of {other} are not seen here and may drop FTP; move them to {here}, or let FTP through there, too",
    "unseen-nftables": "native nftables rules, which may drop FTP, are not seen here, as nft failed: {error}",
    "firewalld-permanent": "ftp_persistent: firewalld has no policies that last until the next boot only; those of FTP "
    "stay in {folder}",
    "firewalld-flushes": "firewall-cmd --reload removes all rules of iptables, and here those that let FTP through are "
    "among them; after it, run systemctl restart hostfw-conntrack-{prefix}, or this role",
    "zone-missing": "firewalld has no zone for {interfaces}, so that it accepts FTP's control connection on all "
    "interfaces; give it one, as by firewall-cmd --permanent --zone=public --add-interface={interfaces}",
    "zone-wider": "zone {zone} of firewalld also has {interfaces}, where FTP's control connection passes, too; give "
    "the interfaces of ftp_interface a zone of their own, if it must not",
    "neighbours-dropped": "ip6tables drops neighbour {messages} in {chain} on {interface}, so nothing of IPv6 can pass "
    "there; accept them: ip6tables -I {chain} -p ipv6-icmp --icmpv6-type {type} -j ACCEPT",
    "port-sent-on": "{program} sends port {port} to port {to}, which ftp_control_ports does not have, so {chain} drops "
    "it: {rule}; add {to} to ftp_control_ports",
    "port-published": "{program} sends port {port} on to {address}, so its FTP does not pass where a server's does, "
    "and the role neither accepts nor bounds it: {rule}; for a container or a host behind this one, set ftp_side to "
    "gateway, with ftp_out_interface and ftp_nat",
    "nat-without-helper": "{program} translates addresses, and {module}, which translates those that FTP announces, is "
    "not loaded: {rule}; set ftp_nat to true if FTP passes this rule",
    # settings of the kernel
    "forwarding-off": "this gateway does not forward {ip_version}: {setting} is 0; set it to 1",
    "helper-loose": "the FTP helper's parameter loose is on: a server, or a client, can make it expect a data "
    "connection with a third host; write N to /{setting}, and take loose from the files in /etc/modprobe.d",
    "forged-end-believed": "{setting} is {value}, so a stranger who knows a client's address can end its transfers "
    "with forged segments; set it {to}",
    "end-unnoticed": "{setting} is {value}, so a control connection that has closed counts as open, and a port that it "
    "announced may stay open, too; set it {to}",
    # the server
    "mode-not-served": "ftp_mode {mode} lets {other} mode through, which {server} forbids in {path}",
    "data-port-not-kept": "{server} opens active data connections from any port, unless RootRevoke is off in {path}, "
    "and not from port {port} only; set ftp_data_port to any",
    "passive-ports-unknown": "ftp_passive_ports: auto opens {ports}, as {reason}",
    # boot
    "image": "this is an image (chroot): the role has written what its boot loads, and has neither loaded nor probed "
    "anything here; FTP passes once it has booted",
    "no-boot": "ftp_persistent: this host runs no systemd, so nothing loads the stored rules at boot; let its init run "
    "{command}, or set ftp_persistent to false",
    "stale-rules-stored": "/{path} holds rules of this role, and brings them back at boot: {rule}; save the rules "
    "anew: {command}",
    "stale-ipset-stored": "/{path} brings back the ipset {ipset} at boot, which is not asked for any more; save the "
    "sets anew: {command}",
    "ipset-kept": "/{path} names the ipset {ipset}, which is not asked for any more, and loads no rule at all at boot "
    "without it, so the role keeps it; save the rules anew, and run the role again: {command}",
    # inputs
    "interface-unmatched": "ftp_interface: no interface of this host matches {interface} at present",
    "interface-away": "ftp_interface: this host has no interface {interface} at present; its rules stand, for when it "
    "is back",
    "no-default-route": "ftp_interface: this host has no default route at present; the rules stay where they are",
    "input-misspelt": "{variable} is no input of this role and changes nothing in it; if it is meant for it, write "
    "{input}",
    "gateways-differ": "ftp_interface, ftp_out_interface: {other} is a gateway for control port {ports}, too, but "
    "between other interfaces than {prefix}, and each drops the control connections of the other as forged; make them "
    "one instance, with the interfaces of both",
    "side-changes": "ftp_side: the rules of {prefix} on this host are those of a {here}, and those of a {side} take "
    "their place; where the host is to be both, set another ftp_chain_prefix for one",
}

# What a hand-written recipe for FTP has left on the host, and what of it counts once the role has run.
LEFTOVERS = {
    "module-loaded-by-hand": "{path} loads the helper: {lines}. Dead: since Linux 4.7, a loaded helper alone sees no "
    "connection. May go: its names, as the role loads what it needs, at boot too. Must stay: all other names, and "
    "nf_nat_ftp where FTP crosses NAT and ftp_nat is false",
    "helper-ports": "{path} gives the helper ports of its own: {lines}. Dead: since Linux 4.7, no port alone has the "
    "helper. May go: ports=, as ftp_control_ports says them. Must stay: port 21 in it, as long as it is there, as "
    "without it the kernel knows no helper by the name ftp",
    "helper-automatic": "{path} lets the kernel give helpers to connections by itself: {lines}. Dead: nothing here, "
    "all of it since Linux 6.0. May go: that line. Must stay: it, where another protocol than FTP needs a helper, "
    "until rules assign that",
    "helper-automatic-gone": "{path} has a setting that this kernel does not know: {lines}. Dead: all of it, since "
    "Linux 6.0. May go: that line. Must stay: nothing",
    "helper-assigned-by-hand": "foreign rules assign the FTP helper: {rules}. Dead: nothing. May go: those for the "
    "interfaces, ports and direction of the role, which assigns it there itself. Must stay: all others, such as one "
    "in OUTPUT for FTP that a server's host itself opens",
    "ftp-accepted-by-hand": "foreign rules accept FTP's ports 20 and 21: {rules}. Dead: RELATED in them, as long as "
    "no rule assigns the helper. May go: all that the role has, too; until then they let in control connections that "
    "ftp_allowed_addresses does not. Must stay: those for other interfaces, or another side, than the role's",
    "ftp-port-among-others": "foreign rules accept port 20 or 21 among others: {rules}. Dead: nothing. May go: 20 and "
    "21 in them. Must stay: the rules with their other ports, such as that of SSH",
    "high-ports-by-state": "foreign rules accept what has high ports at both ends by its state: {rules}. Dead: "
    "RELATED in them, as long as no rule assigns the helper. May go: these rules, where only FTP uses such ports. "
    "Must stay: ESTABLISHED for what else does, such as SSH on port 2222",
    "passive-ports-open": "FTP's passive ports are open to all at any time: {rules}. Dead: nothing. May go: these "
    "ports, as the role opens one for each announced connection and, for FTPS, all to those who hold a control "
    "connection. Must stay: ports on which something other than FTP listens",
    "established-stays": "foreign rules accept what belongs to a known connection: {rules}. Dead: nothing. May go: "
    "nothing. Must stay: all of it, as SSH's own packets pass by ESTABLISHED, and ICMP errors by RELATED",
    "state-match": "foreign rules ask for a state by -m state: {rules}. Dead: only the word, which iptables still "
    "takes; today's is -m conntrack --ctstate. May go: nothing for FTP. Must stay: what these rules accept",
    "firewalld-ftp-service": "{of} of firewalld has the service ftp. Dead: nothing. May go: the service; until then "
    "it lets in control connections that ftp_allowed_addresses does not. Must stay: it, where it is for other "
    "interfaces than the role's",
}

MESSAGES = {**CONFLICTS, **WARNINGS, **LEFTOVERS}


class Finding(str):
    """A conflict, a warning or a leftover, in words; O(id) and O(facts) are what the words are made of."""

    __slots__ = ("facts", "id")

    def __new__(cls, name: str, **facts: object) -> Finding:  # noqa: PYI034 Self wants Python 3.11 on the host
        """Return what is found, in words."""
        return super().__new__(cls, MESSAGES[name].format(**facts))

    def __init__(self, name: str, **facts: object) -> None:
        """Note of what the words are made.

        :arg name: the id
        :arg facts: what the words name
        """
        self.id = name
        self.facts = facts

    def report(self) -> dict[str, Any]:
        """Return it in JSON's terms."""
        return {"id": self.id, "facts": self.facts, "message": str(self)}
