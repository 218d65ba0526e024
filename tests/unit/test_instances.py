"""What the standing rules of an instance say of it, and which instances may stand side by side."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp import _desired, _options
from ansible_collections.hostfw.conntrack.plugins.module_utils._host import _instances
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables import _ruleset
from ansible_collections.hostfw.conntrack.plugins.module_utils._plan import _own, _plan
from ansible_collections.hostfw.conntrack.tests.unit.test_options import DEFAULTS
from ansible_collections.hostfw.conntrack.tests.unit.test_plan import rulesets

SAVES = sorted((Path(__file__).parent / "saves").glob("*.ipv?"))


@pytest.mark.parametrize("path", SAVES, ids=lambda path: path.name)
def test_interfaces_and_sides_of_real_hosts(path: Path) -> None:
    saved = path.read_text(encoding="utf-8")
    current = {"ipv4": _ruleset.parse(saved, _desired.TABLES)}
    assert {prefix: _instances.interfaces(prefix, [saved]) for prefix in ("FTP", "OUT", "GATE", "NONE")} == {
        "FTP": ["eth0", "wlan+"],
        "OUT": ["eth0"],
        "GATE": ["eth0", "tun+", "wlan+"],
        "NONE": [],
    }
    assert {prefix: _instances.sides(prefix, current) for prefix in ("FTP", "OUT", "GATE", "NONE")} == {
        "FTP": ["server"],
        "OUT": ["client"],
        "GATE": ["gateway"],
        "NONE": [],
    }


@pytest.mark.parametrize(
    ("case", "sides"),
    [
        ("from-1.0.0", ["server"]),
        ("converged", ["server"]),
        ("fresh-both", []),
        ("foreign-jump-stays", ["server"]),
        ("foreign-chain-of-the-same-name", []),
    ],
)
def test_sides_of_what_stands(case: str, sides: list[str]) -> None:
    assert _instances.sides("FTP", rulesets(case)) == sides


def test_rules_of_others_name_no_interface_of_ours() -> None:
    lines = [
        "-A INPUT -i ppp0 -j FTP-IN",
        '-A INPUT -i ppp1 -m comment --comment "hostfw.conntrack: FTP on ppp1" -j OTHER-IN',
        '-A INPUT -i ppp2 -m comment --comment "half a quote -j FTP-IN',
        '-A INPUT -i ppp3 -m comment --comment "hostfw.conntrack: FTP on ppp3" -j FTP-IN',
    ]
    assert _instances.interfaces("FTP", ["\n".join(lines)]) == ["ppp3"]


def options(**inputs: object) -> _options.Options:
    """Return the defaults with some inputs changed."""
    given = {**DEFAULTS, "interface": ["eth0"], "out_interface": [], **inputs}
    if given["side"] == "gateway":
        given["out_interface"] = ["eth1"]
    return _options.parse(given, ["eth0", "eth1"], [])


@pytest.mark.parametrize(
    ("earlier", "inputs", "expected"),
    [
        ({}, {}, {"FTP": "server"}),
        ({"FTP": "server"}, {}, {"FTP": "server"}),
        ({"FTP": "server"}, {"side": "client", "chain_prefix": "OUT"}, {"FTP": "server", "OUT": "client"}),
        ({"FTP": "server", "OUT": "client"}, {"state": "absent"}, {"OUT": "client"}),
        ({"FTP": "server"}, {"state": "absent", "side": "client"}, {}),
    ],
)
def test_each_side_has_its_prefix(earlier: dict[str, str], inputs: dict[str, str], expected: dict[str, str]) -> None:
    assert _instances.together(earlier, options(**inputs)) == expected


@pytest.mark.parametrize("side", ["client", "gateway"])
def test_second_side_under_one_prefix(side: str) -> None:
    with pytest.raises(ValueError) as error:
        _instances.together({"OUT": "client", "FTP": "server"}, options(side=side))
    assert str(error.value) == (
        f"ftp_chain_prefix: must be another one for each side of a host, got FTP for ftp_side {side}, after ftp_side "
        "server in the same run of Ansible: each would remove the other's rules; set ftp_chain_prefix for one of them"
    )


def gateway(**inputs: object) -> _desired.Desired:
    """Return what a gateway is to have."""
    asked = {**DEFAULTS, "side": "gateway", "interface": ["eth0"], "out_interface": ["eth1"], **inputs}
    return _desired.of(_options.parse(asked, ["lo", "eth0", "eth1", "eth2", "eth3"], ["eth0"]))


@pytest.mark.parametrize(
    ("other", "ports"),
    [
        ({"interface": ["eth2"], "out_interface": ["eth3"]}, "21"),
        ({"interface": ["eth1"], "out_interface": ["eth0"]}, "21"),
        ({"out_interface": ["eth2"]}, "21"),
        ({"interface": ["any"]}, "21"),
        ({"interface": ["eth2"], "control_ports": ["21", "990", "2121"]}, "21"),
        ({"interface": ["eth2"], "control_ports": ["2121"]}, None),
        ({"allowed_addresses": ["192.0.2.0/24"], "mode": "passive"}, None),
        ({"interface": ["eth0"], "ip_versions": ["ipv4"]}, None),
        ({"side": "server", "out_interface": []}, None),
    ],
)
def test_gateways_that_drop_each_others_control_connections(other: dict[str, object], ports: str | None) -> None:
    one, two = gateway(chain_prefix="A"), gateway(chain_prefix="B", **other)
    empty = {ip_version: _ruleset.Ruleset() for ip_version in ("ipv4", "ipv6")}
    after = _plan.plan(one, empty, {}, together=True).after
    by_iptables = _instances.warnings(two, after, {})
    by_nftables = _instances.warnings(two, {}, _own.tables(one))
    assert by_iptables == by_nftables
    assert [finding.facts for finding in by_iptables] == (
        [] if ports is None else [{"prefix": "B", "other": "A", "ports": ports}]
    )
    assert _instances.warnings(one, after, _own.tables(one)) == []
