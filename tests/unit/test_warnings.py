"""What the plan warns of, each warning whole, beside what is in order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp import _options
from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp._servers import Server
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables import _ruleset
from ansible_collections.hostfw.conntrack.plugins.module_utils._plan import _marks, _warnings
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
    ruleset = _ruleset.parse("\n".join([f"*{table}", *chains, *rules, "COMMIT", ""]), _marks.TABLES)
    options = _options.parse({**DEFAULTS, "persistent": False, **(inputs or {})}, ["lo", "eth0", "eth1"], [])
    return _warnings.warnings(options, {ip_version: ruleset}, servers, str(tmp_path))


OURS = "the bits 0x30000000 of the connection mark, which"
WRITES = (
    f"writes over {OURS} say whether a control connection is open, so what the role keeps closed may pass, and "
    "FTP may stop"
)
READS = f"reads {OURS} the role's rules set, so it may take FTP for something else"
OTHER_BITS = "set ftp_connmark to two bits that it does not use"


def marks(does: str, line: str, cure: str, program: str = "iptables", table: str = "mangle") -> str:
    """Return the warning of a rule that touches our bits of the connection mark."""
    return f"{program}: a rule in table {table} {does}: {line}; {cure}"


# Each line as iptables-save prints it, 1.8.9 of either variant; before it, how it was added where that is another.
@pytest.mark.parametrize(
    ("line", "does", "cure"),
    [
        # --set-mark 7, --and-mark 0xff, --or-mark 0x30000000, --xor-mark 0x10000000
        ("-j CONNMARK --set-xmark 0x7/0xffffffff", WRITES, "write --set-xmark 0x7/0xcfffffff"),
        ("-j CONNMARK --set-xmark 0x0/0xffffff00", WRITES, f"write --set-xmark 0x0/0xcfffff00, or {OTHER_BITS}"),
        ("-j CONNMARK --set-xmark 0x30000000/0x30000000", WRITES, OTHER_BITS),
        ("-j CONNMARK --set-xmark 0x10000000/0x0", WRITES, OTHER_BITS),
        ("-j CONNMARK --set-xmark 0x0/0x20000000", WRITES, OTHER_BITS),
        ("-j CONNMARK --set-xmark 0x20000007/0xffffffff", WRITES, "let it spare the connections of FTP"),
        (
            "-j CONNMARK --set-xmark 0x1/0xff --left-shift-mark 3",
            WRITES,
            "let it spare the connections of FTP",
        ),
        (
            "-j CONNMARK --save-mark --nfmask 0xffffffff --ctmask 0xffffffff",
            WRITES,
            "write --save-mark --mask 0xcfffffff",
        ),
        (
            "-j CONNMARK --save-mark --nfmask 0xff --ctmask 0xffffffff",
            WRITES,
            "write --save-mark --nfmask 0xff --ctmask 0xcfffffff",
        ),
        # The kernel turns the bits of the packet's mark that the mask of the connection's leaves, too.
        (
            "-j CONNMARK --save-mark --nfmask 0xffffffff --ctmask 0xff",
            WRITES,
            "write --save-mark --nfmask 0xcfffffff --ctmask 0xff",
        ),
        (
            "-j CONNMARK --save-mark --nfmask 0xff0000 --ctmask 0xff000000 --left-shift-mark 8",
            WRITES,
            f"write --save-mark --nfmask 0xcf0000 --ctmask 0xcf000000 --left-shift-mark 8, or {OTHER_BITS}",
        ),
        (
            "-j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffffffff",
            READS,
            "write --restore-mark --mask 0xcfffffff",
        ),
        (
            "-j CONNMARK --restore-mark --nfmask 0xff --ctmask 0x100000ff",
            READS,
            f"write --restore-mark --mask 0xff, or {OTHER_BITS}",
        ),
        ("-m connmark --mark 0x5 -j ACCEPT", READS, "write --mark 0x5/0xcfffffff"),
        ("-m connmark ! --mark 0x0 -j ACCEPT", READS, "write ! --mark 0x0/0xcfffffff"),
        ("-m connmark --mark 0x0/0xf0000000 -j DROP", READS, f"write --mark 0x0/0xc0000000, or {OTHER_BITS}"),
        ("-m connmark --mark 0x10000000/0x10000000 -j DROP", READS, OTHER_BITS),
        ('-m comment --comment "-m connmark" -m connmark --mark 0x5', READS, "write --mark 0x5/0xcfffffff"),
        ("-m comment --comment -j -m connmark --mark 0x5", READS, "write --mark 0x5/0xcfffffff"),
        ("! -p udp -m connmark --mark 0x5", READS, "write --mark 0x5/0xcfffffff"),
        ("-i eth0 -p tcp -m tcp --dport 21 -m connmark --mark 0x5", READS, "write --mark 0x5/0xcfffffff"),
        ("-p tcp -m multiport --dports 80,1000:2000 -m connmark --mark 0x5", READS, "write --mark 0x5/0xcfffffff"),
        ("-p tcp -m tcp ! --dport 80 -m connmark --mark 0x5", READS, "write --mark 0x5/0xcfffffff"),
        # Bits that are not ours
        ("-j CONNMARK --set-xmark 0x1/0xff", None, ""),
        ("-j CONNMARK --set-xmark 0x0/0xcfffffff", None, ""),
        ("-j CONNMARK --set-xmark 0xff/0x0", None, ""),
        ("-j CONNMARK --save-mark --nfmask 0xff --ctmask 0xff", None, ""),
        ("-j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xff", None, ""),
        ("-m connmark --mark 0x5/0xff -j ACCEPT", None, ""),
        # Packets that are not FTP's
        ("-p udp -j CONNMARK --set-xmark 0x7/0xffffffff", None, ""),
        ("! -p tcp -j CONNMARK --set-xmark 0x7/0xffffffff", None, ""),
        ("-i eth1 -j CONNMARK --set-xmark 0x7/0xffffffff", None, ""),
        ("-o lo -j CONNMARK --set-xmark 0x7/0xffffffff", None, ""),
        ("-p tcp -m tcp --dport 443 -j CONNMARK --set-xmark 0x7/0xffffffff", None, ""),
        ("-p tcp -m multiport --sports 80,443 -j CONNMARK --set-xmark 0x7/0xffffffff", None, ""),
        # The packet's mark is another one.
        ("-m mark --mark 0x5 -j CONNMARK --set-xmark 0x5/0xff", None, ""),
        ("-m connmark --mark 0x5/0xff -m mark --mark 0x5", None, ""),
        ("-j MARK --set-xmark 0x3/0xffffffff", None, ""),
        ('-m comment --comment "-m connmark --mark 0x5" -j ACCEPT', None, ""),
        ("-m comment --comment CONNMARK -j ACCEPT", None, ""),
        ("-j CONNMARK  [unsupported revision]", None, ""),
        # Ours
        (
            (
                '-m comment --comment "hostfw.conntrack: control connection: closes" -j CONNMARK '
                "--set-xmark 0x20000000/0x20000000"
            ),
            None,
            "",
        ),
    ],
)
def test_foreign_rules_that_touch_our_bits_of_the_mark(tmp_path: Path, line: str, does: str | None, cure: str) -> None:
    rule = f"-A PREROUTING {line}"
    assert warned(tmp_path, [rule], table="mangle") == ([marks(does, rule, cure)] if does else [])


SET = "-j CONNMARK --set-xmark 0x7/0xffffffff"
NARROWED = "write --set-xmark 0x7/0xcfffffff"


@pytest.mark.parametrize("table", ["raw", "mangle", "nat", "filter"])
def test_marks_in_each_table(tmp_path: Path, table: str) -> None:
    rule = f"-A OUTPUT {SET}"
    expected = [marks(WRITES, rule, NARROWED, table=table)]
    assert warned(tmp_path, [rule], table=table, policies="ACCEPT") == expected
    expected = [marks(WRITES, rule, NARROWED, "ip6tables", table)]
    assert warned(tmp_path, [rule], ip_version="ipv6", table=table, policies="ACCEPT") == expected


@pytest.mark.parametrize(
    ("rules", "inputs", "expected"),
    [
        (["-A PREROUTING -p tcp -j one", "-A one -g two", f"-A two {SET}"], {}, [f"-A two {SET}"]),
        (["-A PREROUTING -p udp -j one", f"-A one {SET}"], {}, []),
        (["-A PREROUTING -i eth1 -j one", f"-A one {SET}"], {}, []),
        (["-A PREROUTING -i eth1 -j one", f"-A one {SET}"], {"interface": ["any"]}, [f"-A one {SET}"]),
        (["-A PREROUTING -i eth1 -j one", f"-A one {SET}"], GATEWAY, [f"-A one {SET}"]),
        (["-A PREROUTING -j one", f"-A one {SET}", "-A one -j one"], {}, [f"-A one {SET}"]),
        ([f"-A nowhere {SET}"], {}, []),
        ([f"-A PREROUTING {SET}", f"-A OUTPUT {SET}"], {}, [f"-A PREROUTING {SET}", f"-A OUTPUT {SET}"]),
        (
            [f"-A PREROUTING -p tcp -m tcp --dport 443 {SET}"],
            {"control_ports": ["443"]},
            [f"-A PREROUTING -p tcp -m tcp --dport 443 {SET}"],
        ),
        (
            [f"-A PREROUTING -p tcp -m tcp --dport 443 {SET}"],
            {"passive_ports": "400:500"},
            [f"-A PREROUTING -p tcp -m tcp --dport 443 {SET}"],
        ),
        ([f"-A PREROUTING {SET}"], {"state": "absent"}, []),
        ([f"-A PREROUTING {SET}"], {"allowed_addresses": ["2001:db8::1"]}, []),
        ([f"-A PREROUTING {SET}"], {**GATEWAY, "server_addresses": ["2001:db8::1"]}, []),
    ],
)
def test_chains_that_ftp_gets_to(tmp_path: Path, rules: list[str], inputs: dict[str, Any], expected: list[str]) -> None:
    assert warned(tmp_path, rules, inputs, table="mangle") == [marks(WRITES, rule, NARROWED) for rule in expected]


@pytest.mark.parametrize(
    ("connmark", "expected"),
    [
        ("0xc0", [marks(WRITES.replace("0x30000000", "0xc0"), "X", f"write --set-xmark 0x7/0x3f, or {OTHER_BITS}")]),
        ("0x3", [marks(WRITES.replace("0x30000000", "0x3"), "X", OTHER_BITS)]),
        ("0x300", []),
    ],
)
def test_marks_with_other_bits_of_ours(tmp_path: Path, connmark: str, expected: list[str]) -> None:
    rule = "-A PREROUTING -j CONNMARK --set-xmark 0x7/0xff"
    found = warned(tmp_path, [rule], {"connmark": connmark}, table="mangle")
    assert [warning.replace(rule, "X") for warning in found] == expected


# What Linux has, but for the one that is changed.
SYSCTLS = {
    "timeout_established": "432000",
    "timeout_max_retrans": "300",
    "timeout_unacknowledged": "300",
    "timeout_fin_wait": "120",
    "timeout_close_wait": "60",
    "timeout_last_ack": "30",
    "timeout_time_wait": "120",
    "timeout_close": "10",
    "be_liberal": "0",
}
FORGED = "so a stranger who knows a client's address can end its transfers with forged segments; set it"
STAYS = (
    "so a control connection that has closed counts as open, and a port that it announced may stay open, too; set it"
)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("be_liberal", "0", None),
        ("timeout_established", "121", None),
        ("timeout_established", "120", f"{FORGED} above 120"),
        ("timeout_max_retrans", "60", f"{FORGED} above 120"),
        ("timeout_unacknowledged", "100", f"{FORGED} above 120"),
        ("timeout_fin_wait", "121", f"{STAYS} to 120 or less"),
        ("timeout_fin_wait", "30", None),
        ("timeout_close", "300", f"{STAYS} to 120 or less"),
        # As kube-proxy sets it; no FIN and no RST leads to it.
        ("timeout_close_wait", "3600", None),
        ("be_liberal", "1", f"{FORGED} to 0"),
    ],
)
def test_how_the_end_of_a_connection_is_told(tmp_path: Path, name: str, value: str, expected: str | None) -> None:
    folder = tmp_path / "proc/sys/net/netfilter"
    folder.mkdir(parents=True)
    for each, usual in SYSCTLS.items():
        (folder / f"nf_conntrack_tcp_{each}").write_text(f"{value if each == name else usual}\n")
    found = [f"net.netfilter.nf_conntrack_tcp_{name} is {value}, {expected}"] if expected else []
    assert warned(tmp_path, [], policies="ACCEPT") == found
    assert warned(tmp_path, [], {"state": "absent"}, policies="ACCEPT") == []


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
        ("-A POSTROUTING -o eth2 -j MASQUERADE", GATEWAY, "ipv4", []),
        ("-A POSTROUTING -p udp -o eth1 -j MASQUERADE", GATEWAY, "ipv4", []),
        (
            "-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80",
            GATEWAY,
            "ipv4",
            [],
        ),
        ("-A PREROUTING -p udp -m udp --dport 53 -j DNAT --to-destination 192.0.2.1:53", GATEWAY, "ipv4", []),
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


HERE = "which ftp_control_ports does not have, so INPUT drops it"
REDIRECT = "-A PREROUTING -p tcp -m tcp --dport 21 -j REDIRECT --to-ports 2121"
LOCAL = "-A PREROUTING -p tcp -m tcp --dport 21 -j DNAT --to-destination"


# Each as iptables-save prints it, 1.8.9.
@pytest.mark.parametrize(
    ("rule", "inputs", "ports"),
    [
        (REDIRECT, {}, ("21", "2121")),
        (f"{LOCAL} :2121", {}, ("21", "2121")),
        (f"{LOCAL} 10.0.0.5:2121", {}, ("21", "2121")),
        (f"{LOCAL} 127.0.0.1:2121", {}, ("21", "2121")),
        (
            "-A PREROUTING -p tcp -m multiport --dports 990,21 -j REDIRECT --to-ports 2121-2122 --random",
            {},
            ("21", "2121-2122"),
        ),
        ("-A ours -p tcp -m tcp --dport 21 -j REDIRECT --to-ports 2121", {}, ("21", "2121")),
        (REDIRECT, {"control_ports": ["21", "2121"]}, None),
        (REDIRECT, {"control_ports": ["990"]}, None),
        (REDIRECT, {"side": "client"}, None),
        (REDIRECT, {**GATEWAY, "nat": True}, None),
        (REDIRECT, {"state": "absent"}, None),
        ("-A PREROUTING -p tcp -m tcp --dport 21 -j REDIRECT", {}, None),
        ("-A PREROUTING -p udp -m udp --dport 21 -j REDIRECT --to-ports 2121", {}, None),
        ("-A PREROUTING -i eth1 -p tcp -m tcp --dport 21 -j REDIRECT --to-ports 2121", {}, None),
        ("-A OUTPUT -p tcp -m tcp --dport 21 -j REDIRECT --to-ports 2121", {}, None),
        (f"{LOCAL} 10.0.0.5", {}, None),
    ],
)
def test_port_that_is_sent_to_another_one_of_the_host(
    tmp_path: Path, rule: str, inputs: dict[str, Any], ports: tuple[str, str] | None
) -> None:
    (tmp_path / "proc/net").mkdir(parents=True)
    (tmp_path / "proc/net/fib_trie").write_text("|-- 10.0.0.5\n/32 host LOCAL\n|-- 127.0.0.1\n/32 host LOCAL\n")
    before, after = ports or ("", "")
    expected = f"iptables sends port {before} to port {after}, {HERE}: {rule}; add {after} to ftp_control_ports"
    assert warned(tmp_path, [rule], inputs, table="nat") == ([expected] if ports else [])


DOCKER = "-A DOCKER ! -i docker0 -p tcp -m tcp --dport 21 -j DNAT --to-destination"


@pytest.mark.parametrize(
    ("rule", "inputs", "servers", "address"),
    [
        (f"{DOCKER} 172.17.0.2:21", {}, (), "172.17.0.2"),
        (f"{DOCKER} 172.17.0.2:2121", {}, (), "172.17.0.2"),
        (f"{LOCAL} 192.0.2.1", {}, (), "192.0.2.1"),
        (f"{LOCAL} 192.0.2.1 --random", {}, (), "192.0.2.1"),
        (
            f"{DOCKER} 172.17.0.2:21",
            {},
            (Server("vsftpd", "/etc/vsftpd.conf", "50000", "pasv_max_port", passive=True, active=True),),
            None,
        ),
        (f"{DOCKER.replace('21', '80')} 172.17.0.2:80", {}, (), None),
        (f"{DOCKER} 172.17.0.2:21", {**GATEWAY, "nat": True}, (), None),
    ],
)
def test_port_that_is_published_for_another_host(
    tmp_path: Path, rule: str, inputs: dict[str, Any], servers: tuple[Server, ...], address: str | None
) -> None:
    found = [line for line in warned(tmp_path, [rule], inputs, table="nat", servers=servers) if "sends port" in line]
    assert [line.partition(", so ")[0] for line in found] == (
        [f"iptables sends port 21 on to {address}"] if address else []
    )


def test_port_that_is_sent_to_another_one_of_the_host_over_ipv6(tmp_path: Path) -> None:
    assert warned(tmp_path, [REDIRECT], {}, "ipv6", table="nat") == [
        f"ip6tables sends port 21 to port 2121, {HERE}: {REDIRECT}; add 2121 to ftp_control_ports"
    ]


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
        (False, False, []),
        (True, True, []),
    ],
)
def test_nothing_loads_the_rules_at_boot(tmp_path: Path, systemd: bool, persistent: bool, expected: list[str]) -> None:
    if systemd:
        (tmp_path / "run/systemd/system").mkdir(parents=True)
    assert warned(tmp_path, [], {"persistent": persistent}, policies="ACCEPT") == expected
