# Copyright (c) hostfw.conntrack contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the host says of itself in /proc, /sys and /lib/modules."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Iterable
from pathlib import Path

# RTF_UP and RTF_REJECT in the kernel's route.h.
ROUTE_UP = 0x0001
ROUTE_REJECT = 0x0200

HELPER = "nf_conntrack_ftp"
NAT_HELPER = "nf_nat_ftp"
BUILT_IN = "lib/modules/{}/modules.builtin"

PACKAGE_MANAGERS = ("apt-get", "dnf", "dnf5", "yum", "microdnf", "zypper", "apk", "pacman")


def interfaces() -> list[str]:
    """Return the names of the interfaces, in the kernel's order."""
    return [name for _index, name in socket.if_nameindex()]


def unmatched(wanted: Iterable[str | None], names: Iterable[str]) -> list[str]:
    """Return the names and wildcards that match none of the names."""
    names = list(names)
    return [
        each
        for each in wanted
        if each is not None
        and each not in names
        and not (each.endswith("+") and any(name.startswith(each[:-1]) for name in names))
    ]


def stale_lists(root: str = "/") -> bool:
    """Tell whether packages come by apt, which does not fetch their lists itself, and finds none on a new image."""
    return Path(root, "etc/debian_version").exists()


def default_interfaces(root: str = "/") -> list[str]:
    """Return the interface of the default route of IPv4, then that of IPv6 where it is another."""
    best: dict[str, tuple[int, str]] = {}
    for row in _rows(root, "proc/net/route"):
        # Iface Destination Gateway Flags RefCnt Use Metric Mask ...; numbers but Metric in hex
        if row[1] == "00000000" and row[7] == "00000000" and _usable(row[3]):
            best["ipv4"] = min(best.get("ipv4", (int(row[6]), row[0])), (int(row[6]), row[0]))
    for row in _rows(root, "proc/net/ipv6_route"):
        # destination length source length next-hop metric refcnt use flags interface; in hex
        if row[0] == "0" * 32 and row[1] == "00" and _usable(row[8]) and row[9] != "lo":
            best["ipv6"] = min(best.get("ipv6", (int(row[5], 16), row[9])), (int(row[5], 16), row[9]))
    return list(dict.fromkeys(name for _metric, name in best.values()))


def addresses(root: str = "/") -> list[str]:
    """Return the IPv4 addresses of the host, each once."""
    lines = [" ".join(row) for row in _rows(root, "proc/net/fib_trie")]
    local = [line for line, following in zip(lines, lines[1:]) if following == "/32 host LOCAL"]
    return list(dict.fromkeys(line.replace("|-- ", "") for line in local))


def networks(root: str = "/") -> list[str]:
    """Return the networks that the host is on, of both IP versions, each once."""
    found = []
    for row in _rows(root, "proc/net/route"):
        if row[0] != "lo" and row[2] == "00000000" and row[7] != "00000000" and _usable(row[3]):
            network, mask = (ipaddress.IPv4Address(int(text, 16).to_bytes(4, "little")) for text in (row[1], row[7]))
            found.append(str(ipaddress.ip_network(f"{network}/{mask}")))
    for row in _rows(root, "proc/net/if_inet6"):
        # address index length scope flags interface; in hex
        if row[5] != "lo":
            address = ipaddress.IPv6Address(bytes.fromhex(row[0]))
            found.append(str(ipaddress.ip_network(f"{address}/{int(row[2], 16)}", strict=False)))
    return list(dict.fromkeys(found))


def local_ports(root: str = "/") -> str | None:
    """Return the range of ports for programs that ask for none, as iptables has it; None where it cannot be read."""
    ports = re.fullmatch(r"(\d+)\s+(\d+)", setting("proc/sys/net/ipv4/ip_local_port_range", root) or "")
    return f"{ports[1]}:{ports[2]}" if ports else None


def modules(*, nat: bool) -> list[str]:
    """Return the kernel modules that FTP wants."""
    return [HELPER, NAT_HELPER] if nat else [HELPER]


def release() -> str:
    """Return the running kernel's release, as C(uname -r) prints it."""
    return os.uname().release


def helper_ready(module: str, root: str = "/") -> bool:
    """Tell whether a kernel module is loaded or built in (it must be one with parameters)."""
    return Path(root, "sys/module", module).is_dir()


def nat_helper_ready(module: str, release: str, root: str = "/") -> bool:
    """Tell whether a kernel module without parameters is loaded or built in.

    :arg release: the kernel's release, as C(uname -r) prints it
    """
    if helper_ready(module, root):
        return True
    if Path(root, BUILT_IN.format(release)).exists():
        return built_in(module, release, root)
    # Containers see the kernel's symbols, but not its folder of modules.
    try:
        return module in Path(root, "proc/kallsyms").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


def built_in(module: str, release: str, root: str = "/") -> bool:
    """Tell whether a kernel has a module built in, by what is installed of it."""
    names = setting(BUILT_IN.format(release), root) or ""
    return module in names.replace("-", "_")


def setting(path: str, root: str = "/") -> str | None:
    """Return what a file of /proc/sys or /sys/module says; None where there is none."""
    try:
        return Path(root, path).read_text(encoding="utf-8").strip()
    except OSError:
        return None


def legacy_tables(ip_version: str, root: str = "/") -> bool:
    """Tell whether the kernel has tables of iptables-legacy, as that itself looks for them."""
    return bool(setting(f"proc/net/{'ip' if ip_version == 'ipv4' else 'ip6'}_tables_names", root))


def module_missing(module: str, release: str, root: str = "/") -> str | None:
    """Return why a kernel module cannot be loaded; None where it can.

    :arg release: the kernel's release, as C(uname -r) prints it
    """
    if not Path(root, "proc/modules").exists():
        return "this kernel loads no modules (there is no /proc/modules)"
    return lacks(module, release, root)


def lacks(module: str, release: str, root: str = "/") -> str | None:
    """Return why no module of a name is installed for a kernel; None where one is."""
    folder = Path(root, "lib/modules", release)
    if not folder.is_dir():
        return f"there is no /lib/modules/{release}"
    try:
        dependencies = (folder / "modules.dep").read_text(encoding="utf-8")
    except OSError:
        return f"there is no /lib/modules/{release}/modules.dep"
    names = re.findall(r"^[^:]*?([^/:]+)\.ko[^:]*:", dependencies, re.MULTILINE)
    if module not in [name.replace("-", "_") for name in names]:
        return f"/lib/modules/{release} does not have it"
    return None


def _rows(root: str, path: str) -> list[list[str]]:
    try:
        return [line.split() for line in Path(root, path).read_text(encoding="utf-8").splitlines()]
    except OSError:
        return []


def _usable(flags: str) -> bool:
    return int(flags, 16) & (ROUTE_UP | ROUTE_REJECT) == ROUTE_UP
