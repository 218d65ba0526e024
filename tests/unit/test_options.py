"""The inputs: what is allowed, and the whole message for what is not."""

from __future__ import annotations

import re
from typing import Any

import pytest
from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp import _options

DEFAULTS: dict[str, Any] = {
    "side": "server",
    "mode": "both",
    "interface": ["eth0"],
    "out_interface": [],
    "nat": False,
    "control_ports": ["21"],
    "data_port": "auto",
    "active_ports": "auto",
    "passive_ports": "1024:65535",
    "tls": False,
    "allowed_addresses": [],
    "server_addresses": [],
    "ip_versions": ["ipv4", "ipv6"],
    "position": "auto",
    "chain_prefix": "FTP",
    "connmark": "0x30000000",
    "persistent": True,
    "restore_after": [],
    "ignore_conflicts": False,
    "state": "present",
    "public_address": "none",
}
HAS = ["lo", "eth0", "eth1", "br-lan", "eth0.100"]


def parse(default_interfaces: list[str] | None = None, **inputs: object) -> _options.Options:
    """Parse the defaults with some inputs changed, on a host with some interfaces."""
    default_interfaces = ["eth0"] if default_interfaces is None else default_interfaces
    return _options.parse({**DEFAULTS, **inputs}, HAS, default_interfaces, "32768:60999")


PORTS = "ftp_control_ports: must be a list of ports from 1 to 65535, got "
DATA = "ftp_data_port: must be a port from 1 to 65535, auto or any, got "
RANGE = "ftp_passive_ports: must be a port or a range first:last, ports from 1 to 65535, got "
ACTIVE = "ftp_active_ports: must be a port or a range first:last, ports from 1 to 65535, or auto, got "
PUBLIC = "ftp_public_address: must be an IPv4 address or a host name with a dot, auto or none, got "
CONNMARK = "ftp_connmark: must be a number of 32 bits of which two are set, such as 0x30000000, got "
INTERFACE = (
    "ftp_interface: must be an interface of this host (lo, eth0, eth1, br-lan, eth0.100), "
    "a wildcard such as eth+, or any, got "
)
ADDRESS = "ftp_allowed_addresses: must be a list of addresses and networks such as 192.0.2.0/24 or 2001:db8::/32, got "
PREFIX = (
    "ftp_chain_prefix: must be 1 to 19 of A-Z a-z 0-9 _ and - (not first), "
    "as a chain name such as PREFIX-DATA-OUT holds 28, got "
)

BAD = [
    ("mode", "extended", "ftp_mode: must be one of active, passive, both, got 'extended'"),
    ("mode", "", "ftp_mode: must be one of active, passive, both, got ''"),
    ("mode", "Active", "ftp_mode: must be one of active, passive, both, got 'Active'"),
    ("state", "gone", "ftp_state: must be one of present, absent, got 'gone'"),
    ("position", "3", "ftp_position: must be one of auto, first, last, got '3'"),
    ("control_ports", [], PORTS + "[]"),
    ("control_ports", ["0"], PORTS + "'0'"),
    ("control_ports", ["65536"], PORTS + "'65536'"),
    ("control_ports", ["abc"], PORTS + "'abc'"),
    ("control_ports", [""], PORTS + "''"),
    ("control_ports", ["21", "-1"], PORTS + "'-1'"),
    ("control_ports", ["21.0"], PORTS + "'21.0'"),
    ("control_ports", ["21 "], PORTS + "'21 '"),
    ("control_ports", ["21:22"], PORTS + "'21:22'"),
    ("control_ports", ["0x15"], PORTS + "'0x15'"),
    ("control_ports", ["٢١"], PORTS + "'٢١'"),
    ("data_port", "0", DATA + "'0'"),
    ("data_port", "65536", DATA + "'65536'"),
    ("data_port", "ftp-data", DATA + "'ftp-data'"),
    ("data_port", "", DATA + "''"),
    ("data_port", "20:21", DATA + "'20:21'"),
    ("data_port", "ANY", DATA + "'ANY'"),
    ("passive_ports", "5000:4000", "ftp_passive_ports: first port 5000 is above last port 4000"),
    ("passive_ports", "0:65535", RANGE + "'0:65535'"),
    ("passive_ports", "1024:65536", RANGE + "'1024:65536'"),
    ("passive_ports", "1024:", RANGE + "'1024:'"),
    ("passive_ports", ":65535", RANGE + "':65535'"),
    ("passive_ports", "", RANGE + "''"),
    ("passive_ports", "50000-51000", RANGE + "'50000-51000'"),
    ("passive_ports", "1:2:3", RANGE + "'1:2:3'"),
    ("passive_ports", "high", RANGE + "'high'"),
    ("active_ports", "5000:4000", "ftp_active_ports: first port 5000 is above last port 4000"),
    ("active_ports", "0:65535", ACTIVE + "'0:65535'"),
    ("active_ports", "any", ACTIVE + "'any'"),
    ("public_address", "", PUBLIC + "''"),
    ("public_address", "Auto", PUBLIC + "'Auto'"),
    ("public_address", "203.0.113.256", PUBLIC + "'203.0.113.256'"),
    ("public_address", "203.0.113", PUBLIC + "'203.0.113'"),
    ("public_address", "203.0.113.0/24", PUBLIC + "'203.0.113.0/24'"),
    ("public_address", "2001:db8::1", PUBLIC + "'2001:db8::1'"),
    ("public_address", "203.0.113.7 203.0.113.8", PUBLIC + "'203.0.113.7 203.0.113.8'"),
    ("connmark", "", CONNMARK + "''"),
    ("connmark", "0", CONNMARK + "'0'"),
    ("connmark", "1", CONNMARK + "'1'"),
    ("connmark", "7", CONNMARK + "'7'"),
    ("connmark", "-3", CONNMARK + "'-3'"),
    ("connmark", "03", CONNMARK + "'03'"),
    ("connmark", "3 ", CONNMARK + "'3 '"),
    ("connmark", "30000000", CONNMARK + "'30000000'"),
    ("connmark", "0x20000000", CONNMARK + "'0x20000000'"),
    ("connmark", "0x70000000", CONNMARK + "'0x70000000'"),
    ("connmark", "0x300000000", CONNMARK + "'0x300000000'"),
    ("connmark", "0x30000000/0x30000000", CONNMARK + "'0x30000000/0x30000000'"),
    ("interface", ["eth9"], INTERFACE + "'eth9'"),
    ("interface", ["eth0", "wlan0"], INTERFACE + "'wlan0'"),
    ("interface", [""], INTERFACE + "''"),
    ("interface", ["eth 0"], INTERFACE + "'eth 0'"),
    ("interface", ["!eth0"], INTERFACE + "'!eth0'"),
    ("interface", ["eth*"], INTERFACE + "'eth*'"),
    ("interface", ["+"], INTERFACE + "'+'"),
    ("interface", ["eth+0"], INTERFACE + "'eth+0'"),
    ("interface", ["a-name-of-fifteen+"], INTERFACE + "'a-name-of-fifteen+'"),
    ("interface", ["-x+"], INTERFACE + "'-x+'"),
    (
        "interface",
        ["any", "eth0"],
        "ftp_interface: must be any alone, or names and wildcards without any, got ['any', 'eth0']",
    ),
    ("allowed_addresses", ["example.org"], ADDRESS + "'example.org'"),
    ("allowed_addresses", [""], ADDRESS + "''"),
    ("allowed_addresses", ["192.0.2.0/33"], ADDRESS + "'192.0.2.0/33'"),
    ("allowed_addresses", ["192.0.2.256"], ADDRESS + "'192.0.2.256'"),
    ("allowed_addresses", ["192.0.2"], ADDRESS + "'192.0.2'"),
    ("allowed_addresses", ["2001:db8::/129"], ADDRESS + "'2001:db8::/129'"),
    ("allowed_addresses", ["2001:db8::1::2"], ADDRESS + "'2001:db8::1::2'"),
    ("allowed_addresses", ["fe80::1%eth0"], ADDRESS + "'fe80::1%eth0'"),
    ("allowed_addresses", ["192.0.2.1-192.0.2.9"], ADDRESS + "'192.0.2.1-192.0.2.9'"),
    ("allowed_addresses", ["!192.0.2.1"], ADDRESS + "'!192.0.2.1'"),
    (
        "allowed_addresses",
        ["192.0.2.7/24"],
        (
            "ftp_allowed_addresses: 192.0.2.7/24 has bits set behind its prefix; "
            "write the network 192.0.2.0/24 or the address 192.0.2.7"
        ),
    ),
    (
        "allowed_addresses",
        ["2001:db8::7/64"],
        (
            "ftp_allowed_addresses: 2001:db8::7/64 has bits set behind its prefix; "
            "write the network 2001:db8::/64 or the address 2001:db8::7"
        ),
    ),
    (
        "allowed_addresses",
        ["::ffff:192.0.2.1"],
        "ftp_allowed_addresses: ::ffff:192.0.2.1 stands for IPv4 addresses; write 192.0.2.1",
    ),
    ("ip_versions", [], "ftp_ip_versions: must be a list of ipv4, ipv6, got []"),
    ("ip_versions", ["ipv5"], "ftp_ip_versions: must be one of ipv4, ipv6, got 'ipv5'"),
    ("ip_versions", ["4"], "ftp_ip_versions: must be one of ipv4, ipv6, got '4'"),
    ("ip_versions", ["both"], "ftp_ip_versions: must be one of ipv4, ipv6, got 'both'"),
    ("chain_prefix", "", PREFIX + "''"),
    ("chain_prefix", "A" * 20, PREFIX + f"'{'A' * 20}'"),
    ("chain_prefix", "MY FTP", PREFIX + "'MY FTP'"),
    ("chain_prefix", "-FTP", PREFIX + "'-FTP'"),
    ("chain_prefix", "!FTP", PREFIX + "'!FTP'"),
    ("chain_prefix", "FTP;reboot", PREFIX + "'FTP;reboot'"),
    ("chain_prefix", "FTP\n", PREFIX + "'FTP\\n'"),
    ("chain_prefix", "FTÜ", PREFIX + "'FTÜ'"),
    (
        "chain_prefix",
        "FTP-DATA",
        "ftp_chain_prefix: must not end in -DATA, as FTP-DATA-IN is a chain of the prefix FTP too, got 'FTP-DATA'",
    ),
]


@pytest.mark.parametrize(("name", "value", "message"), BAD, ids=[f"{name}={value}" for name, value, _message in BAD])
def test_bad_value_says_what_is_allowed(name: str, value: object, message: str) -> None:
    with pytest.raises(ValueError) as error:
        parse(**{name: value})
    assert str(error.value) == message


TLS = "ftp_tls: the helper cannot read an encrypted control connection, so FTPS opens its data ports without it; "
RANGE_FOR_TLS = (
    "set ftp_passive_ports to the server's range, narrower than 1000 ports "
    "(got {}, {} ports), or set ftp_allowed_addresses"
)
HIGH_PORTS = (
    "in active mode those are all high ports of the client: "
    "set ftp_mode to passive (got {}), or set ftp_allowed_addresses"
)
GATEWAY = {"side": "gateway", "interface": ["eth0"], "out_interface": ["eth1"]}


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"side": "router"}, "ftp_side: must be one of server, client, gateway, got 'router'"),
        (
            {**GATEWAY, "interface": []},
            "ftp_interface: must be set with ftp_side gateway, to where the clients are",
        ),
        (
            {**GATEWAY, "out_interface": []},
            "ftp_out_interface: must be set with ftp_side gateway, to where the servers are",
        ),
        ({**GATEWAY, "out_interface": ["eth9"]}, INTERFACE.replace("ftp_", "ftp_out_", 1) + "'eth9'"),
        (
            {"out_interface": ["eth1"]},
            "ftp_out_interface: is for ftp_side gateway only, got ['eth1'] with ftp_side server",
        ),
        ({"side": "client", "nat": True}, "ftp_nat: is for ftp_side gateway only, got True with ftp_side client"),
        (
            {"side": "client", "server_addresses": ["192.0.2.1"]},
            "ftp_server_addresses: is for ftp_side gateway only, got ['192.0.2.1'] with ftp_side client",
        ),
        (
            {**GATEWAY, "server_addresses": ["192.0.2.7/24"]},
            (
                "ftp_server_addresses: 192.0.2.7/24 has bits set behind its prefix; "
                "write the network 192.0.2.0/24 or the address 192.0.2.7"
            ),
        ),
        (
            {**GATEWAY, "server_addresses": ["example.org"]},
            ADDRESS.replace("ftp_allowed", "ftp_server", 1) + "'example.org'",
        ),
        (
            {**GATEWAY, "server_addresses": ["2001:db8::1"], "ip_versions": ["ipv4"]},
            "ftp_server_addresses: 2001:db8::1/128 is IPv6, but ftp_ip_versions asks for ipv4 only",
        ),
        (
            {**GATEWAY, "server_addresses": ["::ffff:192.0.2.1"]},
            "ftp_server_addresses: ::ffff:192.0.2.1 stands for IPv4 addresses; write 192.0.2.1",
        ),
        ({"tls": True}, TLS + RANGE_FOR_TLS.format("1024:65535", 64512)),
        ({"tls": True, "passive_ports": "50000:50999"}, TLS + RANGE_FOR_TLS.format("50000:50999", 1000)),
        (
            {"tls": True, "allowed_addresses": ["192.0.2.1", "::/0"]},
            TLS + RANGE_FOR_TLS.format("1024:65535", 64512),
        ),
        ({"tls": True, "side": "client", "passive_ports": "50000:50099"}, TLS + HIGH_PORTS.format("both")),
        ({"tls": True, **GATEWAY, "mode": "active"}, TLS + HIGH_PORTS.format("active")),
        (
            {"side": "client", "public_address": "203.0.113.7"},
            "ftp_public_address: is for ftp_side server only, got '203.0.113.7' with ftp_side client",
        ),
        (
            {**GATEWAY, "public_address": "203.0.113.7"},
            "ftp_public_address: is for ftp_side server only, got '203.0.113.7' with ftp_side gateway",
        ),
    ],
)
def test_inputs_that_do_not_go_together(inputs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:
        parse(**inputs)
    assert str(error.value) == message


@pytest.mark.parametrize(
    "inputs",
    [
        {"tls": True, "passive_ports": "50000:50998"},
        {"tls": True, "mode": "active"},
        {"tls": True, "allowed_addresses": ["192.0.2.0/24"]},
        {"tls": True, "side": "client", "mode": "passive", "passive_ports": "50000"},
        {"tls": True, **GATEWAY, "allowed_addresses": ["192.0.2.0/24"]},
        {"tls": True, "state": "absent"},
        {"side": "gateway", "out_interface": ["gone0"], "state": "absent"},
        {"side": "client", "public_address": "auto"},
        {"side": "client", "public_address": "203.0.113.7", "state": "absent"},
    ],
)
def test_inputs_that_go_together(inputs: dict[str, Any]) -> None:
    assert parse(**inputs).side == inputs.get("side", "server")


def test_address_of_a_version_that_is_not_asked_for() -> None:
    with pytest.raises(ValueError) as error:
        parse(allowed_addresses=["192.0.2.0/24", "2001:db8::/32"], ip_versions=["ipv4"])
    assert str(error.value) == "ftp_allowed_addresses: 2001:db8::/32 is IPv6, but ftp_ip_versions asks for ipv4 only"


def test_no_default_route() -> None:
    with pytest.raises(ValueError) as error:
        parse(interface=[], default_interfaces=[])
    assert str(error.value) == (
        "ftp_interface: is not set and this host has no default route to take it from; set it to an interface "
        "of this host (lo, eth0, eth1, br-lan, eth0.100), a wildcard such as eth+, or any"
    )


@pytest.mark.parametrize(
    ("given", "name", "expected"),
    [
        ({"interface": []}, "interfaces", ("eth0",)),
        ({"interface": ["any"]}, "interfaces", (None,)),
        ({"interface": ["eth0", "eth1", "eth0"]}, "interfaces", ("eth0", "eth1")),
        ({"interface": ["eth+", "br-lan"]}, "interfaces", ("eth+", "br-lan")),
        ({"interface": ["gone0"], "state": "absent"}, "interfaces", (None,)),
        ({"control_ports": ["21", "2121", "21", "0021"]}, "control_ports", ("21", "2121")),
        ({"control_ports": ["1", "65535"]}, "control_ports", ("1", "65535")),
        ({}, "data_port", "20"),
        ({"side": "client"}, "data_port", None),
        ({"side": "client", "data_port": "20"}, "data_port", "20"),
        (GATEWAY, "data_port", None),
        (GATEWAY, "out_interfaces", ("eth1",)),
        ({**GATEWAY, "out_interface": ["any"]}, "out_interfaces", (None,)),
        ({"data_port": "any"}, "data_port", None),
        ({"data_port": "2020"}, "data_port", "2020"),
        ({"passive_ports": "50000:50000"}, "passive_ports", "50000"),
        ({"passive_ports": "50000"}, "passive_ports", "50000"),
        ({"passive_ports": "1:65535"}, "passive_ports", "1:65535"),
        ({}, "peers", {"ipv4": (None,), "ipv6": (None,)}),
        ({"ip_versions": ["ipv6"]}, "peers", {"ipv6": (None,)}),
        ({"allowed_addresses": ["192.0.2.1"]}, "peers", {"ipv4": ("192.0.2.1/32",), "ipv6": ()}),
        (
            {"allowed_addresses": ["192.0.2.0/24", "2001:DB8:0::/32", "192.0.2.0/24"]},
            "peers",
            {"ipv4": ("192.0.2.0/24",), "ipv6": ("2001:db8::/32",)},
        ),
        ({"allowed_addresses": ["::192.0.2.1"]}, "peers", {"ipv4": (), "ipv6": ("::192.0.2.1/128",)}),
        ({"allowed_addresses": ["0.0.0.0/0", "192.0.2.1"]}, "peers", {"ipv4": (None,), "ipv6": ()}),
        ({}, "servers", {"ipv4": (None,), "ipv6": (None,)}),
        (GATEWAY, "servers", {"ipv4": (None,), "ipv6": (None,)}),
        ({**GATEWAY, "server_addresses": ["192.0.2.1"]}, "servers", {"ipv4": ("192.0.2.1/32",), "ipv6": ()}),
        ({**GATEWAY, "server_addresses": ["192.0.2.1"]}, "peers", {"ipv4": (None,), "ipv6": (None,)}),
        ({}, "active_ports", "1024:65535"),
        (GATEWAY, "active_ports", "1024:65535"),
        ({"side": "client"}, "active_ports", "32768:60999"),
        ({"side": "client", "active_ports": "50000:50099"}, "active_ports", "50000:50099"),
        ({"active_ports": "50000:50000"}, "active_ports", "50000"),
        ({}, "control_bit", 0x10000000),
        ({}, "closed_bit", 0x20000000),
        ({"connmark": "0x80000001"}, "control_bit", 1),
        ({"connmark": "0X80000001"}, "closed_bit", 0x80000000),
        ({"connmark": "805306368"}, "control_bit", 0x10000000),
        ({"connmark": "3"}, "closed_bit", 2),
        ({"chain_prefix": "A" * 19}, "prefix", "A" * 19),
        ({}, "public_address", None),
        ({"public_address": "auto"}, "public_address", None),
        ({"public_address": "203.0.113.7"}, "public_address", "203.0.113.7"),
        ({"public_address": "ftp.example.org"}, "public_address", "ftp.example.org"),
    ],
)
def test_value_is_brought_into_one_form(given: dict[str, Any], name: str, expected: object) -> None:
    assert getattr(parse(**given), name) == expected


@pytest.mark.parametrize(
    ("inputs", "ip_version", "expected"),
    [
        ({}, "ipv6", True),
        ({"ip_versions": ["ipv4"]}, "ipv6", False),
        ({"allowed_addresses": ["192.0.2.1"]}, "ipv6", False),
        ({**GATEWAY, "server_addresses": ["192.0.2.1"]}, "ipv6", False),
        ({**GATEWAY, "server_addresses": ["192.0.2.1"]}, "ipv4", True),
        ({**GATEWAY, "allowed_addresses": ["2001:db8::1"], "server_addresses": ["192.0.2.1"]}, "ipv4", False),
    ],
)
def test_ip_version_is_open_where_both_ends_have_addresses(
    inputs: dict[str, Any], ip_version: str, expected: object
) -> None:
    assert parse(**inputs).open_over(ip_version) is expected


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ({}, []),
        ({"public_address": "203.0.113.7"}, ["ipv4"]),
        ({"public_address": "203.0.113.7", "mode": "active"}, []),
        ({"public_address": "203.0.113.7", "ip_versions": ["ipv6"]}, []),
        ({"tls": True, "passive_ports": "50000:50099"}, ["ipv4", "ipv6"]),
        ({"tls": True, "passive_ports": "50000:50099", "ip_versions": ["ipv6"]}, ["ipv6"]),
    ],
)
def test_where_data_ports_are_open_to_live_peers(inputs: dict[str, Any], expected: list[str]) -> None:
    options = parse(**inputs)
    assert [ip_version for ip_version in _options.IP_VERSIONS if options.live_over(ip_version)] == expected
    assert options.live is bool(expected)


PUBLIC_RANGE = (
    "ftp_public_address: the server announces 203.0.113.7, which is no address of this host, and the helper believes "
    "no other, so the passive ports are opened without it; CURE, narrower than 1000 ports (got {}, {} ports), or set "
    "ftp_allowed_addresses, or set ftp_public_address to none, with which PASV hangs"
)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, PUBLIC_RANGE.format("1024:65535", 64512)),
        ({"passive_ports": "50000:50999"}, PUBLIC_RANGE.format("50000:50999", 1000)),
        ({"allowed_addresses": ["192.0.2.0/24", "0.0.0.0/0"]}, PUBLIC_RANGE.format("1024:65535", 64512)),
        ({"passive_ports": "50000:50998"}, None),
        ({"allowed_addresses": ["192.0.2.0/24"]}, None),
        ({"allowed_addresses": ["192.0.2.0/24", "::/0"]}, None),
        ({"mode": "active"}, None),
        ({"ip_versions": ["ipv6"]}, None),
        ({"public_address": "none"}, None),
    ],
)
def test_public_address_wants_few_ports_or_known_clients(inputs: dict[str, Any], message: str | None) -> None:
    options = parse(**{"public_address": "203.0.113.7", **inputs})
    if message is None:
        _options.check_public_address(options, "CURE")
        return
    with pytest.raises(ValueError) as error:
        _options.check_public_address(options, "CURE")
    assert str(error.value) == message


@pytest.mark.parametrize(
    "value", ["site-firewall", "rules.timer", "a b.service", "../x.service", "x@.service", ".service"]
)
def test_units_that_systemd_would_not_take(value: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse(restore_after=[value])
    assert str(caught.value) == (
        "ftp_restore_after: must be a list of names of services of systemd with their .service, such as "
        f"site-firewall.service, got {value!r}"
    )


def test_units_that_systemd_takes() -> None:
    names = ["site-firewall.service", "rules@eth0.service", r"srv-a\\x2db.service", "site-firewall.service"]
    assert parse(restore_after=names).restore_after == tuple(names[:3])


def test_unit_of_the_role_does_not_follow_itself() -> None:
    with pytest.raises(ValueError, match="ftp_restore_after: must not be a unit of this role, got "):
        parse(restore_after=["hostfw-conntrack-FTP.service"])


@pytest.mark.parametrize(
    ("inputs", "standing", "expected"),
    [
        ({"interface": ["ppp0"]}, ["ppp0"], ("ppp0",)),
        ({"interface": ["eth0", "ppp0"]}, ["ppp0", "wg0"], ("eth0", "ppp0")),
        ({"interface": []}, ["ppp0"], ("ppp0",)),
        ({**GATEWAY, "interface": ["wg0"]}, ["eth1", "wg0"], ("wg0",)),
    ],
)
def test_interface_that_is_away_stands_where_its_rules_do(
    inputs: dict[str, Any], standing: list[str], expected: tuple[str, ...]
) -> None:
    options = _options.parse({**DEFAULTS, **inputs}, HAS, [], standing=standing)
    assert options.interfaces == expected


@pytest.mark.parametrize("standing", [[], ["ppp0"]])
def test_misspelt_interface_is_an_error(standing: list[str]) -> None:
    with pytest.raises(ValueError) as error:
        _options.parse({**DEFAULTS, "interface": ["pp0"]}, HAS, ["eth0"], standing=standing)
    assert str(error.value) == INTERFACE + "'pp0'"


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ({}, {"modes": ["passive", "active"], "control_ports": ["21"], "ip_versions": ["ipv4", "ipv6"]}),
        ({"mode": "active", "control_ports": ["0990", "21"]}, {"modes": ["active"], "control_ports": ["990", "21"]}),
        ({"ip_versions": ["ipv6"]}, {"ip_versions": ["ipv6"]}),
        ({"allowed_addresses": ["192.0.2.0/24"]}, {"ip_versions": ["ipv4"]}),
        ({"tls": True, "mode": "active"}, {"tls": True}),
        ({"data_port": "any"}, {"data_port": "any"}),
        ({"side": "client"}, {"data_port": "any", "side": "client"}),
        ({}, {"data_port": "20", "side": "server", "mode": "both", "tls": False}),
    ],
    ids=str,
)
def test_inputs_in_one_form(inputs: dict[str, Any], expected: dict[str, Any]) -> None:
    found = _options.understood(parse(**inputs))
    assert {name: found[name] for name in expected} == expected


INPUTS = [f"ftp_{name}" for name in DEFAULTS] + ["ftp_verify"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("ftp_interfaces", "ftp_interface"),
        ("ftp_passive_port", "ftp_passive_ports"),
        ("ftp_control_port", "ftp_control_ports"),
        ("ftp_data_ports", "ftp_data_port"),
        ("ftp_allowed_adresses", "ftp_allowed_addresses"),
        ("ftp_alowed_address", "ftp_allowed_addresses"),
        ("ftp_ip_version", "ftp_ip_versions"),
        ("ftp_modes", "ftp_mode"),
        ("ftp_mdoe", "ftp_mode"),
        ("ftp_TLS", "ftp_tls"),
        ("ftp_conmark", "ftp_connmark"),
        ("ftp_out_interfaces", "ftp_out_interface"),
        ("ftp_ignore_conflict", "ftp_ignore_conflicts"),
        ("ftp_persistant", "ftp_persistent"),
    ],
)
def test_misspelt_input_is_known_by_the_one_it_is_close_to(name: str, meant: str) -> None:
    assert _options.misspelt([*INPUTS, name], INPUTS) == [
        f"{name} is no input of this role and changes nothing in it; if it is meant for it, write {meant}"
    ]


@pytest.mark.parametrize(
    "name",
    [
        *INPUTS,
        "ftp_check_from",
        "ftp_check_report",
        "ftp_user",
        "ftp_users",
        "ftp_password",
        "ftp_port",
        "ftp_ports",
        "ftp_host",
        "ftp_server",
        "ftp_servers",
        "ftp_root",
        "ftp_home",
        "ftp_url",
        "ftp_proxy",
        "ftp_mirror",
        "ftp_packages",
        "ftp_service_name",
        "ftp_anonymous_enable",
        "ftp_banner",
        "ftp_ssl",
        "ftp_node",
        "ftp_site",
        "ftp_status",
        "ftp_stats",
        "ftp_config",
        "ftp_",
    ],
)
def test_variables_of_others_are_no_misspelt_inputs(name: str) -> None:
    assert _options.misspelt([name], INPUTS) == []


def test_groups_add_to_lists() -> None:
    more = {
        "ftp_allowed_addresses__office": ["192.0.2.0/24", "2001:db8::/64"],
        "ftp_allowed_addresses__dmz": "198.51.100.0/24, 192.0.2.0/24",
        "ftp_control_ports__old": [2121],
        "ftp_backup__of": {"others": True},
    }
    assert _options.add({**DEFAULTS, "allowed_addresses": ["203.0.113.9"]}, more) == {
        "allowed_addresses": ["203.0.113.9", "198.51.100.0/24", "192.0.2.0/24", "2001:db8::/64"],
        "control_ports": ["21", "2121"],
    }
    assert _options.misspelt(more, INPUTS) == []
    (told,) = _options.misspelt(["ftp_allowed_adresses__office"], INPUTS)
    assert told.endswith("write ftp_allowed_addresses")


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("ftp_allowed_addresses__office", {"a": 1}, "ftp_allowed_addresses__office: must be a list, got {'a': 1}"),
        ("ftp_interface__more", [["eth1"]], "ftp_interface__more: must be a list, got [['eth1']]"),
        ("ftp_mode__more", ["active"], "ftp_mode__more: ftp_mode is no list; lists are ftp_allowed_addresses, "),
    ],
)
def test_what_cannot_add_to_a_list_is_refused(variable: str, value: object, words: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(words)}"):
        _options.add(DEFAULTS, {variable: value})
