"""Who else is in charge of the firewall, from what nft prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp import _desired, _options
from ansible_collections.hostfw.conntrack.plugins.module_utils._host import _commands
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables import _ruleset as _iptables
from ansible_collections.hostfw.conntrack.plugins.module_utils._nftables import _ruleset
from ansible_collections.hostfw.conntrack.plugins.module_utils._plan import _gates, _native, _own, _plan
from ansible_collections.hostfw.conntrack.tests.unit.test_options import DEFAULTS

DROP = [{"counter": {"packets": 0, "bytes": 0}}, {"drop": None}]
REJECT = [{"reject": {"type": "icmpx", "expr": "admin-prohibited"}}]
SSH = [
    {"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 22}},
    {"drop": None},
]


def match(left: dict[str, Any], right: Any, op: str = "==") -> dict[str, Any]:
    """Return a condition."""
    return {"match": {"op": op, "left": left, "right": right}}


STATE: dict[str, Any] = {"ct": {"key": "state"}}
L4PROTO: dict[str, Any] = {"meta": {"key": "l4proto"}}


def on(interface: str, *then: dict[str, Any], key: str = "iifname") -> list[dict[str, Any]]:
    """Return a rule for an interface."""
    return [{"match": {"op": "==", "left": {"meta": {"key": key}}, "right": interface}}, *then]


def nft(
    *rules: list[dict[str, Any]], policy: str = "accept", family: str = "inet", table: str = "own", **chain: str
) -> str:
    """Return what nft prints for a table with a base chain, and with a chain that drops."""
    place = {"family": family, "table": table}
    base = {**place, "name": "entry", "type": "filter", "hook": "input", "prio": 0, "policy": policy, **chain}
    items: list[dict[str, Any]] = [
        {"metainfo": {"json_schema_version": 1}},
        {"table": {"family": family, "name": table}},
        {"chain": base},
        {"chain": {**place, "name": "dropping"}},
        *({"rule": {**place, "chain": base["name"], "expr": rule}} for rule in rules),
        {"rule": {**place, "chain": "dropping", "expr": DROP}},
    ]
    return json.dumps({"nftables": items})


def desired(**inputs: object) -> _desired.Desired:
    """Return what an instance is to have."""
    return _desired.of(_options.parse({**DEFAULTS, **inputs}, ["lo", "eth0", "eth1"], ["eth0"]))


def conflicts(text: str, *, firewalld: bool = False, **inputs: object) -> list[str]:
    """Return the conflicts."""
    wanted = desired(**inputs)
    return [
        *_gates.conflicts(wanted, _native.gates(_native.Sites(wanted, _ruleset.parse(text))), firewalld_drops=firewalld)
    ]


def found(text: str, **inputs: object) -> list[str]:
    """Return the base chains that drop FTP."""
    return [gate.chain for gate in _native.gates(_native.Sites(desired(**inputs), _ruleset.parse(text)))]


def commands(text: str, **inputs: object) -> list[str]:
    """Return what lets FTP through them."""
    tables, wanted = _ruleset.parse(text), desired(**inputs)
    return _native.commands("FTP", tables, _native.parts(wanted, tables, _native.gates(_native.Sites(wanted, tables))))


@pytest.mark.parametrize(
    "text",
    [
        nft(policy="drop"),
        nft(DROP),
        nft(REJECT),
        nft(SSH, on("eth0", {"drop": None})),
        nft([{"jump": {"target": "dropping"}}]),
        nft(on("eth*", {"goto": {"target": "dropping"}})),
        nft(on("eth1", {"accept": None}), policy="drop"),
        nft([{"return": None}], policy="drop"),
        nft(SSH, policy="drop", family="ip"),
        nft(policy="drop", family="ip6"),
        nft(policy="drop", hook="output"),
        nft(policy="drop", hook="output", type="route"),
        nft(policy="drop", family="ip", table="filter"),
        nft([match(L4PROTO, "tcp"), {"reject": None}]),
        nft([match(L4PROTO, {"set": ["tcp", "udp"]}), {"drop": None}]),
        nft([match(STATE, "new", "in"), {"drop": None}]),
        nft([match(STATE, ["new", "invalid"], "in"), {"drop": None}]),
        nft([match(STATE, "established", "!="), {"drop": None}]),
        nft([match({"meta": {"key": "iifname"}}, {"set": ["eth0", "eth1"]}), {"drop": None}]),
        # Passive data connections go to other ports.
        nft([match({"payload": {"protocol": "tcp", "field": "dport"}}, 21, "!="), {"drop": None}]),
        nft(
            [match({"payload": {"protocol": "tcp", "field": "dport"}}, {"set": [22, {"range": [20, 21]}]}, "!="), *DROP]
        ),
        nft(on("lo", {"drop": None}), [match({"meta": {"key": "iif"}}, "lo", "!="), {"drop": None}]),
    ],
)
def test_base_chain_that_drops(text: str) -> None:
    assert found(text) == ["entry"]
    assert [line for line in commands(text) if " jump FTP-" in line]
    assert not conflicts(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        nft(),
        nft(SSH),
        nft(on("eth1", {"drop": None})),
        nft([match(L4PROTO, "udp"), {"drop": None}]),
        nft([match(STATE, ["established", "related"], "in"), {"accept": None}], [match(STATE, "invalid", "in"), *DROP]),
        nft([match({"meta": {"key": "iifname"}}, {"set": ["eth0", "eth1"]}, "!="), {"drop": None}]),
        nft([match({"&": [{"meta": {"key": "mark"}}, 1]}, 1), {"drop": None}]),
        nft([{"accept": None}], DROP, policy="drop"),
        nft([{"return": None}], DROP),
        nft([{"limit": {"rate": 5, "per": "second"}}, {"drop": None}]),
        nft([{"jump": {"target": "nowhere"}}]),
        nft(policy="drop", hook="forward"),
        nft(policy="drop", type="nat"),
        nft(policy="drop", family="bridge"),
        nft(policy="drop", family="ip", table="filter", name="INPUT"),
    ],
)
def test_no_false_alarm(text: str) -> None:
    assert found(text) == []


def test_version_that_is_not_asked_for() -> None:
    assert found(nft(policy="drop", family="ip6"), ip_versions=["ipv4"]) == []
    assert conflicts(nft(policy="drop"), firewalld=True, allowed_addresses=[], ip_versions=["ipv4"]) != []


def test_gateway_is_about_forward() -> None:
    inputs = {"side": "gateway", "interface": ["eth0"], "out_interface": ["eth1"]}
    assert (
        'add rule inet own entry iifname "eth0" oifname "eth1" ct mark & 0x30000000 != 0x0 counter jump FTP-IN '
        'comment "hostfw.conntrack: FTP from eth0 to eth1: client"'
    ) in commands(nft(policy="drop", hook="forward"), **inputs)
    assert found(nft(policy="drop"), **inputs) == []


def test_firewalld_is_named_alone() -> None:
    (conflict,) = conflicts(nft(REJECT, table="firewalld"), firewalld=True)
    assert found(nft(REJECT, table="firewalld")) == []
    assert "ansible.posix.firewalld: {service: ftp, state: enabled, permanent: true, immediate: true}" in conflict
    assert "firewall-cmd --permanent --add-service=ftp && firewall-cmd --reload" in conflict


def test_chains_accept_what_those_of_iptables_accept() -> None:
    lines = commands(nft(policy="drop"), allowed_addresses=["192.0.2.0/24", "2001:db8::/32"], mode="active")
    assert [line.partition(" comment ")[0] for line in lines] == [
        "add chain inet own FTP-IN",
        "add chain inet own FTP-OUT",
        "add chain inet own FTP-DATA-IN",
        "add chain inet own FTP-DATA-OUT",
        "add rule inet own FTP-IN ip saddr 192.0.2.0/24 tcp dport 21 ct state established,new counter accept",
        'add rule inet own FTP-IN ip saddr 192.0.2.0/24 ct helper "ftp" counter jump FTP-DATA-IN',
        "add rule inet own FTP-IN meta l4proto 1 ct state related counter accept",
        "add rule inet own FTP-IN ip6 saddr 2001:db8::/32 tcp dport 21 ct state established,new counter accept",
        'add rule inet own FTP-IN ip6 saddr 2001:db8::/32 ct helper "ftp" counter jump FTP-DATA-IN',
        "add rule inet own FTP-IN meta l4proto 58 ct state related counter accept",
        "add rule inet own FTP-OUT ip daddr 192.0.2.0/24 tcp sport 21 ct state established counter accept",
        'add rule inet own FTP-OUT ip daddr 192.0.2.0/24 ct helper "ftp" counter jump FTP-DATA-OUT',
        "add rule inet own FTP-OUT ip6 daddr 2001:db8::/32 tcp sport 21 ct state established counter accept",
        'add rule inet own FTP-OUT ip6 daddr 2001:db8::/32 ct helper "ftp" counter jump FTP-DATA-OUT',
        "add rule inet own FTP-DATA-IN tcp sport 1024-65535 tcp dport 20 ct state established counter accept",
        "add rule inet own FTP-DATA-OUT tcp sport 20 tcp dport 1024-65535 ct state established,related counter accept",
        'add rule inet own entry iifname "eth0" ct mark & 0x30000000 != 0x0 counter jump FTP-IN',
    ]


def process(root: Path, number: int, comm: str, namespace: str) -> None:
    """Make a process in a copy of /proc."""
    folder = root / "proc" / str(number) / "ns"
    folder.mkdir(parents=True)
    (folder / "net").symlink_to(namespace)
    (folder.parent / "comm").write_text(f"{comm}\n", encoding="utf-8")


@pytest.mark.parametrize(
    ("comm", "namespace", "expected"),
    [("firewalld", "net:[1]", True), ("firewalld", "net:[2]", False), ("python3", "net:[1]", False)],
)
def test_firewalld_runs_here(tmp_path: Path, comm: str, namespace: str, expected: bool) -> None:
    process(tmp_path, 1, "systemd", "net:[1]")
    process(tmp_path, 2, comm, namespace)
    (tmp_path / "proc/3").mkdir()  # has just ended
    (tmp_path / "proc/self").symlink_to("1")
    assert _gates.firewalld(str(tmp_path)) is expected


# What nft 1.0.6 printed of tables, each with one firewall that drops control connections.
REAL = json.loads((Path(__file__).parent / "nft-1.0.6.json").read_text(encoding="utf-8"))["nftables"]
UNSEEN = ("t_syn", "t_fib", "t_ingress")


def printed(table: str) -> str:
    """Return what nft prints of one of the tables."""
    kinds = ("chain", "rule", "set", "map")
    items = [item for item in REAL if any(item.get(kind, {}).get("table") == table for kind in kinds)]
    return json.dumps({"nftables": items})


@pytest.mark.parametrize("table", sorted({item["table"]["name"] for item in REAL if "table" in item} - set(UNSEEN)))
def test_real_firewall_that_drops_control_connections(table: str) -> None:
    assert found(printed(table), ip_versions=["ipv4"])


@pytest.mark.parametrize(
    "rule",
    [
        [match({"payload": {"protocol": "tcp", "field": "dport"}}, {"range": [22, 1023]}), {"drop": None}],
        [match({"payload": {"protocol": "tcp", "field": "dport"}}, "@open", "!="), {"drop": None}],
        [match({"payload": {"protocol": "udp", "field": "dport"}}, 21), {"drop": None}],
        [match({"payload": {"protocol": "tcp", "field": "dport"}}, 21), match(STATE, "invalid", "in"), *DROP],
        [{"vmap": {"key": {"meta": {"key": "iifname"}}, "data": {"set": [["eth1", {"drop": None}]]}}}],
        [{"vmap": {"key": STATE, "data": {"set": [["invalid", {"drop": None}], ["new", {"accept": None}]]}}}],
        [{"vmap": {"key": {"meta": {"key": "iifname"}}, "data": "@zones"}}],
    ],
)
def test_no_false_alarm_of_ports_and_maps(rule: list[dict[str, Any]]) -> None:
    assert found(nft(rule)) == []


def test_what_drops_before_connections_are_tracked() -> None:
    (conflict,) = conflicts(printed("t_pre"), ip_versions=["ipv4"])
    assert "Give it a priority above -200" in conflict
    assert commands(printed("t_pre"), ip_versions=["ipv4"]) == []


def test_what_drops_on_its_way_out_before_connections_are_tracked() -> None:
    text = json.loads(nft(policy="drop", hook="output"))
    (chain,) = (item["chain"] for item in text["nftables"] if item.get("chain", {}).get("hook"))
    for priority, expected in ((-300, 1), (-200, 1), (-150, 0)):
        chain["prio"] = priority
        assert len(conflicts(json.dumps(text))) == expected


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (match({"payload": {"protocol": "tcp", "field": "dport"}}, "@open"), True),
        (match({"meta": {"key": "iifname"}}, "@wan"), True),
        (match({"meta": {"key": "l4proto"}}, "@protocols"), True),
        ({"vmap": {"key": {"meta": {"key": "iifname"}}, "data": "@zones"}}, True),
        (match({"payload": {"protocol": "ip", "field": "saddr"}}, "@bans"), False),
        (match({"payload": {"protocol": "ip6", "field": "daddr"}}, "@bans", "!="), False),
    ],
)
def test_what_is_in_a_set_is_asked_for_where_it_decides(rule: dict[str, Any], expected: bool) -> None:
    assert bool(_commands.DECIDED_BY_NAME.search(json.dumps({"nftables": [rule]}))) is expected


@pytest.mark.parametrize("by_firewalld", [False, True])
@pytest.mark.parametrize(
    ("table", "rule", "stops", "named"),
    [
        ("raw", "PREROUTING -p tcp -m tcp --dport 21 -j CT --notrack", ["helper-kept-away"], ["rule-before-helper"]),
        ("mangle", "PREROUTING -p tcp -m tcp --dport 21 -j DROP", [], ["rule-before-jump"]),
        ("mangle", "PREROUTING -p tcp -m tcp --dport 80 -j DROP", [], []),
    ],
)
def test_what_iptables_does_before_another_filters_is_told(
    by_firewalld: bool, table: str, rule: str, stops: list[str], named: list[str]
) -> None:
    saved = f"*{table}\n:PREROUTING ACCEPT [0:0]\n-A {rule}\nCOMMIT\n"
    current = {"ipv4": _iptables.parse(saved, ("raw", "mangle"))}
    tables = _ruleset.parse(nft(policy="drop"))
    _wanted, share = _gates.share(desired(), current, tables, None, by_firewalld=by_firewalld)
    plan = _plan.plan(share.iptables, current, {}, together=True, sites=share.sites)
    assert not share.iptables.any
    assert [conflict.id for conflict in plan.conflicts] == stops
    assert [finding.id for finding in plan.sites["ipv4"].warnings("iptables", current["ipv4"])] == named


def test_chain_of_the_site_with_the_name_of_ours_is_left_alone() -> None:
    text = json.loads(nft(policy="drop"))
    place = {"family": "inet", "table": "own"}
    text["nftables"] += [
        {"chain": {**place, "name": "FTP-IN"}},
        {"rule": {**place, "chain": "FTP-IN", "handle": 9, "expr": SSH}},
        {"rule": {**place, "chain": "entry", "handle": 10, "expr": [{"jump": {"target": "FTP-IN"}}]}},
    ]
    for prefix, expected in (("FTP", 1), ("OTHER", 0)):
        tables, wanted = _ruleset.parse(json.dumps(text)), desired(chain_prefix=prefix)
        parts = _native.parts(wanted, tables, _native.gates(_native.Sites(wanted, tables)))
        assert len(_native.conflicts(prefix, tables, parts)) == expected
        assert _native.commands(prefix, tables, {}) == []
    text["nftables"][-2]["rule"]["comment"] = "hostfw.conntrack: x"
    assert _native.conflicts("FTP", _ruleset.parse(json.dumps(text)), parts) == []


def test_jump_before_routing_asks_for_no_mark() -> None:
    lines = commands(printed("t_prepol"), ip_versions=["ipv4"], mode="passive")
    assert lines[-1].partition(" comment ")[0] == (
        'add rule inet t_prepol pre meta nfproto ipv4 iifname "eth0" counter jump FTP-IN'
    )


def test_where_a_gate_cannot_tell_who_is_live_the_guard_drops_the_others() -> None:
    tables = _ruleset.parse(printed("t_prepol"))
    options = desired(tls=True, passive_ports="50000:50099", mode="passive", ip_versions=["ipv4"]).options
    wanted, share = _gates.share(_desired.of(options), {}, tables, None)
    assert [rule.comment for rule in wanted.rules["ipv4"].inside if rule.jump == "DROP"] == [
        "hostfw.conntrack: FTPS passive data connection to ports 50000-50099: nobody who is live"
    ]
    accepts = [rule.text for rule in share.parts["inet", "t_prepol"].chains["FTP-IN"] if "50000" in rule.text]
    assert "tcp dport 50000-50099 ct state new counter accept" in accepts[0]
    assert "ct mark" not in accepts[0]


def test_what_nat_publishes_of_ftps_the_guard_closes_to_others() -> None:
    sides = {"side": "gateway", "nat": True, "interface": ["eth0"], "out_interface": ["eth1"]}
    chosen = desired(tls=True, passive_ports="50000:50099", mode="passive", ip_versions=["ipv4"], **sides)
    (drop,) = [rule for rule in chosen.rules["ipv4"].inside if "nobody who is live" in str(rule.comment)]
    assert " -m conntrack --ctstate NEW -m conntrack --ctstate DNAT -m connmark --mark 0x0/0x30000000 " in drop.line()
    chain = _own.tables(chosen)["ip", "hostfw-FTP"].chains[drop.chain]
    (said,) = [rule.text for rule in chain.rules if rule.comment == drop.comment]
    assert said.startswith('iifname "eth0" oifname "eth1" tcp sport 1024-65535 tcp dport 50000-50099 ')
    assert " ct state new ct status dnat ct mark & 0x30000000 == 0x0 counter drop " in said


PERMANENT = "firewall-cmd --permanent"
ZONE = '"$(firewall-cmd --get-zone-of-interface={} 2>/dev/null || firewall-cmd --get-default-zone)"'
POLICY = [f"{PERMANENT} --new-policy=hostfw-ftp &&"]
RELOAD = ["firewall-cmd --reload"]


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ({}, [f"{PERMANENT} --add-service=ftp && firewall-cmd --reload"]),
        (
            {"control_ports": ["21", "2121"]},
            [
                f"{PERMANENT} --new-helper=hostfw-ftp --module=nf_conntrack_ftp &&",
                f"{PERMANENT} --helper=hostfw-ftp --add-port=21/tcp &&",
                f"{PERMANENT} --helper=hostfw-ftp --add-port=2121/tcp &&",
                f"{PERMANENT} --new-service=hostfw-ftp &&",
                f"{PERMANENT} --service=hostfw-ftp --add-port=21/tcp &&",
                f"{PERMANENT} --service=hostfw-ftp --add-port=2121/tcp &&",
                f"{PERMANENT} --service=hostfw-ftp --add-helper=hostfw-ftp &&",
                f"{PERMANENT} --add-service=hostfw-ftp &&",
                *RELOAD,
            ],
        ),
        (
            {"tls": True, "passive_ports": "50000:50099"},
            [
                f"{PERMANENT} --new-service=hostfw-ftp &&",
                f"{PERMANENT} --service=hostfw-ftp --add-port=21/tcp &&",
                f"{PERMANENT} --service=hostfw-ftp --add-port=50000-50099/tcp &&",
                f"{PERMANENT} --service=hostfw-ftp --add-helper=ftp &&",
                f"{PERMANENT} --add-service=hostfw-ftp &&",
                *RELOAD,
            ],
        ),
        (
            {"side": "client"},
            [
                *POLICY,
                f"{PERMANENT} --policy=hostfw-ftp --add-ingress-zone=HOST &&",
                f"{PERMANENT} --policy=hostfw-ftp --add-egress-zone=ANY &&",
                f"{PERMANENT} --policy=hostfw-ftp --add-service=ftp &&",
                *RELOAD,
            ],
        ),
        (
            {"side": "gateway", "interface": ["eth0"], "out_interface": ["eth1"]},
            [
                *POLICY,
                f"{PERMANENT} --policy=hostfw-ftp --add-ingress-zone={ZONE.format('eth0')} &&",
                f"{PERMANENT} --policy=hostfw-ftp --add-egress-zone={ZONE.format('eth1')} &&",
                f"{PERMANENT} --policy=hostfw-ftp --add-service=ftp &&",
                *RELOAD,
            ],
        ),
        (
            {"side": "client", "tls": True, "mode": "active", "allowed_addresses": ["192.0.2.1"]},
            [
                f"{PERMANENT} --new-service=hostfw-ftp &&",
                f"{PERMANENT} --service=hostfw-ftp --add-port=21/tcp &&",
                f"{PERMANENT} --service=hostfw-ftp --add-helper=ftp &&",
                *POLICY,
                f"{PERMANENT} --policy=hostfw-ftp --add-ingress-zone=HOST &&",
                f"{PERMANENT} --policy=hostfw-ftp --add-egress-zone=ANY &&",
                f"{PERMANENT} --policy=hostfw-ftp --add-service=hostfw-ftp &&",
                (
                    f'{PERMANENT} --add-rich-rule=\'rule family="ipv4" source address="192.0.2.1/32" '
                    'port port="1024-65535" protocol="tcp" accept\' &&'
                ),
                *RELOAD,
            ],
        ),
    ],
)
def test_firewalld_lets_each_side_through(inputs: dict[str, Any], expected: list[str]) -> None:
    (conflict,) = conflicts("", firewalld=True, **inputs)
    assert [line.strip() for line in conflict.splitlines() if line.startswith("  firewall-cmd")] == expected
    assert ("ansible.posix.firewalld" in conflict) is (inputs == {})


def test_firewalld_with_dnat_is_too_late() -> None:
    gateway = {"side": "gateway", "interface": ["eth0"], "out_interface": ["eth1"], "nat": True}
    (conflict,) = conflicts("", firewalld=True, **gateway)
    assert "(but not through a forward-port or DNAT of firewalld, after which its helper comes too late)" in conflict
