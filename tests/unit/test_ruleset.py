"""What the rules of others do to FTP."""

from __future__ import annotations

import pytest
from ansible_collections.hostfw.conntrack.plugins.module_utils import _ruleset

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


def ruleset(*rules: str, table: str = "filter") -> _ruleset.Ruleset:
    """Read rules as iptables-save prints them."""
    return _ruleset.parse("\n".join([f"*{table}", ":INPUT ACCEPT [0:0]", *rules, "COMMIT", ""]), ["raw", "filter"])


def packet(*states: str, **conditions: str) -> _ruleset.Packet:
    """Return packets of FTP on eth0."""
    return _ruleset.Packet(
        "tcp", frozenset(states or {"NEW", "RELATED", "ESTABLISHED"}), **{"in_interface": "eth0", **conditions}
    )


STOPS = [
    ("-j DROP", True),
    ("-j REJECT --reject-with icmp-port-unreachable", True),
    ("-i eth0 -j DROP", True),
    ("-i eth+ -j DROP", True),
    ("! -i lo -j DROP", True),
    ("! -i eth1 -j DROP", True),
    ("-p tcp -j REJECT --reject-with tcp-reset", True),
    ("-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j DROP", True),
    ("-m conntrack --ctstate NEW -j DROP", True),
    ("-m conntrack --ctstate INVALID,NEW -j DROP", True),
    ("-m state --state NEW -j DROP", True),
    ("-m conntrack ! --ctstate RELATED,ESTABLISHED -j DROP", True),
    ('-m comment --comment "-j is no target here" -j DROP', True),
    ("-j ENDS-IN-DROP", True),
    ("-i eth0 -j ENDS-IN-DROP", True),
    ("-g ENDS-IN-DROP", True),
    ("-j CALLS-IT", True),
    ("-i lo -j DROP", False),
    ("-i eth1 -j DROP", False),
    ("! -i eth0 -j DROP", False),
    ("! -i eth+ -j DROP", False),
    ("-i ens+ -j DROP", False),
    ("-s 192.0.2.66/32 -j DROP", False),
    ("! -s 192.0.2.0/24 -j DROP", False),
    ("-p udp -j DROP", False),
    ("! -p tcp -j DROP", False),
    ("! -p udp -j DROP", True),
    ("-p tcp -m tcp --dport 23 -j DROP", False),
    ("-p tcp -m tcp --dport 21 -j DROP", False),
    ("-p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -j DROP", False),
    ("-m conntrack --ctstate INVALID -j DROP", False),
    ("-m limit --limit 5/min -j DROP", False),
    ("-m addrtype --dst-type BROADCAST -j DROP", False),
    ("-j ACCEPT", False),
    ("-j LOG", False),
    ("-j RETURN", False),
    ("", False),
    ("-j RETURNS-SOME", False),
    ("-j RETURNS-OTHERS", True),
    ("-j NOWHERE", False),
    ("-j LOOPS", False),
    ("-s 192.0.2.0/24 -j ENDS-IN-DROP", False),
]
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
    "-A LOOPS -j LOOPS",
)


@pytest.mark.parametrize(("rule", "expected"), STOPS, ids=[rule for rule, _expected in STOPS])
def test_rule_that_stops_everything_on_the_interface(rule: str, expected: bool) -> None:
    line = f"-A INPUT {rule}".strip()
    assert _ruleset.stops(ruleset(line, *CHAINS), "filter", line, packet()) is expected


@pytest.mark.parametrize(
    ("chain", "rule", "expected"),
    [
        # The server opens no NEW connection, but its answers and active data connections go out.
        ("OUTPUT", "-m conntrack --ctstate NEW -j DROP", False),
        ("OUTPUT", "-m conntrack --ctstate INVALID,RELATED -j DROP", True),
        ("OUTPUT", "-o eth0 -j DROP", True),
        ("OUTPUT", "-o lo -j DROP", False),
    ],
)
def test_rule_that_stops_everything_going_out(chain: str, rule: str, expected: bool) -> None:
    line = f"-A {chain} {rule}"
    outgoing = _ruleset.Packet("tcp", frozenset({"RELATED", "ESTABLISHED"}), out_interface="eth0")
    assert _ruleset.stops(ruleset(line), "filter", line, outgoing) is expected


@pytest.mark.parametrize(
    ("rule", "expected"),
    [("-j ACCEPT", True), ("-p tcp -j CT --notrack", True), ("-j NOTRACK", True), ("-p udp -j CT --notrack", False)],
)
def test_rule_that_keeps_the_helper_away(rule: str, expected: bool) -> None:
    line = f"-A PREROUTING {rule}"
    assert _ruleset.stops(ruleset(line, table="raw"), "raw", line, packet()) is expected


def test_ufw_stops_in_its_reject_chain_only() -> None:
    rules = ruleset(*UFW.strip().splitlines())
    assert [_ruleset.stops(rules, "filter", line, packet()) for line in rules.chain("filter", "INPUT")] == [
        False,
        False,
        True,
    ]


@pytest.mark.parametrize(
    ("condition", "interface", "negated", "expected"),
    [
        ("eth0", "eth0", False, True),
        ("eth0", "eth1", False, False),
        ("eth+", "eth1", False, True),
        ("eth1", "eth+", False, True),
        ("eth1+", "eth+", False, True),
        ("ens+", "eth+", False, False),
        ("lo", None, False, True),
        ("eth0", "eth0", True, False),
        ("eth+", "eth0", True, False),
        ("eth0", "eth+", True, True),
        ("e+", "eth+", True, False),
        ("lo", None, True, True),
    ],
)
def test_condition_covers_an_interface(condition: str, interface: str | None, negated: bool, expected: bool) -> None:
    assert _ruleset.covers(condition, interface, negated=negated) is expected


def test_counters_and_comments_are_read_over() -> None:
    rules = _ruleset.parse(
        "# Generated by iptables-save v1.8.9\n*filter\n:INPUT DROP [12:3456]\n:X - [0:0]\n"
        "[7:420] -A INPUT -i lo -j ACCEPT\nCOMMIT\n# Completed\n",
        ["filter"],
    )
    assert rules.tables == {"filter": {"INPUT": ["-A INPUT -i lo -j ACCEPT"], "X": []}}
    assert rules.policies == {("filter", "INPUT"): "DROP", ("filter", "X"): "-"}


def test_table_that_iptables_cannot_read() -> None:
    assert _ruleset.parse("# Table `filter' is incompatible, use 'nft' tool.\n", ["filter"]).incompatible == ["filter"]


def test_line_that_is_no_rule() -> None:
    with pytest.raises(ValueError) as error:
        _ruleset.parse("*filter\nsegmentation fault\n", ["filter"])
    assert str(error.value) == "iptables-save printed a line that is no rule: segmentation fault"


def test_tables_that_do_not_matter_are_read_over() -> None:
    text = '*nat\n:X - [0:0]\n-A X -m comment --comment "two\nlines \x0c\x85" -j RETURN\nCOMMIT\n*raw\nCOMMIT\n'
    assert _ruleset.parse(text, ["raw", "filter"]).tables == {"raw": {}}
