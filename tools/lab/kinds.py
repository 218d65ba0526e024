"""Who filters on a test host: iptables, native nftables rules or firewalld, each with a firewall that says the same.

It drops in every direction, but for the neighbours of IPv6 and ssh; it translates addresses where it is asked to.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from itertools import product
from typing import Any

from lab.hosts import FOREIGN, PROGRAMS, Host

# Where a gateway passes the clients' connections on to: the server's port 21.
FAR = {4: "203.0.113.2", 6: "2001:db8:1::2"}


def quoted(text: str, path: str) -> str:
    """Return the command that writes a file."""
    return f"printf %s {shlex.quote(text)} > {path}"


def listed(shell: Any) -> str:
    """Return all rules of nftables, without what they have counted."""
    return re.sub(r"packets \d+ bytes \d+", "", shell.check_output("nft list ruleset"))


@dataclass(frozen=True)
class Firewall:
    """What a firewall does besides.

    - states: those of connections that it accepts first, as V(RELATED,ESTABLISHED); firewalld always accepts these
    - nat: V(masquerade) of what goes out, V(DNAT) of port 2121, or nothing
    """

    states: str = ""
    nat: str = ""


IPTABLES_NAT = {
    "masquerade": ("-A POSTROUTING -o eth1 -j MASQUERADE",) * 2,
    "DNAT": (
        f"-A PREROUTING -i eth0 -p tcp --dport 2121 -j DNAT --to-destination {FAR[4]}:21",
        f"-A PREROUTING -i eth0 -p tcp --dport 2121 -j DNAT --to-destination [{FAR[6]}]:21",
    ),
}


def iptables(host: Host, firewall: Firewall) -> None:
    """Load rules of iptables."""
    host.load(FOREIGN)
    if firewall.states:
        for program, chain in product(PROGRAMS, ("INPUT", "OUTPUT", "FORWARD")):
            host.shell.check_output(f"{program} -I {chain} -m conntrack --ctstate {firewall.states} -j ACCEPT")
    for program, rule in zip(PROGRAMS, IPTABLES_NAT.get(firewall.nat, ())):
        host.shell.check_output(f"{program} -t nat {rule}")


NFTABLES = """
flush ruleset
table inet site {{
  chain neighbours {{
    icmpv6 type {{ 133, 134, 135, 136 }} accept
  }}
  chain input {{
    type filter hook input priority filter; policy drop;
    {accepted}
    iif lo accept
    meta l4proto ipv6-icmp jump neighbours
    tcp dport 22 ct state new,established accept
  }}
  chain forward {{
    type filter hook forward priority filter; policy drop;
    {accepted}
  }}
  chain output {{
    type filter hook output priority filter; policy drop;
    {accepted}
    oif lo accept
    meta l4proto ipv6-icmp jump neighbours
    tcp sport 22 ct state established accept
  }}
}}
{nat}
"""
NFTABLES_NAT = {
    "": "",
    "masquerade": """
table inet translation {
  chain out {
    type nat hook postrouting priority srcnat;
    oifname eth1 masquerade
  }
}
""",
    "DNAT": f"""
table inet translation {{
  chain in {{
    type nat hook prerouting priority dstnat;
    iifname eth0 meta nfproto ipv4 tcp dport 2121 dnat ip to {FAR[4]}:21
    iifname eth0 meta nfproto ipv6 tcp dport 2121 dnat ip6 to [{FAR[6]}]:21
  }}
}}
""",
}


def nftables(host: Host, firewall: Firewall) -> None:
    """Load native rules of nftables, as from /etc/nftables.conf."""
    accepted = f"ct state {firewall.states.lower()} accept" if firewall.states else ""
    rules = NFTABLES.format(accepted=accepted, nat=NFTABLES_NAT[firewall.nat])
    host.shell.check_output(f"{quoted(rules, '/etc/nftables.conf')} && nft --file /etc/nftables.conf")


# What the host itself opens is dropped, too.
EGRESS = """\
<?xml version="1.0" encoding="utf-8"?>
<policy target="DROP">
  <ingress-zone name="HOST"/>
  <egress-zone name="ANY"/>
  <rule family="ipv6"><icmp-type name="neighbour-solicitation"/><accept/></rule>
  <rule family="ipv6"><icmp-type name="neighbour-advertisement"/><accept/></rule>
</policy>
"""
ZONE = """\
<?xml version="1.0" encoding="utf-8"?>
<zone target="DROP">
  <interface name="{interface}"/>
  <service name="ssh"/>
{nat}</zone>
"""
FIREWALLD_NAT = {
    "masquerade": {"internal": '  <masquerade/>\n  <rule family="ipv6"><masquerade/></rule>\n'},
    "DNAT": {
        "public": f'  <forward-port port="2121" protocol="tcp" to-port="21" to-addr="{FAR[4]}"/>\n'
        f'  <rule family="ipv6"><forward-port port="2121" protocol="tcp" to-port="21" to-addr="{FAR[6]}"/></rule>\n'
    },
}
START = """
mkdir -p /run/dbus
pgrep -x dbus-daemon || dbus-daemon --system --fork
firewalld
until firewall-cmd --state; do sleep 0.1; done
"""
STOP = """
set -e
test -e /run/firewalld.pid || exit 0
firewalld=$(cat /run/firewalld.pid)
kill $firewalld
while test -e /proc/$firewalld; do sleep 0.1; done
rm -f /run/firewalld.pid /etc/firewalld/policies/*.xml /etc/firewalld/zones/*.xml
"""


def firewalld(host: Host, firewall: Firewall) -> None:
    """Start firewalld, with a zone for each interface."""
    nat = FIREWALLD_NAT.get(firewall.nat, {})
    files = {"policies/egress.xml": EGRESS}
    for interface, zone in (("eth0", "public"), ("eth1", "internal")):
        if host.shell.file(f"/sys/class/net/{interface}").exists:
            files[f"zones/{zone}.xml"] = ZONE.format(interface=interface, nat=nat.get(zone, ""))
    commands = ["mkdir -p /etc/firewalld/policies /etc/firewalld/zones"]
    commands += [quoted(text, f"/etc/firewalld/{path}") for path, text in files.items()]
    host.shell.check_output("\n".join(["set -e", *commands, START]))


KINDS = {"iptables": iptables, "nftables": nftables, "firewalld": firewalld}


def clear(host: Host) -> None:
    """Have no firewall, whoever filtered."""
    host.shell.check_output(STOP)
    host.open()
    host.shell.check_output("nft flush ruleset")


def state(host: Host) -> str:
    """Return all rules and sets, but for what they have counted, and firewalld's files."""
    run = host.shell.check_output
    files = run("find /etc/firewalld /etc/nftables.conf -type f -exec sha256sum {} + | sort -k 2")
    return "\n".join([host.rules(), listed(host.shell), run("ipset list -name"), files])
