"""The policies that let FTP through firewalld, and what a reload of it would lose."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp import _desired, _options
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables import _ruleset
from ansible_collections.hostfw.conntrack.plugins.module_utils._nftables._ruleset import Chain, Table
from ansible_collections.hostfw.conntrack.plugins.module_utils._plan import _firewalld, _gates, _plan
from ansible_collections.hostfw.conntrack.tests.unit.test_options import DEFAULTS

# As firewalld 1.3.3 and 2.3 print them.
ACTIVE = """\
public
  interfaces: eth0 eth2
internal (default)
  interfaces: eth1
trusted
  sources: 192.0.2.0/24
"""
ZONES = _firewalld.zones(ACTIVE)
GATEWAY = {"side": "gateway", "interface": ["eth0"], "out_interface": ["eth1"]}
PASSIVE = {"tls": True, "passive_ports": "50000:50099", "mode": "passive"}


def desired(**inputs: Any) -> _desired.Desired:
    """Return what an instance is to have."""
    return _desired.of(_options.parse({**DEFAULTS, **inputs}, ["lo", "eth0", "eth1", "eth2"], ["eth0"]))


def policies(zones: _firewalld.Zones = ZONES, **inputs: Any) -> list[list[str]]:
    """Return the parts of each policy in words."""
    found = []
    for text in _firewalld.files(desired(**inputs), zones).values():
        words = []
        for part in ET.fromstring(text.partition("\n")[2]):  # noqa: S314 our own
            inside = " ".join(f"{each.tag} {' '.join(each.attrib.values())}".strip() for each in part)
            words.append(f"{part.tag} {' '.join(part.attrib.values())} {inside}".strip())
        found.append(words[1:])
    return found


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        (
            {},
            [
                [
                    "ingress-zone public",
                    "egress-zone HOST",
                    "rule ipv4 port 21 tcp accept",
                    "rule ipv6 port 21 tcp accept",
                ]
            ],
        ),
        (
            {**PASSIVE, "ip_versions": ["ipv4"], "allowed_addresses": ["192.0.2.0/24"]},
            [
                [
                    "ingress-zone public",
                    "egress-zone HOST",
                    "rule ipv4 source 192.0.2.0/24 port 21 tcp accept",
                    "rule ipv4 source 192.0.2.0/24 port 50000-50099 tcp accept",
                ]
            ],
        ),
        (
            {"side": "client", "interface": ["eth1"], "ip_versions": ["ipv6"], "allowed_addresses": ["2001:db8::/32"]},
            [
                [
                    "ingress-zone HOST",
                    "egress-zone internal",
                    "rule ipv6 destination 2001:db8::/32 port 21 tcp accept",
                ]
            ],
        ),
        (
            {**GATEWAY, "ip_versions": ["ipv4"], "server_addresses": ["192.0.2.9"]},
            [
                [
                    "ingress-zone public",
                    "egress-zone internal",
                    "rule ipv4 destination 192.0.2.9/32 port 21 tcp accept",
                ]
            ],
        ),
        (
            {**GATEWAY, "ip_versions": ["ipv4"], "tls": True, "mode": "active", "allowed_addresses": ["192.0.2.1"]},
            [
                [
                    "ingress-zone public",
                    "egress-zone internal",
                    "rule ipv4 source 192.0.2.1/32 port 21 tcp accept",
                ],
                [
                    "ingress-zone internal",
                    "egress-zone public",
                    "rule ipv4 destination 192.0.2.1/32 port 1024-65535 tcp accept",
                ],
            ],
        ),
        (
            {"interface": ["any"], "ip_versions": ["ipv4"]},
            [["ingress-zone ANY", "egress-zone HOST", "rule ipv4 port 21 tcp accept"]],
        ),
        ({"state": "absent"}, []),
    ],
    ids=str,
)
def test_policies(inputs: dict[str, Any], expected: list[list[str]]) -> None:
    assert policies(**inputs) == expected


def test_interface_without_a_zone_passes_no_policy_of_the_default_one() -> None:
    none = _firewalld.zones("")
    assert policies(none, ip_versions=["ipv4"])[0][0] == "ingress-zone ANY"
    assert [each.id for each in _firewalld.warnings(desired(), none)] == ["zone-missing"]


def test_zone_that_has_more_interfaces_is_warned_of() -> None:
    (warning,) = _firewalld.warnings(desired(), ZONES)
    assert (warning.id, warning.facts) == ("zone-wider", {"zone": "public", "interfaces": "eth2"})
    assert _firewalld.warnings(desired(interface=["eth0", "eth2"]), ZONES) == []
    (warning,) = _firewalld.warnings(desired(interface=["eth+"], persistent=False), ZONES)
    assert warning.id == "firewalld-permanent"


def test_rules_of_iptables_that_a_reload_takes_away_are_warned_of() -> None:
    both = desired(interface=["eth0", "eth2"])
    (warning,) = _firewalld.warnings(both, ZONES, ["ip6tables", "firewalld"])
    assert (warning.id, warning.facts) == ("firewalld-flushes", {"prefix": "FTP"})
    assert _firewalld.warnings(both, ZONES, ["firewalld"]) == []


# iptables-save of a host with docker and firewalld, abridged, and a rule that somebody has added by hand.
BESIDE = """\
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:DOCKER - [0:0]
:DOCKER-USER - [0:0]
:FTP-IN - [0:0]
-A INPUT -s 192.0.2.77/32 -j DROP
-A FORWARD -j DOCKER-USER
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A DOCKER-USER -j RETURN
-A FTP-IN -p tcp -m comment --comment "hostfw.conntrack: control connection to port 21: client opens" -j ACCEPT
COMMIT
"""


def test_rules_of_others_that_a_reload_takes_away_are_found() -> None:
    by_hand = "-A INPUT -s 192.0.2.77/32 -j DROP"
    for text, expected in ((BESIDE, [f"iptables -t filter {by_hand}"]), (BESIDE.replace(f"{by_hand}\n", ""), [])):
        assert _firewalld.flushed({"ipv4": _ruleset.parse(text, ["filter"])}) == expected


DIRECT = "*filter\n:INPUT_direct - [0:0]\n-A INPUT_direct -m set --match-set f2b-sshd src -j REJECT\nCOMMIT\n"
RULES = {"direct": ["--direct", "--get-all-rules"]}
ENTRIES = {"ipset:bans": ["--ipset=bans", "--get-entries"]}


@pytest.mark.parametrize(
    ("saved", "sets", "configuration", "expected"),
    [
        ("", {}, "", {}),
        (DIRECT, {}, "", RULES),
        (DIRECT.replace("-A INPUT_direct", ":X - [0:0]\n-A X"), {}, "", {}),
        ("", {"bans": {}}, "", ENTRIES),
        (DIRECT, {"bans": {}}, "FlushAllOnReload=yes\n", {**RULES, **ENTRIES}),
        (DIRECT, {"bans": {}}, "FlushAllOnReload=no\n", {}),
    ],
)
def test_what_else_a_reload_may_lose_is_asked_for(
    tmp_path: Path, saved: str, sets: dict[str, Any], configuration: str, expected: dict[str, list[str]]
) -> None:
    path = tmp_path / _firewalld.CONFIGURATION
    path.parent.mkdir(parents=True)
    path.write_text(configuration)
    current = {"ipv4": _ruleset.parse(saved, ["filter"])}
    tables = {_firewalld.TABLE: Table(sets=sets)}
    assert _firewalld.flushed_settings(current, tables, str(tmp_path)) == expected
    assert _firewalld.flushed_settings({}, {}, str(tmp_path / "none")) == {}


def test_entries_of_the_runtime_alone_are_told() -> None:
    now, then = (_firewalld.listed("ipset:bans", lines) for lines in ("192.0.2.1\n2001:db8::1\n", "192.0.2.1\n"))
    assert _firewalld.runtime_only(now, then) == ["ipset:bans: 2001:db8::1"]
    rule = "ipv4 filter INPUT 0 -p tcp --dport 22 -j REJECT\n"
    now, then = (_firewalld.listed("direct", lines) for lines in (rule, "\n"))
    assert _firewalld.runtime_only(now, then) == [f"direct: {rule.strip()}"]


@pytest.mark.parametrize("prefix", ["FTP", "FTP-OTHER-ONE", "A" * 19])
def test_names_are_as_long_as_firewalld_takes_them(prefix: str) -> None:
    names = _firewalld.names(prefix)
    assert max(map(len, names)) <= _firewalld.NAME_LENGTH
    assert len(set(names)) == 2


LISTED = """\
public{active}
  target: default
  interfaces: {interfaces}
  ports: {ports}
  rich rules:
{rule}
hostfw-FTP (active)
  priority: -10
"""


@pytest.mark.parametrize(
    ("runtime", "lost"),
    [
        ({}, []),
        ({"active": " (active)", "interfaces": "eth0"}, []),
        ({"ports": "22/tcp 80/tcp"}, []),
        ({"ports": "22/tcp"}, ["public: ports: 22/tcp"]),
        ({"ports": "80/tcp 22/tcp 99/udp"}, ["public: ports: 22/tcp 80/tcp 99/udp"]),
        ({"rule": '\trule family="ipv4" accept'}, ['public: rule family="ipv4" accept']),
    ],
    ids=str,
)
def test_what_a_reload_would_lose(runtime: dict[str, str], lost: list[str]) -> None:
    permanent = {"active": "", "interfaces": "", "ports": "80/tcp 22/tcp", "rule": ""}
    now = LISTED.format(**{**permanent, **runtime})
    assert _firewalld.runtime_only(now, LISTED.format(**permanent)) == lost


@pytest.mark.parametrize(
    ("chains", "wanted", "changed", "reloads"),
    [
        (["filter_IN_policy_hostfw-FTP"], [0], [], False),
        ([], [0], [], True),
        (["filter_IN_policy_hostfw-FTP"], [], [], True),
        (["filter_IN_policy_hostfw-FTP"], [0], [0], True),
        (["filter_IN_policy_hostfw-FTP-r"], [1], [], False),
        (["filter_IN_policy_hostfw-FTP", "filter_IN_policy_hostfw-FTP_allow"], [0], [], False),
        (["filter_IN_policy_hostfw-OTHER"], [], [], False),
    ],
)
def test_reload_where_it_is_needed(chains: list[str], wanted: list[int], changed: list[int], reloads: bool) -> None:
    tables = {_firewalld.TABLE: Table({name: Chain() for name in chains})}
    paths = _firewalld.paths("FTP")
    files = [f"/{paths[number]}" for number in changed]
    commands = _firewalld.reload("FTP", [paths[number] for number in wanted], files, tables)
    assert bool(commands) is reloads


def test_firewalld_needs_no_iptables() -> None:
    options = desired(**PASSIVE).options
    tables = {_firewalld.TABLE: Table()}
    wanted, share = _gates.share(_desired.of(options), {}, tables, None, by_firewalld=True)
    assert not share.iptables.any
    assert list(share.own) == [("ip", "hostfw-FTP"), ("ip6", "hostfw-FTP")]
    assert share.names == ["firewalld"]
    # It cannot tell who is live.
    assert any(
        rule.jump == "DROP" and "nobody who is live" in str(rule.comment) for rule in wanted.rules["ipv4"].inside
    )


def test_helper_and_guard_are_not_among_the_rules_of_iptables_that_a_reload_takes_away() -> None:
    options = desired(**PASSIVE).options
    current = {"ipv4": _ruleset.parse("*filter\n:INPUT DROP [0:0]\nCOMMIT\n", ["filter"])}
    _wanted, share = _gates.share(_desired.of(options), current, {_firewalld.TABLE: Table()}, None, by_firewalld=True)
    assert share.names == ["iptables", "firewalld"]
    assert list(share.own) == [("ip", "hostfw-FTP"), ("ip6", "hostfw-FTP")]
    assert {rule.table for rule in share.iptables.rules["ipv4"].all} == {"filter"}
    # The set of the live is in our own tables, so the guard drops those of others.
    assert share.iptables.live_sets == {}
    plan = _plan.plan(share.iptables, current, {}, together=True, sites=share.sites)
    assert not any("match_set" in rule for rule in plan.rules)
    assert [
        rule["destination_port"]
        for rule in plan.rules
        if "NEW" in rule.get("ctstate", ()) and rule["destination_port"] != "21"
    ] == ["50000:50099"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [(None, False), ("", False), ("FirewallBackend=nftables\n", False), ("#\nFirewallBackend = iptables\n", True)],
)
def test_backend_of_the_configuration(tmp_path: Path, text: str | None, expected: bool) -> None:
    if text is not None:
        (tmp_path / "etc/firewalld").mkdir(parents=True)
        (tmp_path / "etc/firewalld/firewalld.conf").write_text(text, encoding="utf-8")
    assert _firewalld.by_iptables(str(tmp_path)) is expected
