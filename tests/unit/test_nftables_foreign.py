"""Foreign rules of nftables in the words of iptables, and which of them are named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables._foreign import Near
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables._ruleset import Ruleset
from ansible_collections.hostfw.conntrack.plugins.module_utils._nftables import _foreign, _ruleset
from ansible_collections.hostfw.conntrack.plugins.module_utils._plan import _native, _warnings
from ansible_collections.hostfw.conntrack.tests.unit.test_gates import DROP, L4PROTO, STATE, desired, match, nft

ACCEPT = [{"accept": None}]
DPORT: dict[str, Any] = {"payload": {"protocol": "tcp", "field": "dport"}}
FLAGS: dict[str, Any] = {"payload": {"protocol": "tcp", "field": "flags"}}
SADDR: dict[str, Any] = {"payload": {"protocol": "ip", "field": "saddr"}}
BANS = {"set": {"family": "inet", "table": "own", "name": "bans", "type": "ipv4_addr", "flags": ["timeout"]}}
FEW = {
    "set": {"family": "inet", "table": "own", "name": "few", "type": "ipv4_addr", "elem": ["192.0.2.1", "192.0.2.2"]}
}
# As nft 1.1.4 prints a flag alone.
PORTS = {
    "set": {
        "family": "inet",
        "table": "own",
        "name": "ports",
        "type": "inet_service",
        "flags": "timeout",
        "elem": [21, {"range": [1024, 65535]}],
    }
}
TERSE = {"set": {"family": "inet", "table": "own", "name": "terse", "type": "ipv4_addr"}}
LIMIT = {"limit": {"rate": 5, "burst": 5, "per": "second"}}


def lines(*rule: dict[str, Any], ip_version: str = "ipv4") -> list[str]:
    """Return what becomes of a rule."""
    text = json.loads(nft(list(rule)))
    text["nftables"] += [BANS, FEW, PORTS, TERSE]
    table = _ruleset.parse(json.dumps(text))["inet", "own"]
    chain = table.chains["entry"]
    found = _foreign.read(ip_version, table, ("entry", chain), chain.rules, ["INPUT"])
    return [line.removeprefix("-A INPUT ") for line in found.ruleset.chain("filter", "INPUT")]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ([match(DPORT, 22), *ACCEPT], ["-p tcp --dport 22 -j ACCEPT"]),
        ([match(DPORT, 22, "!="), *DROP], ["-p tcp ! --dport 22 -j DROP"]),
        (
            [match(DPORT, {"set": [22, {"range": [80, 90]}]}), *ACCEPT],
            [f"-p tcp --dport {p} -j ACCEPT" for p in ("22", "80:90")],
        ),
        ([match(DPORT, {"set": [22, 80]}, "!="), *DROP], ["-p tcp ! --dport 22 -p tcp ! --dport 80 -j DROP"]),
        ([match(DPORT, 1024, ">="), *DROP], ["-p tcp --dport 1024:65535 -j DROP"]),
        ([match(DPORT, 1024, "<"), *DROP], ["-p tcp --dport 0:1023 -j DROP"]),
        (
            [match(STATE, ["established", "related"], "in"), *ACCEPT],
            [f"--ctstate {s} -j ACCEPT" for s in ("ESTABLISHED", "RELATED")],
        ),
        ([match(STATE, "new", "!="), *DROP], ["! --ctstate NEW -j DROP"]),
        ([match({"meta": {"key": "iifname"}}, "eth*", "!="), *DROP], ["! -i eth+ -j DROP"]),
        ([match(L4PROTO, {"set": ["tcp", "udp"]}), *DROP], ["-p tcp -j DROP", "-p udp -j DROP"]),
        ([match(SADDR, {"prefix": {"addr": "192.0.2.0", "len": 24}}), *DROP], ["-s 192.0.2.0/24 -j DROP"]),
        ([match(SADDR, "@few"), *DROP], ["-s 192.0.2.1/32 -j DROP", "-s 192.0.2.2/32 -j DROP"]),
        ([match(SADDR, "@few", "!="), *DROP], ["! -s 192.0.2.1/32 ! -s 192.0.2.2/32 -j DROP"]),
        ([match(SADDR, "@bans"), *DROP], ["--match-set @bans src -j DROP"]),
        ([match(SADDR, "@terse"), *DROP], ["--match-set @terse src -j DROP"]),
        ([match(SADDR, "@terse", "!="), *DROP], ["! --match-set @terse src -j DROP"]),
        ([match(SADDR, "@nowhere"), *DROP], ["--unknown -j DROP"]),
        ([match(DPORT, "@ports"), *ACCEPT], ["--unknown -j ACCEPT"]),
        ([match({"&": [FLAGS, ["fin", "syn"]]}, "syn"), *DROP], ["-p tcp --tcp-flags FIN,SYN SYN -j DROP"]),
        ([match({"&": [FLAGS, ["fin", "syn"]]}, 0), *DROP], ["-p tcp --tcp-flags FIN,SYN NONE -j DROP"]),
        ([match({"fib": {"result": "oif", "flags": ["saddr", "iif"]}}, False), *DROP], []),
        ([match({"meta": {"key": "nfproto"}}, "ipv6"), *DROP], []),
        ([match({"meta": {"key": "nfproto"}}, "ipv4"), *DROP], ["-j DROP"]),
        ([match({"meta": {"key": "mark"}}, 1), *DROP], ["--unknown -j DROP"]),
        ([{"xt": None}, *DROP], ["--unknown -j DROP"]),
        ([LIMIT, *ACCEPT], ["--limit 1 -j ACCEPT"]),
        ([{"limit": {**LIMIT["limit"], "inv": True}}, *DROP], ["--hashlimit-above 1 -j DROP"]),
        ([{"ct count": {"val": 20, "inv": True}}, *DROP], ["--connlimit-above 1 -j DROP"]),
        ([{"set": {"op": "add", "elem": SADDR, "set": "@bans"}}, *DROP], ["-j DROP"]),
        ([{"set": {"op": "add", "elem": SADDR, "set": "@bans", "stmt": [LIMIT]}}, *ACCEPT], ["--limit 1 -j ACCEPT"]),
        ([{"jump": {"target": "dropping"}}], ["-j chain:dropping"]),
        ([{"goto": {"target": "dropping"}}], ["-g chain:dropping"]),
        ([{"counter": None}, {"log": {"prefix": "x"}}], []),
        (
            [
                {
                    "vmap": {
                        "key": {"concat": [L4PROTO, DPORT]},
                        "data": {"set": [[{"concat": ["tcp", 22]}, {"accept": None}]]},
                    }
                }
            ],
            ["-p tcp -p tcp --dport 22 -j ACCEPT"],
        ),
    ],
)
def test_rule_in_the_words_of_iptables(rule: list[dict[str, Any]], expected: list[str]) -> None:
    assert lines(*rule) == expected


def test_rule_for_the_other_ip_version_is_none() -> None:
    assert lines(match(SADDR, "192.0.2.1"), *DROP, ip_version="ipv6") == []


def named(text: str, near: Near | None = None, **inputs: object) -> list[str]:
    """Return the rules that may drop FTP, by their chains and handles."""
    tables, wanted = _ruleset.parse(text), desired(**inputs)
    sites = _native.Sites(wanted, tables, near)
    parts = _native.parts(wanted, tables, _native.gates(sites))
    printed = "\n".join(f"\t\trule {number} # handle {number}" for number in range(9))
    found = _native.warnings(sites, parts, lambda _chain: printed)
    return [f"{finding.facts['chain']}: {finding.facts['rule']}" for finding in found]


def numbered(text: str) -> str:
    """Give each rule a handle."""
    items = json.loads(text)["nftables"]
    for number, item in enumerate(item for item in items if "rule" in item):
        item["rule"]["handle"] = number
    return json.dumps({"nftables": items})


def test_rule_that_may_drop_ftp_before_it_meets_our_jump_is_named() -> None:
    marked = [match({"meta": {"key": "mark"}}, 1), *DROP]
    assert named(numbered(nft(marked, DROP))) == ["inet own entry: rule 0"]
    assert named(numbered(nft(marked, policy="drop"))) == ["inet own entry: rule 0"]
    # There is no jump, as nothing drops FTP for sure.
    assert named(numbered(nft(marked))) == ["inet own entry: rule 0"]
    assert named(numbered(nft(marked, DROP)), position="first") == []


@pytest.mark.parametrize(
    "rule",
    [
        [match(SADDR, "192.0.2.66"), *DROP],
        [match(STATE, "invalid", "in"), *DROP],
        [match(DPORT, {"range": [1, 20]}), *DROP],
        [match({"meta": {"key": "iifname"}}, "eth1"), *DROP],
    ],
)
def test_rule_that_drops_none_of_ftp_but_bans_is_not_named(rule: list[dict[str, Any]]) -> None:
    assert named(numbered(nft(rule, DROP)), passive_ports="50000:50099", mode="passive") == []


MARK: dict[str, Any] = {"ct": {"key": "mark"}}


def sets(value: object) -> dict[str, Any]:
    """Return what sets the connection mark."""
    return {"mangle": {"key": MARK, "value": value}}


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ([sets(1)], ["connmark-written"]),
        ([sets({"meta": {"key": "mark"}})], ["connmark-written"]),
        ([sets({"|": [{"&": [MARK, 0xFFFFFF00]}, 1]})], []),
        ([sets({"|": [{"&": [MARK, 0xCFFFFFFF]}, 1]})], ["connmark-written"]),
        ([sets({"|": [MARK, 1]})], []),
        ([sets({"|": [MARK, 0x10000000]})], ["connmark-written"]),
        ([sets({"|": [MARK, {"meta": {"key": "mark"}}, 1]})], ["connmark-written"]),
        ([sets({"&": [MARK, 0xFF]})], ["connmark-written"]),
        ([match(DPORT, 80), sets(1)], []),
        ([match(MARK, 1), *ACCEPT], ["connmark-read"]),
        ([match({"&": [MARK, 0xFF]}, 1), *ACCEPT], []),
    ],
)
def test_rule_that_touches_our_bits_of_the_connection_mark_is_named(rule: list[Any], expected: list[str]) -> None:
    tables = _ruleset.parse(numbered(nft(rule)))
    wanted = desired(passive_ports="50000:50099", mode="passive")
    found = _native.warnings(_native.Sites(wanted, tables), {}, lambda _chain: "")
    assert [finding.id for finding in found] == expected


def test_mark_is_looked_at_in_a_native_table_with_a_name_that_iptables_has_too() -> None:
    wanted = desired(passive_ports="50000:50099", mode="passive")
    for chain, expected in (("input", ["connmark-written"]), ("INPUT", [])):
        text = numbered(nft([sets(1)], family="ip", table="filter", name=chain))
        found = _native.warnings(_native.Sites(wanted, _ruleset.parse(text)), {}, lambda _chain: "")
        assert [finding.id for finding in found] == expected


@pytest.mark.parametrize(
    ("rule", "named"),
    [
        ([match(DPORT, 21)], True),
        ([match(DPORT, {"range": [50000, 50099]})], True),
        ([match({"meta": {"key": "iifname"}}, "eth0")], True),
        ([], True),
        ([match(DPORT, 80)], False),
        ([match(L4PROTO, "udp")], False),
        ([match({"meta": {"key": "iif"}}, "lo")], False),
    ],
)
def test_rule_that_leaves_ftp_untracked_is_named(rule: list[dict[str, Any]], named: bool) -> None:
    text = nft([*rule, {"notrack": None}], hook="prerouting", prio=-300)  # type: ignore[arg-type]
    wanted = desired(passive_ports="50000:50099", mode="passive")
    found = _native.warnings(_native.Sites(wanted, _ruleset.parse(text)), {}, lambda _chain: "\t\trule # handle 0")
    words = (
        "nft: a rule in table inet own may keep FTP from the helper, so that no file passes: rule; let it spare FTP's "
        "control connections and data connections"
    )
    assert found == [words] * named
    late = nft([*rule, {"notrack": None}], hook="prerouting", prio=-150)  # type: ignore[arg-type]
    assert _native.warnings(_native.Sites(wanted, _ruleset.parse(late)), {}, lambda _chain: "") == []


# What translates addresses, as nft 1.0.6 prints it.
REDIRECT: dict[str, Any] = {"redirect": {"port": 2121}}
GATEWAY = {"side": "gateway", "interface": ["eth0"], "out_interface": ["eth1"], "nat": True}


@pytest.mark.parametrize(
    ("rule", "inputs", "expected"),
    [
        ([match(DPORT, 21), REDIRECT], {}, [("ipv4", "2121", "INPUT"), ("ipv6", "2121", "INPUT")]),
        (
            [match(DPORT, {"set": [21, 990]}), {"redirect": {"port": {"range": [2121, 2122]}, "flags": "random"}}],
            {"ip_versions": ["ipv4"]},
            [("ipv4", "2121-2122", "INPUT")],
        ),
        (
            [match(DPORT, 21), {"dnat": {"family": "ip", "addr": "10.0.0.5", "port": 2121}}],
            {},
            [("ipv4", "2121", "INPUT")],
        ),
        (
            [match(DPORT, 21), {"dnat": {"family": "ip", "addr": "192.0.2.9", "port": 2121}}],
            GATEWAY,
            [("ipv4", "2121", "FORWARD")],
        ),
        (
            [match(DPORT, 21), {"dnat": {"family": "ip6", "addr": "2001:db8::1", "port": 2121}}],
            GATEWAY,
            [("ipv6", "2121", "FORWARD")],
        ),
        (
            [match({"meta": {"key": "oifname"}}, "eth1"), {"masquerade": None}],
            {**GATEWAY, "nat": False, "ip_versions": ["ipv4"]},
            [("ipv4", None, None)],
        ),
        ([{"masquerade": None}], GATEWAY, []),
        ([{"masquerade": None}], {}, []),
        ([match(DPORT, 21), REDIRECT], {"control_ports": ["21", "2121"]}, []),
        ([match(DPORT, 80), REDIRECT], {}, []),
        ([match(DPORT, 21), {"redirect": None}], {}, []),
        ([match({"meta": {"key": "iifname"}}, "eth1"), match(DPORT, 21), REDIRECT], {}, []),
        ([match(DPORT, 21), {"dnat": {"family": "ip", "addr": "192.0.2.9", "port": 2121}}], {}, []),
        (
            [
                match(DPORT, 21),
                {"redirect": {"port": {"map": {"key": DPORT, "data": {"set": [[21, 2121]]}}}}},
            ],
            {},
            [],
        ),
    ],
)
def test_rule_that_translates_what_ftp_needs_is_named(
    tmp_path: Path, rule: list[dict[str, Any]], inputs: dict[str, Any], expected: list[tuple[str, str, str]]
) -> None:
    (tmp_path / "proc/net").mkdir(parents=True)
    (tmp_path / "proc/net/fib_trie").write_text("|-- 10.0.0.5\n/32 host LOCAL\n")
    tables = _ruleset.parse(nft(rule, type="nat", hook="prerouting"))

    def printed(chain: str) -> str:
        return "\t\ttranslates # handle 0" if chain == "inet own entry" else ""

    def native(ip_version: str) -> _native.Translating:
        return _native.translating(ip_version, tables, printed)

    options = desired(persistent=False, **inputs).options
    found = []
    for ip_version in ("ipv4", "ipv6"):
        current = {ip_version: Ruleset()}
        for finding in _warnings.warnings(options, current, [], str(tmp_path), native):
            if finding.id in ("port-sent-on", "nat-without-helper"):
                assert (finding.facts["program"], finding.facts["rule"]) == ("nft", "translates")
                found.append((ip_version, finding.facts.get("to"), finding.facts.get("chain")))
    assert found == expected


def test_what_a_host_sends_itself_is_not_named(tmp_path: Path) -> None:
    tables = _ruleset.parse(nft([match(DPORT, 21), REDIRECT], type="nat", hook="output"))
    native = _native.translating("ipv4", tables, lambda _chain: "")
    current = {"ipv4": Ruleset()}
    options = desired(persistent=False).options
    assert _warnings.warnings(options, current, [], str(tmp_path), lambda _ip_version: native) == []
