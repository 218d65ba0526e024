# Copyright (c) hostfw.conntrack contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the FTP servers of the host say of data connections in their own configuration.

Sources: vsftpd's parseconf.c and privops.c, ProFTPD's parser.c and mod_core.c,
Pure-FTPd's simpleconf.c and Debian's pure-ftpd-wrapper.
Options of the command line are not seen, nor is the configuration of further instances
of a server, such as /etc/vsftpd/*.conf beside vsftpd.conf.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.hostfw.conntrack.plugins.module_utils._diagnosis._findings import Finding
from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp import _options

YES = ("yes", "on", "true", "1")
NO = ("no", "false", "0")

# All three servers keep passive data connections out of the privileged ports.
FIRST_PORT = 1024
# vsftpd's where pasv_min_port is not set, in its tunables.c; its manual says otherwise.
VSFTPD_FIRST_PORT = "5001"

# A file that includes itself would never end.
INCLUDE_DEPTH = 16


@dataclass(frozen=True)
class Server:
    """An FTP server that is installed.

    - name: vsftpd, proftpd or pure-ftpd
    - path: the file, or the folder, of its configuration
    - passive_ports: such as "50000:50999", or "50000"; None where nothing bounds them
    - setting: what sets them, in words for a person
    - passive, active: whether the mode is possible; False where the configuration forbids it
    - announces: the addresses or host names that it announces in place of its own address
    """

    name: str
    path: str
    passive_ports: str | None
    setting: str
    passive: bool
    active: bool
    announces: tuple[str, ...] = ()


def installed(root: str = "/") -> list[Server]:
    """Return the servers of which both the program and the configuration are there.

    Raises ValueError, naming file and setting, where passive ports are no ports.
    """
    servers = []
    for read, programs, paths in (
        (_vsftpd, ("vsftpd",), ("/etc/vsftpd/vsftpd.conf", "/etc/vsftpd.conf")),
        (_proftpd, ("proftpd",), ("/etc/proftpd/proftpd.conf", "/etc/proftpd.conf")),
        (
            _pure_ftpd,
            ("pure-ftpd", "pure-ftpd-ldap", "pure-ftpd-mysql", "pure-ftpd-postgresql"),
            # Debian's wrapper reads the folder only, whatever the file beside it says.
            ("/etc/pure-ftpd/conf", "/etc/pure-ftpd/pure-ftpd.conf", "/etc/pure-ftpd.conf"),
        ),
    ):
        path = next((path for path in paths if _under(root, path).exists()), None)
        if path and any(_under(root, f"/usr/sbin/{program}").exists() for program in programs):
            servers.append(read(root, path))
    return servers


def passive_ports(inputs: Mapping[str, Any], servers: Sequence[Server]) -> tuple[str, str]:
    """Return the input C(ftp_passive_ports) with V(auto) found out, and in words where it comes from.

    :raises ValueError: for V(auto) where there is no one answer
    """
    if inputs["passive_ports"] != "auto":
        return inputs["passive_ports"], "ftp_passive_ports"
    if inputs["side"] != "server":
        return _options.HIGH_PORTS, "the default, as the server is elsewhere"
    if inputs["mode"] == "active":
        return _options.HIGH_PORTS, "the default, as ftp_mode is active"
    servers = _passive(servers)
    found = {server.passive_ports: server for server in servers if server.passive_ports}
    if len(found) > 1:
        words = " and ".join(f"{ports} ({server.setting} in {server.path})" for ports, server in found.items())
        raise ValueError(f"ftp_passive_ports: auto found {words}; set it to that of the server that runs")
    unbounded = [server for server in servers if not server.passive_ports]
    if servers and not unbounded:
        return str(servers[0].passive_ports), " and ".join(
            f"{server.setting} of {server.name} in {server.path}" for server in servers
        )
    names = " and ".join(f"{server.name} in {server.path}" for server in unbounded) or "vsftpd, proftpd or pure-ftpd"
    return _options.HIGH_PORTS, f"the default, as no passive range is set for {names}"


def unbounded(servers: Sequence[Server]) -> list[Finding]:
    """Return the warnings for a server's host whose passive ports are to be found out, and have no bounds."""
    reasons = [
        f"{server.name} has no passive range in {server.path}; {_narrow(server)}, restart it and run the role again"
        for server in servers
        if server.passive and not server.passive_ports
    ]
    if not servers:
        reasons.append(
            "neither vsftpd, proftpd nor pure-ftpd with its configuration is found on this host; set ftp_passive_ports "
            "to the server's own range"
        )
    return [Finding("passive-ports-unknown", ports=_options.HIGH_PORTS, reason=reason) for reason in reasons]


def public_address(inputs: Mapping[str, Any], servers: Sequence[Server], own: Iterable[str]) -> str:
    """Return the input C(ftp_public_address) with V(auto) found out; V(none) where the host itself has the address.

    A host name counts as that of an address which the host does not have.

    :arg own: the addresses of the host, and the names of its interfaces, which ProFTPD takes for addresses
    """
    asked = str(inputs["public_address"])
    announced: Iterable[str] = (asked,)
    if asked == "auto":
        announced = () if inputs["side"] != "server" else _announced(servers)
    return next((address for address in announced if address not in own), "none")


def _announced(servers: Sequence[Server]) -> list[str]:
    found = [address for server in servers if server.passive for address in server.announces]
    return [address for address in found if _options.may_be_announced(address)]


def narrow(inputs: Mapping[str, Any], servers: Sequence[Server]) -> str:
    """Return what narrows the passive ports, where those of the input C(ftp_passive_ports) are too many."""
    if inputs["passive_ports"] != "auto" or not any(server.passive for server in servers):
        return "set ftp_passive_ports to the server's range"
    words = [_narrow(server, 50099) for server in servers if server.passive]
    return f"{' and '.join(words)}, restart it and run the role again, or set ftp_passive_ports to the server's range"


def _narrow(server: Server, last: int = 50999) -> str:
    """Return what gives a server a passive range."""
    if server.name == "vsftpd":
        return f"set pasv_min_port=50000 and pasv_max_port={last}, say, in {server.path}"
    if server.name == "proftpd":
        return f"set PassivePorts 50000 {last}, say, in {server.path}, outside of and in each VirtualHost"
    if server.path.endswith("/conf"):
        return f"write 50000 {last}, say, to {server.path}/PassivePortRange"
    return f"set PassivePortRange 50000 {last}, say, in {server.path}"


def _passive(servers: Sequence[Server]) -> Sequence[Server]:
    """Return the servers whose passive ports count; where none does passive mode, all of them."""
    return [server for server in servers if server.passive] or servers


def _vsftpd(root: str, path: str) -> Server:
    setting = "pasv_min_port and pasv_max_port"
    # The last of several wins, as in a dictionary.
    settings = dict(re.findall(r"^[ \t]*(\w+)=(.*)", _read(root, path), re.MULTILINE))
    first = _atoi(settings.get("pasv_min_port", VSFTPD_FIRST_PORT))
    last = _atoi(settings.get("pasv_max_port", "0"))
    passive_ports = None
    if last != "0" or ("pasv_min_port" in settings and first != "0"):
        if first.isdecimal():
            first = str(max(int(first), FIRST_PORT))
        passive_ports = _ports(path, setting, [first, str(_options.LAST_PORT) if last == "0" else last])
    return Server(
        "vsftpd",
        path,
        passive_ports,
        setting,
        passive=settings.get("pasv_enable", "").strip().lower() not in NO,
        active=settings.get("port_enable", "").strip().lower() not in NO,
        announces=tuple(settings.get("pasv_address", "").split()[:1]),
    )


def _atoi(value: str) -> str:
    """Return the number at the beginning, octal after a 0, as vsftpd reads it; else the value, for the error."""
    match = re.match(r"\s*(0[0-7]*|[1-9][0-9]*)", value)
    return str(int(match[1], 8 if match[1].startswith("0") else 10)) if match else value


@dataclass
class _Host:
    """What ProFTPD's main server, a VirtualHost or a Global says.

    - settings: by name in lower case, the file and the values; of several the first wins
    - denied: the commands that a Limit names, and whether every such Limit denies them to everybody
    """

    settings: dict[str, list[str]] = field(default_factory=dict)
    denied: dict[str, bool] = field(default_factory=dict)

    def take(self, file: str, words: list[str], limited: list[str]) -> None:
        name = words[0].lower()
        if not limited:
            self.settings.setdefault(name, [file, *words[1:]])
        elif name != "order":
            for command in limited:
                self.denied[command] = self.denied.get(command, True) and name == "denyall"

    def inherit(self, other: _Host) -> None:
        self.settings = {**other.settings, **self.settings}
        self.denied = {**other.denied, **self.denied}

    def says(self, name: str) -> str:
        return "".join(self.settings.get(name, [])[1:2]).lower()

    def denies(self, *commands: str) -> bool:
        return all(self.denied.get(command) for command in commands)


def _proftpd(root: str, path: str) -> Server:
    setting = "PassivePorts"
    # Port 0 turns a host off, and SFTP has no data connections.
    hosts = [host for host in _hosts(root, path) if host.says("port") != "0" and host.says("sftpengine") not in YES]
    places = [host.settings.get("passiveports") for host in hosts]
    ranges = [_ports(place[0], setting, place[1:]) for place in places if place]
    ports = [int(port) for passive_ports in ranges for port in passive_ports.split(":")]
    return Server(
        "proftpd",
        path,
        # A host without a range of its own takes any port.
        _options.parse_port_range(setting, f"{min(ports)}:{max(ports)}") if ports and all(places) else None,
        setting,
        passive=not all(host.denies("pasv", "epsv") for host in hosts),
        active=not all(
            host.denies("port", "eprt")
            # Without root it cannot have the data port, which is the one below.
            or (host.says("rootrevoke") in YES and (_options.parse_port(host.says("port")) or 21) < FIRST_PORT)
            for host in hosts
        ),
        announces=_options.unique(filter(None, (host.says("masqueradeaddress") for host in hosts))),
    )


def _hosts(root: str, path: str) -> list[_Host]:
    """Return the main server and every VirtualHost, with what the Globals add to them.

    What stands in IfModule, IfDefine or IfVersion is taken to hold.
    """
    hosts: list[_Host] = [_Host()]
    shared: list[_Host] = []
    # For each open section: the host that it is about, None where it is about some users
    # or folders only, and the commands of the Limit.
    sections: list[tuple[_Host | None, list[str]]] = [(hosts[0], [])]
    for file, line in _lines(root, path):
        words = re.split(r'[\s",]+', line.strip('\t\r ">'))
        name = words[0].lower()
        host, limited = sections[-1]
        if name.startswith("</"):
            sections = sections[:-1] or sections
        elif name.startswith("<"):
            if name in ("<virtualhost", "<global"):
                host = _Host()
                (shared if name == "<global" else hosts).append(host)
            elif name == "<limit":
                limited = [word.lower() for word in words[1:]]
            elif name not in ("<ifmodule", "<ifdefine", "<ifversion"):
                host = None
            sections.append((host, limited))
        elif host:
            host.take(file, words, limited)
    # A VirtualHost has nothing from the main server; of several Globals the last wins.
    for host in hosts:
        for other in reversed(shared):
            host.inherit(other)
    return hosts


def _pure_ftpd(root: str, path: str) -> Server:
    setting = "PassivePortRange"
    entries = []
    if _under(root, path).is_dir():
        for name in (setting, "NATmode", "ForcePassiveIP"):
            if _under(root, f"{path}/{name}").exists():
                entries += [(file, [name.lower(), *line.split()]) for file, line in _lines(root, f"{path}/{name}")]
        # In Debian's files the first line wins, below the last.
        entries.reverse()
    else:
        entries = [(file, re.split(r"[\s=:]+", line.strip().lower())) for file, line in _lines(root, path)]
    passive_ports, passive = None, True
    announces: tuple[str, ...] = ()
    for file, (name, *values) in entries:
        if name == setting.lower():
            passive_ports = _ports(file, setting, values)
        elif name == "natmode" and values and values[0].lower() in YES:
            passive = False
        elif name == "forcepassiveip":
            announces = tuple(values[:1])
    return Server("pure-ftpd", path, passive_ports, setting, passive=passive, active=True, announces=announces)


def _ports(path: str, setting: str, values: list[str]) -> str:
    name = f"{path}: {setting}"
    if len(values) != 2:  # noqa: PLR2004 - first and last
        raise ValueError(f"{name}: must be two ports, got {' '.join(values)!r}")
    return _options.parse_port_range(name, ":".join(values))


def _lines(root: str, path: str, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Yield each line that says something, with its file; in place of an Include, the lines of its files."""
    if depth > INCLUDE_DEPTH:
        raise ValueError(f"{path}: Include: goes deeper than {INCLUDE_DEPTH} files")
    # A comment ends with its line, even with a backslash at its end.
    text = re.sub(r"#.*", "", _read(root, path)).replace("\\\n", " ")
    for line in text.splitlines():
        include = re.match(r"\s*include[\s=:\"]+([^\s\"]+)", line, re.IGNORECASE)
        if include:
            pattern = glob.escape(root.rstrip("/")) + "/" + include[1].lstrip("/")
            for match in sorted(glob.glob(pattern)):  # noqa: PTH207 - a * of pathlib's takes hidden files
                folder = Path(match)
                for file in sorted(folder.iterdir()) if folder.is_dir() else [folder]:
                    if file.is_file():
                        yield from _lines(root, f"/{file.relative_to(root)}", depth + 1)
        elif line.strip():
            yield path, line


def _read(root: str, path: str) -> str:
    try:
        return _under(root, path).read_text(encoding="utf-8", errors="replace")
    except OSError as exc:
        raise ValueError(f"{path}: cannot be read: {exc.strerror}") from exc


def _under(root: str, path: str) -> Path:
    return Path(root, path.lstrip("/"))
