"""What nftables is to have, beside what each version of nft prints when it has it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp import _desired, _options
from ansible_collections.hostfw.conntrack.plugins.module_utils._nftables import _ruleset
from ansible_collections.hostfw.conntrack.plugins.module_utils._plan import _gates, _info, _native, _own, _plan
from ansible_collections.hostfw.conntrack.tests.unit.test_options import DEFAULTS

FILES = Path(__file__).parent / "nft"
# No output of 1.1.4 is here: it is that of 1.1.3 with a flag alone as a word, as its change log says.
VERSIONS = ("0.9.8", "1.0.6", "1.1.3", "1.1.4")
INPUTS = {
    "tls": True,
    "passive_ports": "50000:50099",
    "control_ports": ["21", "990", "2121"],
    "allowed_addresses": ["192.0.2.0/24", "198.51.100.7", "2001:db8::/32"],
}


def printed(version: str, when: str) -> str:
    """Return what a version of nft printed of a site's firewall, before the role or after it."""
    if version == "1.1.4":
        return re.sub(r'"flags": ?\["(\w+)"\]', r'"flags": "\1"', printed("1.1.3", when))
    return (FILES / f"{version}-{when}.json").read_text(encoding="utf-8")


def planned(text: str, **inputs: object) -> _plan.Plan:
    """Return what is to be done to what nft printed."""
    options = _options.parse({**DEFAULTS, **INPUTS, **inputs}, ["lo", "eth0", "eth1"], ["eth0"])
    tables = _ruleset.parse(text)
    _wanted, share = _gates.share(_desired.of(options), {}, tables, None)
    plan = _plan.plan(share.iptables, {}, {}, together=True)
    plan.add_native(options.prefix, tables, share.own, share.parts)
    return plan


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_there_is_not_made_again(version: str) -> None:
    assert planned(printed(version, "before")).changed
    assert not planned(printed(version, "after")).changed


@pytest.mark.parametrize("version", VERSIONS)
def test_all_is_made_in_one_transaction_and_shown(version: str) -> None:
    plan = planned(printed(version, "before"))
    (command,) = plan.prepare
    assert command["argv"] == ["nft", "-f", "-"]
    assert [plan.helper_rules, plan.rules, plan.finish, plan.sets] == [[]] * 4
    lines = command["stdin"].splitlines()
    # Before the rule that rejects, by its handle; at the end where the policy drops.
    assert any(line.startswith("insert rule inet filter output handle ") for line in lines)
    assert any(line.startswith("add rule inet filter input ") for line in lines)
    assert "+table ip hostfw-FTP {\n" in plan.diff


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "inputs",
    [
        {"mode": "passive"},
        {"passive_ports": "50000:50098"},
        {"control_ports": ["21"]},
        {"allowed_addresses": ["192.0.2.0/24"]},
        {"tls": False},
        {"connmark": "0x3"},
        {"ip_versions": ["ipv4"], "allowed_addresses": ["192.0.2.0/24", "198.51.100.7"]},
        {"interface": ["eth1"]},
    ],
    ids=str,
)
def test_what_changes_is_made_anew(version: str, inputs: dict[str, object]) -> None:
    assert planned(printed(version, "after"), **inputs).changed


@pytest.mark.parametrize("version", VERSIONS)
def test_absent_removes_all_of_it_last(version: str) -> None:
    plan = planned(printed(version, "after"), state="absent")
    assert not plan.prepare
    (command,) = plan.finish
    lines = command["stdin"].splitlines()
    assert lines[:2] == ["delete table ip hostfw-FTP", "delete table ip6 hostfw-FTP"]
    kinds = {" ".join(line.split()[:2]) for line in lines[2:]}
    assert kinds == {"delete rule", "flush chain", "delete chain"}
    assert not planned(printed(version, "before"), state="absent").changed


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("was", "now"), [("before", "after"), ("after", "before")])
def test_rollback_gives_back_what_was_there(version: str, was: str, now: str) -> None:
    tables = {when: _ruleset.parse(printed(version, when)) for when in (was, now)}
    snapshot = _plan.snapshot("FTP", {}, {}, tables[was])
    back = _plan.undo("FTP", snapshot, {}, {}, tables[now])
    assert back.changed
    assert not _plan.undo("FTP", snapshot, {}, {}, tables[was]).changed
    (command,) = back.prepare + back.finish
    assert ("delete table ip hostfw-FTP" in command["stdin"]) is (now == "after")


@pytest.mark.parametrize("version", VERSIONS)
def test_what_comes_back_at_boot(version: str) -> None:
    options = _options.parse({**DEFAULTS, **INPUTS}, ["lo", "eth0", "eth1"], ["eth0"])
    tables = _ruleset.parse(printed(version, "before"))
    _wanted, share = _gates.share(_desired.of(options), {}, tables, None)
    chain = tables["inet", "filter"].chains["output"]
    handle = chain.rules[-1].handle
    listing = f'table inet filter {{\n\t\tcounter log prefix "x " reject # handle {handle}\n}}\n'
    files = _native.files(share.own, share.parts, tables, lambda _chain: listing)
    assert list(files) == ["nftables-ip", "nftables-ip6", "gates"]
    assert files["nftables-ip"].startswith("table ip hostfw-FTP {\n")
    lines = files["gates"].splitlines()
    assert lines[0] == "table inet filter"
    assert lines[lines.index("chain inet filter output") + 1] == '# before counter log prefix "x " reject'
    assert lines[lines.index("chain inet filter input") + 1] == "# last"


def test_counters_are_those_of_our_rules() -> None:
    rows = _info.native_counters(printed("1.0.6", "after"), "FTP")
    assert {row["table"] for row in rows} == {"ip hostfw-FTP", "ip6 hostfw-FTP", "inet filter"}
    assert {row["ip_version"] for row in rows if row["table"] == "ip6 hostfw-FTP"} == {"ipv6"}
    assert any(_info.assigns(row["rule"]) for row in rows)
    assert _info.native_counters(printed("1.0.6", "after"), "OTHER") == []
    assert _info.native_counters(printed("1.0.6", "before"), "FTP") == []


def test_other_instance_has_its_own() -> None:
    lines = planned(printed("1.0.6", "after"), chain_prefix="OTHER").prepare[0]["stdin"]
    assert "table ip hostfw-OTHER {" in lines
    assert "hostfw-FTP" not in lines
    assert "delete" not in lines


def test_foreign_rule_of_ours_that_was_altered_is_made_anew() -> None:
    text = printed("1.0.6", "after").replace('"right":{"range":[50000,50099]}', '"right":{"range":[50000,50100]}')
    assert planned(text).changed


def test_own_tables_differ_by_what_they_say_alone() -> None:
    options = _options.parse({**DEFAULTS, **INPUTS}, ["lo", "eth0", "eth1"], ["eth0"])
    tables = _own.tables(_desired.of(options))
    assert _own.same(tables["ip", "hostfw-FTP"], _own.tables(_desired.of(options))["ip", "hostfw-FTP"])
    assert not _own.same(tables["ip", "hostfw-FTP"], None)


def test_ports_that_touch_are_one_range_as_nft_prints_it() -> None:
    options = _options.parse(
        {**DEFAULTS, "tls": True, "passive_ports": "50000:50099", "data_port": "20", "mode": "active"},
        ["lo", "eth0"],
        ["eth0"],
    )
    _wanted, share = _gates.share(_desired.of(options), {}, _ruleset.parse(printed(VERSIONS[0], "before")), None)
    jumps = [rule.text for rule in share.own["ip", "hostfw-FTP"].chains["OUTPUT"].rules]
    assert [rule.partition(" counter ")[0] for rule in jumps if "FTP-CONTROL" in rule] == [
        'oifname "eth0" tcp sport 20-21'
    ]
