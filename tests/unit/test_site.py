"""Where our jumps go in a firewall that was there first, and which of its rules are warned of."""

from __future__ import annotations

import time
from typing import Any

import pytest
from ansible_collections.hostfw.conntrack.plugins.module_utils._diagnosis._findings import Finding
from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp import _desired, _options
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables import _ruleset
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables._foreign import Near, sets_with
from ansible_collections.hostfw.conntrack.plugins.module_utils._plan import _plan, _site
from ansible_collections.hostfw.conntrack.tests.unit.test_options import DEFAULTS

# ufw 0.36.2 with `ufw default reject incoming`, abridged.
UFW = """
-A INPUT -j ufw-before-input
-A INPUT -j ufw-after-input
-A INPUT -j ufw-reject-input
-A ufw-before-input -i lo -j ACCEPT
-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-input -m conntrack --ctstate INVALID -j DROP
-A ufw-before-input -j ufw-not-local
-A ufw-not-local -m addrtype --dst-type LOCAL -j RETURN
-A ufw-not-local -m limit --limit 3/min --limit-burst 10 -j LOG --log-prefix "[UFW BLOCK] "
-A ufw-not-local -j DROP
-A ufw-after-input -p udp -m udp --dport 137 -j ufw-skip-to-policy-input
-A ufw-reject-input -j REJECT --reject-with icmp-port-unreachable
"""


CHAINS = (
    "-A ENDS-IN-DROP -p tcp -m tcp --dport 22 -j ACCEPT",
    "-A ENDS-IN-DROP -j LOG",
    "-A ENDS-IN-DROP -j DROP",
    "-A CALLS-IT -j ENDS-IN-DROP",
    "-A RETURNS-SOME -s 192.0.2.0/24 -j RETURN",
    "-A RETURNS-SOME -j DROP",
    "-A RETURNS-OTHERS -p udp -m udp --dport 5353 -j RETURN",
    "-A RETURNS-OTHERS ! -p tcp -j RETURN",
    "-A RETURNS-OTHERS -i lo -j RETURN",
    "-A RETURNS-OTHERS -m conntrack --ctstate INVALID -j RETURN",
    "-A RETURNS-OTHERS -j DROP",
    "-A RETURNS-FEW -m limit --limit 50/sec --limit-burst 100 -j RETURN",
    "-A RETURNS-FEW -j DROP",
    "-A RETURNS-FTP -p tcp -m multiport --dports 20,21,50000:50999 -j RETURN",
    "-A RETURNS-FTP -j DROP",
    "-A BANS -s 192.0.2.66/32 -j REJECT --reject-with icmp-port-unreachable",
    "-A BANS -m set --match-set banned src -j DROP",
    "-A BANS -j RETURN",
    "-A LOOPS -j LOOPS",
)
# What becomes of a rule of table filter on a server with ftp_mode both and ftp_passive_ports 50000:50999: the jump goes
# before it, it is warned of, or neither.
BEFORE, WARNED, BEHIND = "before", "warned", "behind"
INPUT = [
    ("-j DROP", BEFORE),
    ("-j REJECT --reject-with icmp-port-unreachable", BEFORE),
    ("-i eth0 -j DROP", BEFORE),
    ("-i eth+ -j DROP", BEFORE),
    ("! -i lo -j DROP", BEFORE),
    ("! -i eth1 -j DROP", BEFORE),
    ("-p tcp -j REJECT --reject-with tcp-reset", BEFORE),
    ("! -p udp -j DROP", BEFORE),
    ("-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j DROP", BEFORE),
    ("-p tcp -m tcp --tcp-flags SYN SYN -j DROP", BEFORE),
    ("-m conntrack --ctstate NEW -j DROP", BEFORE),
    ("-m conntrack --ctstate INVALID,NEW -j DROP", BEFORE),
    ("-m state --state NEW -j DROP", BEFORE),
    ("-m conntrack ! --ctstate RELATED,ESTABLISHED -j DROP", BEFORE),
    ('-m comment --comment "-j is no target here" -j DROP', BEFORE),
    ("-p tcp -j CHAOS --tarpit", BEFORE),
    ("-j DELUDE", BEFORE),
    ("-p tcp -m tcp ! --dport 22 -j DROP", BEFORE),
    ("-p tcp -m multiport ! --dports 22,80 -j DROP", BEFORE),
    ("-p tcp -m tcp --dport 1:65535 -j DROP", BEFORE),
    ("-p tcp -m tcp --dport 21 -j DROP", BEFORE),
    ("-p tcp -m tcp --sport 1024:65535 -j DROP", BEFORE),
    ("-m addrtype --dst-type LOCAL -j DROP", BEFORE),
    ("-m addrtype ! --dst-type BROADCAST -j DROP", BEFORE),
    ("-m pkttype --pkt-type unicast -j DROP", BEFORE),
    ("-m helper --helper ftp -j DROP", BEFORE),
    ("-j ENDS-IN-DROP", BEFORE),
    ("-i eth0 -j ENDS-IN-DROP", BEFORE),
    ("-g ENDS-IN-DROP", BEFORE),
    ("-j CALLS-IT", BEFORE),
    ("-j RETURNS-OTHERS", BEFORE),
    ("! -s 192.0.2.0/24 -j DROP", WARNED),
    ("-s 192.0.2.0/24 -j DROP", WARNED),
    ("-s 192.0.2.0/24 -j ENDS-IN-DROP", WARNED),
    ("-j RETURNS-SOME", WARNED),
    ("-m set ! --match-set allowed src -j DROP", WARNED),
    ("-m mark --mark 0x1 -j DROP", WARNED),
    ("-m socket -j DROP", WARNED),
    ("-m recent --update --seconds 60 --hitcount 4 --name DEFAULT --mask 255.255.255.255 --rsource -j DROP", WARNED),
    ("-m iprange --src-range 192.0.2.1-192.0.2.9 -j DROP", WARNED),
    ("-m limit --limit 5/min -j DROP", WARNED),
    ("-p tcp -m tcp --dport 50100:50200 -j DROP", WARNED),
    ("-p tcp -m tcp --dport 23 -j DROP", BEHIND),
    ("-p tcp -m tcp --sport 1:1023 -j DROP", BEHIND),
    ("-s 192.0.2.66/32 -j DROP", BEHIND),
    ("-m set --match-set banned src -j DROP", BEHIND),
    ("-j BANS", BEHIND),
    ("-i lo -j DROP", BEHIND),
    ("-i eth1 -j DROP", BEHIND),
    ("! -i eth0 -j DROP", BEHIND),
    ("! -i eth+ -j DROP", BEHIND),
    ("-i ens+ -j DROP", BEHIND),
    ("-p udp -j DROP", BEHIND),
    ("! -p tcp -j DROP", BEHIND),
    ("-p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -m conntrack --ctstate NEW -j DROP", BEHIND),
    ("-p tcp -m tcp --tcp-flags FIN,SYN,RST,PSH,ACK,URG NONE -j DROP", BEHIND),
    ("-m conntrack --ctstate INVALID -j DROP", BEHIND),
    ("-m addrtype --dst-type BROADCAST -j DROP", BEHIND),
    ("-m pkttype --pkt-type multicast -j DROP", BEHIND),
    ("-m rpfilter --invert -j DROP", BEHIND),
    ("-d 224.0.0.0/4 -j DROP", BEHIND),
    ("-s 127.0.0.0/8 -j DROP", BEHIND),
    ("-f -j DROP", BEHIND),
    ("-p tcp -m connlimit --connlimit-above 50 --connlimit-mask 32 --connlimit-saddr -j DROP", BEHIND),
    ("-m hashlimit --hashlimit-above 100/sec --hashlimit-mode srcip --hashlimit-name h -j DROP", WARNED),
    ("-m conntrack --ctstate NEW -m hashlimit --hashlimit-above 9/sec --hashlimit-name h -j DROP", BEHIND),
    ("-j RETURNS-FEW", BEHIND),
    ("-j RETURNS-FTP", BEHIND),
    ("-j ACCEPT", BEHIND),
    ("-j LOG", BEHIND),
    ("-j RETURN", BEHIND),
    ("", BEHIND),
    ("-j NOWHERE", BEHIND),
    ("-j LOOPS", BEHIND),
]


def options(**inputs: Any) -> _options.Options:
    """Return the options of a server."""
    return _options.parse({**DEFAULTS, "passive_ports": "50000:50999", **inputs}, ["lo", "eth0", "eth1"], ["eth0"])


def ruleset(*rules: str, table: str = "filter", policy: str = "ACCEPT") -> _ruleset.Ruleset:
    """Read rules as iptables-save prints them."""
    chains = dict.fromkeys(rule.split()[1] for rule in rules)
    heads = [f":{chain} {policy if chain in _site.HOOKS['mangle'] else '-'} [0:0]" for chain in chains]
    return _ruleset.parse("\n".join([f"*{table}", *heads, *rules, "COMMIT", ""]), list(_site.HOOKS))


def warned(current: _ruleset.Ruleset) -> list[Finding]:
    """Return the warnings of a host with some rules."""
    plan = _plan.plan(_desired.of(options()), {"ipv4": current}, {}, together=True)
    return plan.sites["ipv4"].warnings("iptables", plan.after["ipv4"])


def verdict(of: _options.Options, chain: str, rule: str) -> str:
    """Return what becomes of a rule of table filter."""
    current = ruleset(f"-A {chain} {rule}".strip(), *CHAINS)
    plan = _plan.plan(_desired.of(of), {"ipv4": current}, {}, together=True)
    assert plan.conflicts == []
    after = plan.after["ipv4"]
    if "hostfw.conntrack: " in after.chain("filter", chain)[0]:
        return BEFORE
    warnings = plan.sites["ipv4"].warnings("iptables", after)
    assert all(warning.startswith("iptables: a rule in table filter may drop FTP") for warning in warnings)
    return WARNED if warnings else BEHIND


@pytest.mark.parametrize(("rule", "expected"), INPUT, ids=[rule for rule, _expected in INPUT])
def test_what_becomes_of_a_rule(rule: str, expected: str) -> None:
    assert verdict(options(), "INPUT", rule) == expected


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        # The server opens no NEW connection, but its answers and active data connections go out.
        ("-m conntrack --ctstate NEW -j DROP", BEHIND),
        ("-m conntrack --ctstate INVALID,RELATED -j DROP", BEFORE),
        ("-o eth0 -j DROP", BEFORE),
        ("-o lo -j DROP", BEHIND),
        ("-p tcp -m tcp --sport 20 -j DROP", BEFORE),
        ("-p tcp -m multiport ! --dports 80,443 -j REJECT --reject-with icmp-port-unreachable", BEFORE),
        ("-m owner --uid-owner 1000 -j DROP", WARNED),
        ("-d 192.0.2.66/32 -j DROP", BEHIND),
    ],
)
def test_what_becomes_of_a_rule_for_what_goes_out(rule: str, expected: str) -> None:
    assert verdict(options(), "OUTPUT", rule) == expected


@pytest.mark.parametrize(
    ("inputs", "rule", "expected"),
    [
        ({"mode": "active"}, "-p tcp -m tcp --dport 50000:65535 -j DROP", BEHIND),
        ({"control_ports": ["2121"]}, "-p tcp -m tcp --dport 21 -j DROP", BEHIND),
        # A client's servers may open data connections from any port, but most do so from 20.
        ({"side": "client", "mode": "active"}, "-p tcp -m tcp --sport 20 -j DROP", BEFORE),
        ({"side": "client", "mode": "passive"}, "-p tcp -m tcp --sport 20 -j DROP", BEHIND),
        ({"allowed_addresses": ["192.0.2.0/25"]}, "! -s 192.0.2.0/24 -j DROP", BEHIND),
        ({"allowed_addresses": ["192.0.2.0/25"]}, "-s 198.51.100.0/24 -j DROP", BEHIND),
        ({"allowed_addresses": ["192.0.2.0/25"]}, "-s 192.0.2.0/24 -j DROP", BEFORE),
        ({"allowed_addresses": ["192.0.2.0/24"]}, "-s 192.0.2.0/25 -j DROP", WARNED),
        ({"allowed_addresses": ["192.0.2.0/24"]}, "-s 192.0.2.9/32 -j DROP", BEHIND),
        ({"interface": ["any"]}, "-i lo -j DROP", BEFORE),
        ({"position": "last"}, "-j DROP", WARNED),
        ({"position": "first"}, "-s 192.0.2.66/32 -j DROP", BEFORE),
    ],
)
def test_what_becomes_of_a_rule_depends_on_the_inputs(inputs: dict[str, Any], rule: str, expected: str) -> None:
    assert verdict(options(**inputs), "INPUT", rule) == expected


@pytest.mark.parametrize(
    ("rule", "policy", "before"),
    [
        ("-j RETURN", "DROP", True),
        ("-p tcp -m tcp --dport 21 -j RETURN", "DROP", True),
        ("-s 192.0.2.66/32 -j RETURN", "DROP", False),
        ("-g BANS", "DROP", True),
        ("-j BANS", "DROP", False),
        ("-j RETURN", "ACCEPT", False),
        ("-g BANS", "ACCEPT", False),
    ],
)
def test_what_leaves_a_built_in_chain_is_its_policys(rule: str, policy: str, before: bool) -> None:
    current = ruleset(f"-A INPUT {rule}", *CHAINS, policy=policy)
    after = _plan.plan(_desired.of(options()), {"ipv4": current}, {}, together=True).after["ipv4"]
    assert ("hostfw.conntrack: " in after.chain("filter", "INPUT")[0]) is before


def test_what_an_earlier_rule_accepts_is_not_warned_of() -> None:
    rules = (
        "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        "-A INPUT -p tcp -m tcp --dport 21 -j ACCEPT",
        "-A INPUT -p tcp -m mark --mark 0x1 -j DROP",
    )
    assert warned(ruleset(*rules)) == []


def test_ufw_stops_in_its_reject_chain_only() -> None:
    current = ruleset(*UFW.strip().splitlines())
    after = _plan.plan(_desired.of(options()), {"ipv4": current}, {}, together=True).after["ipv4"]
    assert [line.split()[-1] for line in after.chain("filter", "INPUT")] == [
        "ufw-before-input",
        "ufw-after-input",
        "FTP-IN",
        "ufw-reject-input",
    ]


@pytest.mark.parametrize("table", ["raw", "mangle"])
@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("-p tcp -m multiport ! --dports 22,80 -j DROP", True),
        ("-s 192.0.2.0/24 -j DROP", True),
        ("-s 192.0.2.66/32 -j DROP", False),
        ("-m rpfilter --invert -j DROP", False),
        ("-p tcp -m tcp --tcp-flags FIN,SYN FIN,SYN -j DROP", False),
        ("-p icmp -j DROP", False),
    ],
)
def test_a_drop_that_no_jump_can_undo_is_warned_of(table: str, rule: str, expected: bool) -> None:
    words = f"iptables: a rule in table {table} may drop FTP that the role accepts: -A PREROUTING {rule}; if so,"
    warnings = warned(ruleset(f"-A PREROUTING {rule}", table=table))
    assert warnings == ([f"{words} let it spare FTP"] if expected else [])


@pytest.mark.parametrize(
    ("table", "chain", "rules", "expected"),
    [
        ("mangle", "INPUT", [], True),
        ("mangle", "PREROUTING", ["-p tcp -m tcp --dport 22 -j ACCEPT"], True),
        ("mangle", "PREROUTING", ["-p tcp -j ACCEPT"], False),
        ("mangle", "FORWARD", [], False),
        ("raw", "OUTPUT", [], True),
        ("security", "INPUT", [], True),
    ],
)
def test_a_policy_that_drops_in_another_table_is_warned_of(
    table: str, chain: str, rules: list[str], expected: bool
) -> None:
    lines = [f"*{table}", f":{chain} DROP [0:0]", *(f"-A {chain} {rule}" for rule in rules), "COMMIT", ""]
    warnings = warned(_ruleset.parse("\n".join(lines), list(_site.HOOKS)))
    assert [finding.facts["rule"] for finding in warnings] == ([f"-P {chain} DROP"] if expected else [])


@pytest.mark.parametrize(
    ("chain", "rule", "expected"),
    [
        ("INPUT", "-p tcp -m tcp --dport 1024:65535 -j DROP", True),
        ("OUTPUT", "-p tcp -m tcp --sport 21 -j DROP", True),
        ("INPUT", "-p tcp -m tcp --dport 80 -j DROP", False),
        ("INPUT", "-p tcp -m tcp --dport 21 -j SECMARK --selctx system_u:object_r:ftpd_packet_t:s0", False),
        ("FORWARD", "-j DROP", False),
    ],
)
def test_a_drop_in_table_security_is_warned_of(chain: str, rule: str, expected: bool) -> None:
    warnings = warned(ruleset(f"-A {chain} {rule}", table="security"))
    assert [finding.facts["rule"] for finding in warnings] == ([f"-A {chain} {rule}"] if expected else [])


@pytest.mark.parametrize(
    ("table", "chain", "rule", "before"),
    [
        ("raw", "PREROUTING", "-j ACCEPT", True),
        ("raw", "PREROUTING", "-s 192.0.2.0/24 -j ACCEPT", True),
        ("raw", "PREROUTING", "-p udp -j ACCEPT", False),
        ("raw", "PREROUTING", "-p tcp -m tcp --dport 80 -j ACCEPT", False),
        ("raw", "PREROUTING", "-p udp -j CT --notrack", False),
        ("raw", "PREROUTING", "-p tcp -m tcp --dport 21 -j CT --helper ftp", False),
        ("mangle", "INPUT", "-p tcp -m multiport --dports 21,22 -j ACCEPT", True),
        ("mangle", "INPUT", "-m mark --mark 0x7 -j ACCEPT", True),
        ("mangle", "INPUT", "-m set --match-set friends src -j ACCEPT", True),
        ("mangle", "INPUT", "-p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu", False),
        ("mangle", "INPUT", "-p udp -j ACCEPT", False),
        ("mangle", "INPUT", "-p tcp -j RETURN", True),
    ],
)
def test_what_keeps_ftp_from_the_helper_and_the_guard_comes_behind(
    table: str, chain: str, rule: str, before: bool
) -> None:
    plan = _plan.plan(_desired.of(options()), {"ipv4": ruleset(f"-A {chain} {rule}", table=table)}, {}, together=True)
    lines = plan.after["ipv4"].chain(table, chain)
    assert plan.conflicts == []
    assert ("hostfw.conntrack: " in lines[0]) is before
    assert len(lines) > 1


@pytest.mark.parametrize(
    ("inputs", "chain"),
    [
        ({}, "INPUT"),
        ({}, "OUTPUT"),
        ({"interface": ["any"]}, "INPUT"),
        ({"side": "client"}, "INPUT"),
        ({"side": "gateway", "out_interface": ["eth1"]}, "FORWARD"),
        ({"side": "gateway", "out_interface": ["eth1"], "nat": True}, "FORWARD"),
        (
            {
                "side": "gateway",
                "out_interface": ["eth1"],
                "mode": "passive",
                "tls": True,
                "passive_ports": "50000:50009",
            },
            "FORWARD",
        ),
    ],
)
@pytest.mark.parametrize(
    "rule", ["-j ACCEPT", "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", "-i eth2 -j ACCEPT"]
)
def test_every_jump_to_the_guard_comes_before_what_accepts(inputs: dict[str, Any], chain: str, rule: str) -> None:
    current = ruleset(f"-A {chain} {rule}", table="mangle")
    plan = _plan.plan(_desired.of(options(**inputs)), {"ipv4": current}, {}, together=True)
    lines = [line for line in plan.after["ipv4"].chain("mangle", chain) if "-i eth0" not in line or "eth2" not in rule]
    assert len(lines) > 1
    assert lines[-1] == f"-A {chain} {rule}"


@pytest.mark.parametrize("chain", ["INPUT", "OUTPUT"])
@pytest.mark.parametrize("flags", ["RST RST", "FIN,ACK FIN,ACK", "FIN,RST RST"])
def test_guard_sees_each_end_of_a_control_connection(chain: str, flags: str) -> None:
    rule = f"-A {chain} -p tcp -m tcp --tcp-flags {flags} -j ACCEPT"
    current = ruleset(rule, table="mangle")
    plan = _plan.plan(_desired.of(options()), {"ipv4": current}, {}, together=True)
    assert plan.after["ipv4"].chain("mangle", chain)[-1] == rule


@pytest.mark.parametrize(
    ("rule", "before"),
    [
        ("-p tcp -m tcp --dport 5432 -j ACCEPT", True),
        ("-p tcp -m multiport ! --dports 21,22 -j ACCEPT", True),
        ("-p tcp -m tcp --sport 20 --dport 5432 -j RETURN", True),
        ("-i eth1 -j ACCEPT", True),
        ("-s 192.0.2.1/32 -j ACCEPT", True),
        ("-p tcp -m multiport --dports 50100:50200 -j NFQUEUE --queue-num 0", True),
        ("-p tcp -m conntrack --ctstate RELATED -j ACCEPT", True),
        ("-g OTHERS", True),
        ("-p tcp -m tcp --tcp-flags RST RST -j ACCEPT", True),
        ('-s 10.0.0.5/32 -m comment --comment "was -j DROP until May" -j ACCEPT', True),
        ('-m comment --comment "see hostfw.conntrack: guard" -j ACCEPT', True),
        ("-p tcp -m conntrack --ctstate ESTABLISHED -m tcp --dport 5432 -j ACCEPT", True),
        ("-p udp -m udp --dport 5432 -j ACCEPT", False),
        ("-m conntrack --ctstate NEW -m tcp -p tcp --dport 5432 -j ACCEPT", False),
        ("-s 127.0.0.0/8 -j ACCEPT", False),
        ("-p tcp -m tcp --dport 5432 -j DROP", False),
        ("-p tcp -m tcp --dport 5432 -j MARK --set-xmark 0x1/0xffffffff", False),
    ],
)
def test_what_may_accept_any_data_connection_comes_behind_the_guard(rule: str, before: bool) -> None:
    current = ruleset("-A OTHERS -p tcp -m tcp --dport 5432 -j ACCEPT", f"-A INPUT {rule}", table="mangle")
    plan = _plan.plan(_desired.of(options()), {"ipv4": current}, {}, together=True)
    lines = plan.after["ipv4"].chain("mangle", "INPUT")
    (guard,) = (index for index, line in enumerate(lines) if line.endswith("-j HOSTFW-INPUT"))
    assert (guard < lines.index(f"-A INPUT {rule}")) is before
    assert warned(current) == []


NAT = {"side": "gateway", "out_interface": ["eth1"], "nat": True}


@pytest.mark.parametrize("inputs", [NAT, {**NAT, "server_addresses": ["10.1.0.5"]}], ids=str)
@pytest.mark.parametrize(
    ("table", "rule", "expected"),
    [
        ("mangle", "-i eth0 -m addrtype --dst-type LOCAL -m conntrack --ctstate NEW -j DROP", "rule-before-jump"),
        ("mangle", "-i eth0 -d 203.0.113.1/32 -p tcp -j DROP", "rule-before-jump"),
        ("mangle", "-i eth0 -d 203.0.113.0/24 -p tcp -m tcp ! --dport 22 -j DROP", "rule-before-jump"),
        ("mangle", "-i eth0 -d 203.0.113.1/32 -p tcp -m tcp --dport 22 -j DROP", ""),
        ("mangle", "-i eth0 -d 127.0.0.0/8 -j DROP", ""),
        ("raw", "-i eth0 -d 203.0.113.1/32 -p tcp -m tcp --dport 21 -j CT --notrack", "rule-before-helper"),
        ("raw", "-i eth0 -m addrtype --dst-type LOCAL -j ACCEPT", "before"),
        ("raw", "-d 203.0.113.1/32 -j ACCEPT", "before"),
    ],
)
def test_before_routing_nat_publishes_another_address(
    inputs: dict[str, Any], table: str, rule: str, expected: str
) -> None:
    current = ruleset(f"-A PREROUTING {rule}", table=table)
    plan = _plan.plan(_desired.of(options(**inputs)), {"ipv4": current}, {}, together=True)
    named = [finding.id for finding in plan.sites["ipv4"].warnings("iptables", plan.after["ipv4"])]
    assert named == ([] if expected in ("", "before") else [expected])
    lines = plan.after["ipv4"].chain(table, "PREROUTING")
    assert lines[-1] == f"-A PREROUTING {rule}" or expected != "before"


def test_network_that_the_host_is_not_on_publishes_nothing() -> None:
    rule = "-A PREROUTING -i eth0 -d 198.51.100.0/24 -j DROP"
    current = ruleset(rule, table="mangle")
    for networks, expected in ((("203.0.113.0/24",), 0), (("198.51.100.0/25",), 1)):
        near = Near(networks)
        plan = _plan.plan(_desired.of(options(**NAT)), {"ipv4": current}, {}, together=True, near=near)
        assert len(plan.sites["ipv4"].warnings("iptables", plan.after["ipv4"])) == expected


@pytest.mark.parametrize(
    ("chain", "rule", "words"),
    [
        ("PREROUTING", "-i eth0 -j CT --zone 5", "conflict"),
        ("PREROUTING", "-p tcp -m tcp --dport 21 --tcp-flags FIN,SYN,RST,ACK SYN -j CT --notrack", "conflict"),
        ("PREROUTING", "-j NOTRACK", "conflict"),
        ("OUTPUT", "-p tcp -m tcp --sport 21 -j CT --notrack", "conflict"),
        ("PREROUTING", "-p tcp -m tcp --dport 50000:50999 -j CT --notrack", "conflict"),
        ("PREROUTING", "-s 192.0.2.0/24 -j CT --notrack", "warning"),
        ("OUTPUT", "-o lo -j CT --notrack", ""),
        ("PREROUTING", "-p tcp -m tcp --dport 21 -j CT --zone 5 --helper ftp", ""),
        ("PREROUTING", "-p tcp -m tcp --dport 80 -j CT --notrack", ""),
        ("PREROUTING", "-i eth1 -j CT --zone 5", ""),
        ("OUTPUT", "-p tcp -m tcp --sport 50000:50999 -j CT --zone 5", "conflict"),
        ("OUTPUT", "-p tcp -m tcp --sport 50000:50999 -j CT --timeout long", ""),
    ],
)
def test_what_takes_ftp_from_the_helper_is_told(chain: str, rule: str, words: str) -> None:
    line = f"-A {chain} {rule}"
    plan = _plan.plan(_desired.of(options()), {"ipv4": ruleset(line, table="raw")}, {}, together=True)
    warnings = plan.sites["ipv4"].warnings("iptables", plan.after["ipv4"]) if not plan.conflicts else []
    keeps = f"a rule in table raw (ipv4) keeps FTP from the helper, without which no file passes: {line}; let it spare"
    may = (
        f"iptables: a rule in table raw may keep FTP from the helper, so that no file passes: {line}; let it spare FTP"
    )
    assert [conflict.startswith(keeps) for conflict in plan.conflicts] == [True] * (words == "conflict")
    assert [warning.startswith(may) for warning in warnings] == [True] * (words == "warning")


def test_many_rules_are_named_in_part() -> None:
    rules = [f"-A INPUT -s 10.{number}.0.0/16 -j DROP" for number in range(12)]
    warnings = warned(ruleset(*rules))
    assert len(warnings) == 11
    assert warnings[-1] == "iptables: 2 rules more may drop FTP"


@pytest.mark.parametrize("condition", ["-s 192.0.2.1/32", "-p tcp"])
def test_chains_that_share_chains_are_read_once(condition: str) -> None:
    rules = ["-A INPUT -j C0"]
    for depth in range(40):
        rules += [f"-A C{depth} {condition} -j C{depth + 1}", f"-A C{depth} -j C{depth + 1}"]
    current = ruleset(*rules, "-A C40 -j DROP")
    start = time.process_time()
    after = _plan.plan(_desired.of(options()), {"ipv4": current}, {}, together=True).after["ipv4"]
    assert time.process_time() - start < 1
    assert "FTP-IN" in after.chain("filter", "INPUT")[0]


def test_plan_beside_many_foreign_rules_takes_little_time() -> None:
    # The benchmark has five times as many, and what they take on a machine that has nothing else to do.
    rules = [
        rule
        for number in range(5_000)
        for rule in (
            f"-A INPUT -s 10.0.{number >> 8}.{number & 255}/32 -p tcp -m tcp --dport {number + 1} -j DROP",
            f"-A INPUT -i eth{number % 7} -p tcp -m tcp --dport {number + 1} -m conntrack --ctstate NEW -j ACCEPT",
        )
    ]
    current = {"ipv4": ruleset(*rules, "-A INPUT -j DROP")}
    start = time.process_time()
    assert _plan.plan(_desired.of(options()), current, {}, together=True).changed
    assert time.process_time() - start < 1


@pytest.mark.parametrize(
    ("rule", "near", "named"),
    [
        ("-s 203.0.113.0/24 -j DROP", None, True),
        ("-s 203.0.113.0/24 -j DROP", ["198.51.100.0/24"], False),
        ("-s 203.0.113.0/24 -j DROP", ["203.0.113.64/26"], True),
        ("! -s 203.0.113.0/24 -j DROP", ["198.51.100.0/24"], True),
        ("-s 203.0.113.0/24 -p tcp -m tcp --dport 21 -j REJECT", ["198.51.100.0/24"], False),
    ],
)
def test_ban_of_a_network_that_the_host_is_not_on_is_left_to_the_site(
    rule: str, near: list[str] | None, named: bool
) -> None:
    current = ruleset(f"-A PREROUTING {rule}", table="raw")
    plan = _plan.plan(_desired.of(options()), {"ipv4": current}, {}, together=True, near=near and Near(tuple(near)))
    warnings = plan.sites["ipv4"].warnings("iptables", plan.after["ipv4"])
    assert bool(warnings) is named


SETS = """\
Name: office
Type: hash:net
Revision: 7
Header: family inet hashsize 1024 maxelem 65536 bucketsize 12 initval 0x427ed8f1
Size in memory: 504
References: 1
Number of entries: 2
Members:
192.0.2.0/25
198.51.0.0/16

Name: bans
Type: hash:ip,port
Revision: 7
Header: family inet hashsize 1024 maxelem 65536 timeout 600 bucketsize 12 initval 0x1
Size in memory: 504
References: 1
Number of entries: 1
Members:
203.0.113.9,tcp:80 timeout 120

Name: empty
Type: hash:ip
Members:
"""


def test_sets_that_hold_peers_nearby() -> None:
    assert sets_with(["198.51.100.0/24", "2001:db8::/64"], SETS) == ("office",)
    assert sets_with(["203.0.113.0/24"], SETS) == ("bans",)
    assert sets_with(["10.0.0.0/8"], SETS) == ()


@pytest.mark.parametrize(
    ("rule", "named"),
    [
        ("-m set --match-set bans src -j DROP", False),
        ("-m set --match-set office src -p tcp -m tcp --dport 32768:61000 -j REJECT", True),
        ("-m set ! --match-set bans src -j DROP", True),
        # The host's own addresses are nobody's ban.
        ("-m set --match-set bans dst -p tcp -m tcp --sport 1024:65535 -j REJECT", True),
    ],
)
def test_set_that_is_dropped_is_a_ban_but_of_peers_nearby_and_of_the_host_itself(rule: str, named: bool) -> None:
    current = ruleset(f"-A INPUT {rule}")
    near = Near(("198.51.100.0/24",), ("office",))
    plan = _plan.plan(_desired.of(options()), {"ipv4": current}, {}, together=True, near=near)
    warnings = plan.sites["ipv4"].warnings("iptables", plan.after["ipv4"])
    assert any(rule in warning for warning in warnings) is named
