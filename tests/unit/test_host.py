"""What the host says of itself, from files of real hosts."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.hostfw.conntrack.plugins.module_utils._host import _host

HEAD = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
ETH0 = "eth0\t00000000\t010011AC\t0003\t0\t0\t100\t00000000\t0\t0\t0\n"
WLAN0 = "wlan0\t00000000\t0100A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n"
LOCAL = "eth0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n"
REJECT = "lo\t00000000\t00000000\t0203\t0\t0\t0\t00000000\t0\t0\t0\n"

ZERO = "00000000000000000000000000000000"
ETH1_6 = f"{ZERO} 00 {ZERO} 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003     eth1\n"
LO_6 = f"{ZERO} 00 {ZERO} 00 {ZERO} ffffffff 00000001 00000000 00200200       lo\n"
NET_6 = f"20010db8000000000000000000000000 40 {ZERO} 00 {ZERO} 00000100 00000001 00000000 00000001     eth1\n"


@pytest.mark.parametrize(
    ("ipv4", "ipv6", "expected"),
    [
        (HEAD + ETH0 + LOCAL, LO_6, ["eth0"]),
        (HEAD + WLAN0 + ETH0, LO_6, ["eth0"]),
        (HEAD + ETH0, NET_6 + ETH1_6 + LO_6, ["eth0", "eth1"]),
        (HEAD + LOCAL, ETH1_6, ["eth1"]),
        (HEAD + ETH0, ETH1_6.replace("eth1", "eth0"), ["eth0"]),
        (HEAD + LOCAL + REJECT, NET_6 + LO_6, []),
        (HEAD, None, []),
        (None, None, []),
    ],
)
def test_interfaces_of_the_default_routes(
    tmp_path: Path, ipv4: str | None, ipv6: str | None, expected: list[str]
) -> None:
    (tmp_path / "proc/net").mkdir(parents=True)
    for name, text in (("route", ipv4), ("ipv6_route", ipv6)):
        if text is not None:
            (tmp_path / "proc/net" / name).write_text(text, encoding="utf-8")
    assert _host.default_interfaces(str(tmp_path)) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("32768\t60999\n", "32768:60999"), ("1024 65000\n", "1024:65000"), ("", None), (None, None)]
)
def test_ports_of_programs(tmp_path: Path, text: str | None, expected: str | None) -> None:
    file = tmp_path / "proc/sys/net/ipv4/ip_local_port_range"
    file.parent.mkdir(parents=True)
    if text is not None:
        file.write_text(text, encoding="utf-8")
    assert _host.local_ports(str(tmp_path)) == expected


def test_names_and_wildcards_that_match_nothing() -> None:
    assert _host.unmatched(["eth+", "wlan+", "lo", None, "ppp0"], ["lo", "eth0"]) == ["wlan+", "ppp0"]
    assert _host.unmatched([None], ["lo"]) == []


def test_helper_is_ready_where_the_kernel_has_it(tmp_path: Path) -> None:
    assert not _host.helper_ready("nf_conntrack_ftp", str(tmp_path))
    (tmp_path / "sys/module/nf_conntrack_ftp/parameters").mkdir(parents=True)
    assert _host.helper_ready("nf_conntrack_ftp", str(tmp_path))


DEP = """kernel/net/netfilter/nf_conntrack_ftp.ko: kernel/net/netfilter/nf_conntrack.ko
kernel/net/netfilter/nf-conntrack-irc.ko.xz: kernel/net/netfilter/nf_conntrack.ko.xz
"""


@pytest.mark.parametrize(
    ("proc", "folder", "dep", "module", "expected"),
    [
        (True, True, DEP, "nf_conntrack_ftp", None),
        (True, True, DEP, "nf_conntrack_irc", None),
        (True, True, DEP, "nf_conntrack", "/lib/modules/6.1.0-44-amd64 does not have it"),
        (True, True, None, "nf_conntrack_ftp", "there is no /lib/modules/6.1.0-44-amd64/modules.dep"),
        (True, False, None, "nf_conntrack_ftp", "there is no /lib/modules/6.1.0-44-amd64"),
        (False, True, DEP, "nf_conntrack_ftp", "this kernel loads no modules (there is no /proc/modules)"),
    ],
)
def test_module_that_cannot_be_loaded(
    tmp_path: Path, proc: bool, folder: bool, dep: str | None, module: str, expected: str | None
) -> None:
    if proc:
        (tmp_path / "proc").mkdir()
        (tmp_path / "proc/modules").touch()
    modules = tmp_path / "lib/modules/6.1.0-44-amd64"
    if folder:
        modules.mkdir(parents=True)
        if dep is not None:
            (modules / "modules.dep").write_text(dep, encoding="utf-8")
    assert _host.module_missing(module, "6.1.0-44-amd64", str(tmp_path)) == expected


# As the kernel prints it in a container with 172.20.0.2 on eth0, and 198.51.100.64 on lo.
FIB_TRIE = """\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 127.0.0.0/8 2 0 2
        +-- 127.0.0.0/31 1 0 0
           |-- 127.0.0.0
              /8 host LOCAL
           |-- 127.0.0.1
              /32 host LOCAL
        |-- 127.255.255.255
           /32 link BROADCAST
     +-- 172.20.0.0/16 2 0 2
        +-- 172.20.0.0/30 2 0 2
           |-- 172.20.0.0
              /16 link UNICAST
           |-- 172.20.0.2
              /32 host LOCAL
        |-- 172.20.255.255
           /32 link BROADCAST
     |-- 198.51.100.64
        /32 host LOCAL
     |-- 203.0.113.9
        /32 universe UNICAST
"""


def test_addresses_of_the_host(tmp_path: Path) -> None:
    assert _host.addresses(str(tmp_path)) == []
    (tmp_path / "proc/net").mkdir(parents=True)
    (tmp_path / "proc/net/fib_trie").write_text(FIB_TRIE + FIB_TRIE.replace("Main", "Local"), encoding="utf-8")
    assert _host.addresses(str(tmp_path)) == ["127.0.0.1", "172.20.0.2", "198.51.100.64"]


ROUTES = """\
Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth0	00000000	010014AC	0003	0	0	0	00000000	0	0	0
eth0	000014AC	00000000	0001	0	0	0	0000FFFF	0	0	0
tun0	0000000A	010014AC	0003	0	0	0	000000FF	0	0	0
"""
INTERFACES = """\
00000000000000000000000000000001 01 80 10 80       lo
20010db8000000000000000000000002 02 40 00 80     eth0
fe800000000000000042acfffe140002 02 40 20 80     eth0
"""


def test_networks_that_the_host_is_on(tmp_path: Path) -> None:
    assert _host.networks(str(tmp_path)) == []
    (tmp_path / "proc/net").mkdir(parents=True)
    (tmp_path / "proc/net/route").write_text(ROUTES, encoding="utf-8")
    (tmp_path / "proc/net/if_inet6").write_text(INTERFACES, encoding="utf-8")
    assert _host.networks(str(tmp_path)) == ["172.20.0.0/16", "2001:db8::/64", "fe80::/64"]


def test_lists_of_packages_are_stale_with_apt_only(tmp_path: Path) -> None:
    assert not _host.stale_lists(str(tmp_path))
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/debian_version").write_text("12.5\n", encoding="utf-8")
    assert _host.stale_lists(str(tmp_path))


def test_tables_of_the_legacy_variant(tmp_path: Path) -> None:
    net = tmp_path / "proc/net"
    net.mkdir(parents=True)
    assert not _host.legacy_tables("ipv4", str(tmp_path))
    (net / "ip_tables_names").write_text("filter\nnat\n")
    (net / "ip6_tables_names").write_text("")
    assert [_host.legacy_tables(ip_version, str(tmp_path)) for ip_version in ("ipv4", "ipv6")] == [True, False]
