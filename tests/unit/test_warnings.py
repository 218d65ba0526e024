"""What the plan warns of, each warning whole, beside what is in order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.hostfw.conntrack.plugins.module_utils import _options, _ruleset, _warnings
from ansible_collections.hostfw.conntrack.plugins.module_utils._servers import Server
from ansible_collections.hostfw.conntrack.tests.unit.test_options import DEFAULTS

GATEWAY = {"side": "gateway", "interface": ["eth0"], "out_interface": ["eth1"]}
NEIGHBOURS = "-p ipv6-icmp -m icmp6 --icmpv6-type"
ALL_NEIGHBOURS = [
    f"-A {chain} {NEIGHBOURS} {number} -j ACCEPT" for chain in ("INPUT", "OUTPUT") for number in (135, 136)
]


def warned(
    tmp_path: Path,
    rules: list[str],
    inputs: dict[str, Any] | None = None,
    ip_version: str = "ipv4",
    policies: str = "DROP",
    table: str = "filter",
    servers: tuple[Server, ...] = (),
) -> list[str]:
    """Return the warnings for a host with some rules."""
    chains = [f":{chain} {policies} [0:0]" for chain in ("INPUT", "FORWARD", "OUTPUT")] if table == "filter" else []
    ruleset = _ruleset.parse("\n".join([f"*{table}", *chains, *rules, "COMMIT", ""]), ["filter", "nat"])
    options = _options.parse({**DEFAULTS, "persistent": False, **(inputs or {})}, ["lo", "eth0", "eth1"], [])
    return _warnings.warnings(options, {ip_version: ruleset}, servers, str(tmp_path))


def related(program: str, chain: str, line: str, icmp: str = "icmp") -> str:
    """Return the warning of a rule that accepts RELATED from any helper."""
    return (
        f"{program} accepts RELATED from any helper, to any port, in {chain}, so the role's restrictions end at this "
        f"rule: {line}; let it accept ESTABLISHED only, and RELATED with -p {icmp} only"
    )


IN = "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
UFW = "-A before -m state --state RELATED,ESTABLISHED -j ACCEPT"
FORWARD = "-A FORWARD -i eth1 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"


@pytest.mark.parametrize(
    ("rules", "inputs", "policies", "expected"),
    [
        ([IN], {}, "DROP", [related("iptables", "INPUT", IN)]),
        ([UFW, "-A INPUT -j before"], {}, "DROP", [related("iptables", "INPUT", UFW)]),
        ([IN, "-A INPUT -j REJECT"], {}, "ACCEPT", [related("iptables", "INPUT", IN)]),
        ([FORWARD], GATEWAY, "DROP", [related("iptables", "FORWARD", FORWARD)]),
        ([IN], {}, "ACCEPT", []),
        ([IN], GATEWAY, "DROP", []),
        ([IN], {"state": "absent"}, "DROP", []),
        ([IN], {"ip_versions": ["ipv6"]}, "DROP", []),
        (["-A INPUT -i lo -m conntrack --ctstate RELATED -j ACCEPT"], {}, "DROP", []),
        (["-A INPUT -p icmp -m conntrack --ctstate RELATED -j ACCEPT"], {}, "DROP", []),
        (["-A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT"], {}, "DROP", []),
        (["-A INPUT -m conntrack --ctstate RELATED -m helper --helper ftp -j ACCEPT"], {}, "DROP", []),
        (["-A INPUT -m conntrack --ctstate RELATED -j LOG"], {}, "DROP", []),
        (["-A INPUT -i eth0 -j ACCEPT"], {}, "DROP", []),
    ],
)
def test_related_from_any_helper(
    tmp_path: Path, rules: list[str], inputs: dict[str, Any], policies: str, expected: list[str]
) -> None:
    assert warned(tmp_path, rules, inputs, policies=policies) == expected


def neighbours(words: str, chain: str, number: int) -> str:
    """Return the warning of neighbour discovery that is dropped."""
    return (
        f"ip6tables drops neighbour {words} in {chain} on eth0, so nothing of IPv6 can pass there; "
        f"accept them: ip6tables -I {chain} -p ipv6-icmp --icmpv6-type {number} -j ACCEPT"
    )


@pytest.mark.parametrize(
    ("rules", "policies", "expected"),
    [
        (ALL_NEIGHBOURS, "DROP", []),
        ([], "ACCEPT", []),
        (["-A INPUT -p ipv6-icmp -j ACCEPT", "-A OUTPUT -j ACCEPT"], "DROP", []),
        (["-A INPUT -p ipv6-icmp -j nd", "-A OUTPUT -j nd", "-A nd -m hl --hl-eq 255 -j ACCEPT"], "DROP", []),
        (
            [],
            "DROP",
            [
                neighbours(words, chain, number)
                for chain in ("INPUT", "OUTPUT")
                for words, number in (("solicitations", 135), ("advertisements", 136))
            ],
        ),
        (ALL_NEIGHBOURS[1:], "DROP", [neighbours("solicitations", "INPUT", 135)]),
        (
            ["-A INPUT -p ipv6-icmp -j DROP", *ALL_NEIGHBOURS[:2]],
            "ACCEPT",
            [neighbours("solicitations", "INPUT", 135), neighbours("advertisements", "INPUT", 136)],
        ),
        (
            ["-A INPUT -j DROP"],
            "ACCEPT",
            [neighbours("solicitations", "INPUT", 135), neighbours("advertisements", "INPUT", 136)],
        ),
        # The kernel tracks no neighbour discovery.
        (
            [f"-A INPUT {NEIGHBOURS} 135 -m conntrack --ctstate NEW -j ACCEPT", *ALL_NEIGHBOURS[1:]],
            "DROP",
            [neighbours("solicitations", "INPUT", 135)],
        ),
        (["-A INPUT -p ipv6-icmp -j back", "-A back -j RETURN", *ALL_NEIGHBOURS], "DROP", []),
    ],
)
def test_neighbour_discovery(tmp_path: Path, rules: list[str], policies: str, expected: list[str]) -> None:
    assert warned(tmp_path, rules, ip_version="ipv6", policies=policies) == expected


MASQUERADE = "-A POSTROUTING -o eth1 -j MASQUERADE"
DNAT = "-A PREROUTING -p tcp -m tcp --dport 2121 -j DNAT --to-destination 192.0.2.1:21"
DNAT6 = "-A PREROUTING -p tcp -m tcp --dport 21 -j DNAT --to-destination [2001:db8::1]:2121"
NO_HELPER = "translates addresses, and nf_nat_ftp, which translates those that FTP announces, is not loaded"
NOT_FORWARDED = "which ftp_control_ports does not have, so FORWARD drops it"
IF_FTP = "set ftp_nat to true if FTP passes this rule"


@pytest.mark.parametrize(
    ("rule", "inputs", "ip_version", "expected"),
    [
        (MASQUERADE, GATEWAY, "ipv4", [f"iptables {NO_HELPER}: {MASQUERADE}; {IF_FTP}"]),
        (MASQUERADE, {**GATEWAY, "nat": True}, "ipv4", []),
        ("-A POSTROUTING -j LOG", GATEWAY, "ipv4", []),
        (
            DNAT,
            {**GATEWAY, "nat": True, "control_ports": ["2121"]},
            "ipv4",
            [f"iptables sends port 2121 to port 21, {NOT_FORWARDED}: {DNAT}; add 21 to ftp_control_ports"],
        ),
        (
            DNAT6,
            {**GATEWAY, "nat": True},
            "ipv6",
            [f"ip6tables sends port 21 to port 2121, {NOT_FORWARDED}: {DNAT6}; add 2121 to ftp_control_ports"],
        ),
        (DNAT, {**GATEWAY, "nat": True, "control_ports": ["21", "2121"]}, "ipv4", []),
        (DNAT, {**GATEWAY, "nat": True}, "ipv4", []),
        (DNAT6.replace("[2001:db8::1]:2121", "2001:db8::2"), {**GATEWAY, "nat": True}, "ipv6", []),
        (MASQUERADE, {}, "ipv4", []),
    ],
)
def test_nat(tmp_path: Path, rule: str, inputs: dict[str, Any], ip_version: str, expected: list[str]) -> None:
    assert warned(tmp_path, [rule], inputs, ip_version, table="nat") == expected


LOOSE = (
    "the FTP helper's parameter loose is on: a server, or a client, can make it expect a data connection with a third "
    "host; write N to /sys/module/nf_conntrack_ftp/parameters/loose, and take loose from the files in /etc/modprobe.d"
)


@pytest.mark.parametrize(("value", "expected"), [("Y\n", 1), ("N\n", 0), (None, 0)])
def test_loose_helper(tmp_path: Path, value: str | None, expected: int) -> None:
    if value:
        (tmp_path / "sys/module/nf_conntrack_ftp/parameters").mkdir(parents=True)
        (tmp_path / "sys/module/nf_conntrack_ftp/parameters/loose").write_text(value)
    assert warned(tmp_path, []) == [LOOSE] * expected


@pytest.mark.parametrize(
    ("inputs", "value", "ip_version", "expected"),
    [
        (GATEWAY, "0", "ipv4", ["this gateway does not forward ipv4: net.ipv4.ip_forward is 0; set it to 1"]),
        (GATEWAY, "0", "ipv6", ["this gateway does not forward ipv6: net.ipv6.conf.all.forwarding is 0; set it to 1"]),
        (GATEWAY, "1", "ipv4", []),
        ({}, "0", "ipv4", []),
    ],
)
def test_forwarding(tmp_path: Path, inputs: dict[str, Any], value: str, ip_version: str, expected: list[str]) -> None:
    for name in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        path = tmp_path / "proc/sys/net" / name
        path.parent.mkdir(parents=True)
        path.write_text(f"{value}\n")
    assert warned(tmp_path, [], inputs, ip_version, policies="ACCEPT") == expected


@pytest.mark.parametrize(
    ("mode", "passive", "active", "expected"),
    [
        (
            "passive",
            False,
            True,
            ["ftp_mode passive lets passive mode through, which vsftpd forbids in /etc/vsftpd.conf"],
        ),
        ("both", True, False, ["ftp_mode both lets active mode through, which vsftpd forbids in /etc/vsftpd.conf"]),
        ("active", False, True, []),
        ("both", True, True, []),
    ],
)
def test_mode_that_the_server_forbids(
    tmp_path: Path, mode: str, passive: bool, active: bool, expected: list[str]
) -> None:
    server = Server("vsftpd", "/etc/vsftpd.conf", None, "pasv_enable", passive=passive, active=active)
    assert warned(tmp_path, [], {"mode": mode}, policies="ACCEPT", servers=(server,)) == expected


PORT_20 = (
    "proftpd opens active data connections from any port, unless RootRevoke is off in /etc/proftpd.conf, "
    "and not from port 20 only; set ftp_data_port to any"
)


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ({}, [PORT_20]),
        ({"data_port": "any"}, []),
        ({"mode": "passive"}, []),
    ],
)
def test_proftpd_does_not_use_port_20(tmp_path: Path, inputs: dict[str, Any], expected: list[str]) -> None:
    server = Server("proftpd", "/etc/proftpd.conf", None, "PassivePorts", passive=True, active=True)
    assert warned(tmp_path, [], inputs, policies="ACCEPT", servers=(server,)) == expected


FTPS = {"tls": True, "passive_ports": "50000:50099"}
NO_IPSETS = (
    "{} loads no rule at all at boot where one of those that it has saved names an ipset that is not there, such as "
    "FTP-LIVE-IPV4; install {} before you save the rules"
)


@pytest.mark.parametrize(
    ("files", "inputs", "expected"),
    [
        (
            ["usr/share/netfilter-persistent/plugins.d/15-ip4tables"],
            FTPS,
            [NO_IPSETS.format("iptables-persistent", "ipset-persistent")],
        ),
        (["usr/lib/systemd/system/iptables.service"], FTPS, [NO_IPSETS.format("iptables-services", "ipset-service")]),
        (
            [f"usr/share/netfilter-persistent/plugins.d/{name}" for name in ("10-ipset", "15-ip4tables")],
            FTPS,
            [],
        ),
        (["usr/share/netfilter-persistent/plugins.d/15-ip4tables"], {}, []),
        ([], FTPS, []),
    ],
)
def test_saved_rules_without_their_ipsets(
    tmp_path: Path, files: list[str], inputs: dict[str, Any], expected: list[str]
) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert warned(tmp_path, [], inputs, policies="ACCEPT") == expected


NO_SYSTEMD = (
    "ftp_persistent: this host runs no systemd, so nothing loads the stored rules at boot; let its init run sh "
    "/etc/hostfw-conntrack/FTP/restore, or set ftp_persistent to false"
)


@pytest.mark.parametrize(
    ("systemd", "persistent", "expected"),
    [
        (
            False,
            True,
            [NO_SYSTEMD],
        ),
        (False, False, [NO_IPSETS.format("iptables-services", "ipset-service")]),
        (True, True, []),
    ],
)
def test_nothing_loads_the_rules_at_boot(tmp_path: Path, systemd: bool, persistent: bool, expected: list[str]) -> None:
    if systemd:
        (tmp_path / "run/systemd/system").mkdir(parents=True)
    if not persistent:
        (tmp_path / "usr/lib/systemd/system").mkdir(parents=True)
        (tmp_path / "usr/lib/systemd/system/iptables.service").touch()
    inputs = {**FTPS, "persistent": persistent}
    assert warned(tmp_path, [], inputs, policies="ACCEPT") == expected
