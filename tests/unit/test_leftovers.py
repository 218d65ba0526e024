"""What hand-written recipes for FTP have left, from files as they are and from what iptables-save and nft print."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.hostfw.conntrack.plugins.module_utils._diagnosis._findings import LEFTOVERS
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables import _ruleset
from ansible_collections.hostfw.conntrack.plugins.module_utils._nftables import _ruleset as _nftables
from ansible_collections.hostfw.conntrack.plugins.module_utils._plan import _leftovers
from ansible_collections.hostfw.conntrack.plugins.module_utils._plan._leftovers import Seen

UFW = """\
# /etc/default/ufw
IPV6=yes
MANAGE_BUILTINS=no
# only enable if using iptables backend
IPT_SYSCTL=/etc/ufw/sysctl.conf

# nf_conntrack_ftp, nf_nat_ftp: active FTP support
IPT_MODULES="nf_conntrack_ftp nf_nat_ftp nf_conntrack_netbios_ns"
"""
RED_HAT = """\
# Load additional iptables modules (nat helpers)
#   Default: -none-
# Space separated list of nat helpers (e.g. 'ip_nat_ftp ip_nat_irc'), which
# are loaded after the firewall rules are applied. Options for the helpers are
# stored in /etc/modprobe.conf.
IPTABLES_MODULES="ip_conntrack_netbios_ns nf_conntrack_ftp"

# Unload modules on restart and stop
IPTABLES_MODULES_UNLOAD="yes"
"""
# As firewall-offline-cmd wrote it.
ZONE = """\
<?xml version="1.0" encoding="utf-8"?>
<zone>
  <short>Public</short>
  <description>For use in public areas.</description>
  <service name="ssh"/>
  <service name="ftp"/>
  <port port="40000-50000" protocol="tcp"/>
  <rule family="ipv4">
    <source address="192.0.2.0/24"/>
    <port port="30000-40000" protocol="tcp"/>
    <accept/>
  </rule>
  <forward/>
</zone>
"""
# The path, what stands there, the id, and what is told of it.
FILES = [
    ("etc/modules", "# loaded at boot\nloop\nip_conntrack_ftp\n", "module-loaded-by-hand", "ip_conntrack_ftp"),
    ("etc/modules", "ip_nat_ftp ports=21,2121\n", "module-loaded-by-hand", "ip_nat_ftp ports=21,2121"),
    (
        "etc/modules-load.d/ftp.conf",
        "nf-conntrack-ftp\nnf_nat_ftp",
        "module-loaded-by-hand",
        "nf-conntrack-ftp; nf_nat_ftp",
    ),
    (
        "etc/default/ufw",
        UFW,
        "module-loaded-by-hand",
        'IPT_MODULES="nf_conntrack_ftp nf_nat_ftp nf_conntrack_netbios_ns"',
    ),
    (
        "etc/sysconfig/iptables-config",
        RED_HAT,
        "module-loaded-by-hand",
        'IPTABLES_MODULES="ip_conntrack_netbios_ns nf_conntrack_ftp"',
    ),
    (
        "etc/sysconfig/ip6tables-config",
        'IP6TABLES_MODULES="nf_conntrack_ftp"\n',
        "module-loaded-by-hand",
        'IP6TABLES_MODULES="nf_conntrack_ftp"',
    ),
    (
        "etc/modprobe.d/ftp.conf",
        "softdep vsftpd pre: ip_conntrack_ftp\n",
        "module-loaded-by-hand",
        "softdep vsftpd pre: ip_conntrack_ftp",
    ),
    (
        "etc/modprobe.d/ip_conntrack_ftp.conf",
        "options nf_conntrack_ftp ports=2211\noptions ip_conntrack_ftp ports=2211\n",
        "helper-ports",
        "options nf_conntrack_ftp ports=2211; options ip_conntrack_ftp ports=2211",
    ),
    (
        "etc/modprobe.d/helper.conf",
        "options nf_conntrack hashsize=65536 nf_conntrack_helper=1\n",
        "helper-automatic-gone",
        "options nf_conntrack hashsize=65536 nf_conntrack_helper=1",
    ),
    (
        "etc/sysctl.conf",
        "net.ipv4.ip_forward=1\nnet.netfilter.nf_conntrack_helper = 1\n",
        "helper-automatic-gone",
        "net.netfilter.nf_conntrack_helper = 1",
    ),
    (
        "etc/sysctl.d/70-conntrack.conf",
        "-net.netfilter.nf_conntrack_helper=1",
        "helper-automatic-gone",
        "-net.netfilter.nf_conntrack_helper=1",
    ),
    (
        "etc/ufw/sysctl.conf",
        "net/netfilter/nf_conntrack_helper=1\n",
        "helper-automatic-gone",
        "net/netfilter/nf_conntrack_helper=1",
    ),
]
NOTHING = [
    ("etc/modules", "# ip_conntrack_ftp\nnf_conntrack_tftp\n"),
    ("etc/modules-load.d/hostfw-conntrack-FTP.conf", "nf_conntrack_ftp\n"),
    ("etc/modules-load.d/ftp.conf.bak", "nf_conntrack_ftp\n"),
    ("etc/default/ufw", UFW.replace('"nf_conntrack_ftp nf_nat_ftp nf_conntrack_netbios_ns"', '""')),
    ("etc/sysconfig/iptables-config", RED_HAT.replace(" nf_conntrack_ftp", "")),
    ("etc/modprobe.d/loose.conf", "options nf_conntrack_ftp loose=1\nblacklist nf_conntrack_ftp\n"),
    ("etc/sysctl.conf", "#net.netfilter.nf_conntrack_helper=1\nnet.netfilter.nf_conntrack_helper=0\n"),
    ("etc/firewalld/zones/public.xml", ZONE),
]
# What iptables-save 1.8.7, 1.8.9 and 1.8.11 print of rules: of what kind each is.
RULES = [
    # the seed's, directions corrected
    ("-A INPUT -i eth0 -p tcp -m tcp --dport 21 -m state --state NEW,ESTABLISHED -j ACCEPT", "ftp-accepted-by-hand"),
    ("-A OUTPUT -o eth0 -p tcp -m tcp --sport 21 -m state --state ESTABLISHED -j ACCEPT", "ftp-accepted-by-hand"),
    ("-A INPUT -i eth0 -p tcp -m tcp --dport 20 -m state --state ESTABLISHED -j ACCEPT", "ftp-accepted-by-hand"),
    ("-A OUTPUT -p tcp -m tcp --sport 20 -m state --state RELATED,ESTABLISHED -j ACCEPT", "ftp-accepted-by-hand"),
    (
        "-A INPUT -p tcp -m tcp --sport 1024:65535 --dport 1024:65535 -m state --state RELATED,ESTABLISHED -j ACCEPT",
        "high-ports-by-state",
    ),
    ("-A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT", "established-stays"),
    # of others
    ("-A INPUT -p tcp -m tcp --dport 21 -j ACCEPT", "ftp-accepted-by-hand"),
    ("-A ufw-user-input -p tcp -m tcp --dport 20:21 -j ACCEPT", "ftp-accepted-by-hand"),
    ("-A INPUT -p tcp -m multiport --dports 20,21 -m state --state NEW -j ACCEPT", "ftp-accepted-by-hand"),
    ("-A INPUT -s 192.0.2.0/24 -p tcp -m tcp --sport 1024:65535 --dport 21 -j ACCEPT", "ftp-accepted-by-hand"),
    ("-A INPUT -p tcp -m multiport --dports 21,22,80 -j ACCEPT", "ftp-port-among-others"),
    ("-A INPUT -s 192.0.2.0/24 -p tcp -m multiport --dports 21,40000:50000 -j ACCEPT", "ftp-accepted-by-hand"),
    ("-A INPUT -p tcp -m multiport --dports 21,40000:50000 -j ACCEPT", "passive-ports-open"),
    ("-A INPUT -p tcp -m tcp --dport 40000:50000 -j ACCEPT", "passive-ports-open"),
    ("-A INPUT -p tcp -m conntrack --ctstate NEW -m tcp --dport 40000:50000 -j ACCEPT", "passive-ports-open"),
    ("-A INPUT -p tcp -m tcp --sport 20 --dport 1024:65535 -j ACCEPT", "passive-ports-open"),
    ("-A OUTPUT -p tcp -m tcp --sport 40000:50000 -m conntrack --ctstate ESTABLISHED -j ACCEPT", "high-ports-by-state"),
    ("-A INPUT -i eth0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", "established-stays"),
    ("-A INPUT -s 192.0.2.0/24 -m conntrack --ctstate ESTABLISHED -j ACCEPT", "established-stays"),
    # nothing of FTP's
    ("-A OUTPUT -m conntrack --ctstate NEW -j ACCEPT", None),
    ("-A INPUT -s 192.0.2.0/24 -p tcp -m tcp --dport 40000:50000 -j ACCEPT", None),
    ("-A INPUT -p tcp -m set --match-set office src -m tcp --dport 40000:50000 -j ACCEPT", None),
    ("-A OUTPUT -p tcp -m tcp --dport 1024:65535 -j ACCEPT", None),
    ("-A INPUT -p tcp -m tcp --dport 6000:6063 -j ACCEPT", None),
    ("-A INPUT -p udp -m udp --dport 40000:50000 -j ACCEPT", None),
    ("-A INPUT -p udp -m udp --dport 21 -j ACCEPT", None),
    ("-A INPUT -p tcp -m tcp --dport 21 -j DROP", None),
    ('-A INPUT -p tcp -m tcp --dport 21 -m comment --comment "not -j ACCEPT" -j DROP', None),
    ("-A INPUT -p tcp -m tcp ! --dport 21 -j ACCEPT", None),
    ("-A OUTPUT -p tcp -m tcp --sport 22 --dport 1024:65535 -m state --state ESTABLISHED -j ACCEPT", None),
    ("-A INPUT -p tcp -m tcp --sport 1024:65535 --dport 22 -m state --state ESTABLISHED -j ACCEPT", None),
    ("-A INPUT -p icmp -j ACCEPT", None),
    ("-A INPUT -j ACCEPT", None),
    ("-A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 21 -j ACCEPT", None),
    ('-A FTP-IN -p tcp -m tcp --dport 21 -m comment --comment "hostfw.conntrack: x" -j ACCEPT', None),
]
HELPERS = [
    ("-A PREROUTING -p tcp -m tcp --dport 21 -j CT --helper ftp", True),
    ('-A PREROUTING -p tcp -m tcp --dport 21 -m comment --comment "the \\"site\\"" -j CT --helper ftp', True),
    ("-A OUTPUT -p tcp -m tcp --dport 2121 -j CT --helper ftp-2121 --zone 1", True),
    ("-A PREROUTING -p tcp -m tcp --dport 21 -j ACCEPT", False),
    ("-A OUTPUT -p tcp -m tcp --dport 6667 -j CT --helper irc", False),
    ('-A OUTPUT -p tcp -m comment --comment "not -j CT --helper ftp" -j CT --notrack', False),
    ('-A FTP-HELPER -p tcp -m comment --comment "hostfw.conntrack: x" -j CT --helper ftp', False),
]
# As nft 1.0.6 printed it.
NATIVE = """{"nftables": [
{"metainfo": {"version": "1.0.6", "release_name": "Lester Gooch #5", "json_schema_version": 1}},
{"table": {"family": "inet", "name": "NAME", "handle": 1}},
{"ct helper": {"family": "inet", "name": "ftp-standard", "table": "NAME", "handle": 2, "type": "ftp", "protocol": "tcp",
  "l3proto": "inet"}},
{"chain": {"family": "inet", "table": "NAME", "name": "helped", "handle": 1, "type": "filter", "hook": "prerouting",
  "prio": -300, "policy": "accept"}},
{"rule": {"family": "inet", "table": "NAME", "chain": "helped", "handle": 3, "expr": [
  {"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 21}},
  {"ct helper": "ftp-standard"}]}}
]}"""


def saved(*lines: str, table: str = "filter") -> dict[str, _ruleset.Ruleset]:
    """Return rules as they are read."""
    return {"ipv4": _ruleset.parse("\n".join([f"*{table}", *lines, "COMMIT", ""]), ("raw", "filter"))}


def ids(seen: Seen) -> list[str]:
    """Return what is told, by its ids."""
    return [finding.id for finding in _leftovers.leftovers(seen)]


def write(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True)
    (root / path).write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("path", "text", "name", "lines"), FILES, ids=[f"{path} {lines}" for path, _t, _n, lines in FILES]
)
def test_files(tmp_path: Path, path: str, text: str, name: str, lines: str) -> None:
    write(tmp_path, path, text)
    (found,) = _leftovers.leftovers(Seen(_leftovers.read(str(tmp_path))))
    assert (found.id, found.facts) == (name, {"path": f"/{path}", "lines": lines})


@pytest.mark.parametrize(("path", "text"), NOTHING, ids=[path for path, _text in NOTHING])
def test_files_without_a_recipe(tmp_path: Path, path: str, text: str) -> None:
    write(tmp_path, path, text)
    assert _leftovers.leftovers(Seen(_leftovers.read(str(tmp_path)))) == []


def test_setting_that_the_kernel_still_has() -> None:
    files = {"etc/sysctl.conf": "net.netfilter.nf_conntrack_helper=1"}
    assert ids(Seen(files, automatic=True)) == ["helper-automatic"]


def test_firewalld_where_it_runs() -> None:
    files = {"etc/firewalld/zones/public.xml": ZONE}
    service, ports = _leftovers.leftovers(Seen(files, firewalld=True))
    assert (service.id, service.facts) == ("firewalld-ftp-service", {"of": "the zone public"})
    assert (ports.id, ports.facts) == ("passive-ports-open", {"rules": "40000-50000 in the zone public of firewalld"})
    of_sources = ZONE.replace("  <service", '  <source address="192.0.2.0/24"/>\n  <service')
    assert ids(Seen({"etc/firewalld/zones/public.xml": of_sources}, firewalld=True)) == ["firewalld-ftp-service"]


@pytest.mark.parametrize(("line", "kind"), RULES, ids=[line for line, _kind in RULES])
def test_rules(line: str, kind: str | None) -> None:
    told = ids(Seen(rules=saved(line)))
    with_port_21 = ids(Seen(rules=saved(line, "-A INPUT -p tcp -m tcp --dport 21 -j ACCEPT")))
    word = ["state-match"] if "-m state" in line and kind in (None, "established-stays") else []
    if kind == "established-stays":
        assert (told, with_port_21) == (word, ["ftp-accepted-by-hand", kind, *word])
    else:
        assert told == ([kind] if kind else []) + word
        assert set(with_port_21) == {*told, "ftp-accepted-by-hand"}


def test_what_must_stay_is_told_only_where_something_may_go() -> None:
    stays = "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
    assert ids(Seen(rules=saved(stays))) == []
    assert ids(Seen(rules=saved(stays, "-A INPUT -p tcp -m tcp --dport 21 -j ACCEPT"))) == [
        "ftp-accepted-by-hand",
        "established-stays",
    ]


@pytest.mark.parametrize(
    ("ports", "passive_ports", "told"),
    [
        ("10100:10110", "10100:10110", True),
        ("10000:10200", "10100:10110", True),
        ("10100:10105", "10100:10110", False),
        ("10100:10110", "1024:65535", False),
        ("10100:11099", "1024:65535", True),
        ("50000", "50000", True),
        ("1000:65535", "1024:65535", False),
    ],
)
def test_passive_ports_are_all_those_of_the_role_or_very_many(ports: str, passive_ports: str, told: bool) -> None:
    rules = saved(f"-A INPUT -p tcp -m tcp --dport {ports} -j ACCEPT")
    assert ids(Seen(rules=rules, passive_ports=passive_ports)) == ["passive-ports-open"] * told


@pytest.mark.parametrize(("line", "told"), HELPERS, ids=[line for line, _told in HELPERS])
def test_rules_that_assign_the_helper(line: str, told: bool) -> None:
    found = _leftovers.leftovers(Seen(rules=saved(line, table="raw")))
    assert [(each.id, each.facts["rules"]) for each in found] == [
        ("helper-assigned-by-hand", f"iptables -t raw {line}")
    ] * told


@pytest.mark.parametrize(("name", "told"), [("site", 1), ("firewalld", 0), ("hostfw-FTP", 0)])
def test_rules_of_nftables_that_assign_the_helper(name: str, told: int) -> None:
    found = _leftovers.leftovers(Seen(tables=_nftables.parse(NATIVE.replace("NAME", name))))
    assert [(each.id, each.facts["rules"]) for each in found] == [
        ("helper-assigned-by-hand", f'nft inet {name} helped tcp dport 21 ct helper set "ftp-standard"')
    ] * told


def test_rules_of_firewalld_are_its_own() -> None:
    lines = (":INPUT_ZONES - [0:0]", "-A IN_public_allow -p tcp -m tcp --dport 21 -j ACCEPT")
    assert ids(Seen(rules=saved(*lines))) == []


def test_many_rules_are_counted() -> None:
    lines = [f"-A INPUT -s 192.0.2.{number}/32 -p tcp -m tcp --dport 21 -j ACCEPT" for number in range(11)]
    (found,) = _leftovers.leftovers(Seen(rules=saved(*lines)))
    assert str(found.facts["rules"]).endswith("192.0.2.7/32 -p tcp -m tcp --dport 21 -j ACCEPT; and 3 more")


def test_each_says_what_is_dead_what_may_go_and_what_must_stay() -> None:
    for words in LEFTOVERS.values():
        assert words.index(". Dead: ") < words.index(". May go: ") < words.index(". Must stay: ")
