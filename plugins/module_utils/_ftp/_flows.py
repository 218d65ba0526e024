# Copyright (c) hostfw.conntrack contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The flows of FTP (RFC 959, section 3.2; RFC 2428 for IPv6), by where the host stands."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp._options import Options

HELPER = "ftp"
UNPRIVILEGED = "1024:65535"
# ftp-data: from where RFC 959 has a server open active data connections.
FTP_DATA = 20
# Whose packets come in, and whose go out; a gateway's clients stand on its incoming side.
SENDERS = {"server": ("client", "server"), "client": ("server", "client"), "gateway": ("client", "server")}


@dataclass(frozen=True)
class Flow:
    """One kind of connection between an FTP client and an FTP server.

    - opened_by: V(client) or V(server)
    - opening: the conntrack state of the packet that opens it
    - server_port, client_port: a port or range; None for any
    """

    words: str
    opened_by: str
    opening: str
    server_port: str | None
    client_port: str | None


@dataclass(frozen=True)
class Ends:
    """The networks of the clients and of the servers that a rule is for; None is any."""

    client: str | None = None
    server: str | None = None


ANY = Ends()


@dataclass(frozen=True)
class Flows:
    """What is to pass over one IP version.

    - control: the control connections, one for each port
    - data: the data connections of the modes asked for, as the helper announces them
    - live: those that no helper announces
    - between: whom; nobody where the IP version is not asked for
    """

    control: list[Flow]
    data: list[Flow]
    live: list[Flow]
    between: list[Ends]


def of(options: Options, ip_version: str) -> Flows:
    """Return what is to pass."""
    data = _data(options)
    live = _live(options, data) if options.live_over(ip_version) else []
    return Flows(_control(options), data, live, _ends(options, ip_version))


def _control(options: Options) -> list[Flow]:
    """Return the control connections, one for each port."""
    return [Flow(f"control connection to port {port}", "client", "NEW", port, None) for port in options.control_ports]


def _data(options: Options) -> list[Flow]:
    """Return the data connections of the modes asked for, as the helper announces them."""
    flows = []
    if options.active:
        port = options.data_port
        words = f"active data connection from {f'port {port}' if port else 'any port'}"
        flows.append(Flow(words, "server", "RELATED", port, options.active_ports))
    if options.passive:
        ports = options.passive_ports
        words = f"passive data connection to port{'s' if ':' in ports else ''} {ports.replace(':', '-')}"
        flows.append(Flow(words, "client", "RELATED", ports, UNPRIVILEGED))
    return flows


def _live(options: Options, data: list[Flow]) -> list[Flow]:
    """Return the data connections that no helper announces: of FTPS all, to a public address the passive ones."""
    if options.tls:
        return [replace(flow, words=f"FTPS {flow.words}", opening="NEW") for flow in data]
    passive = [flow for flow in data if flow.opened_by == "client"]
    return [replace(flow, words=f"public address: {flow.words}", opening="NEW") for flow in passive]


def other(end: str) -> str:
    """Return the other end of a connection."""
    return "server" if end == "client" else "client"


def direction(options: Options, sender: str) -> str:
    """Return the direction of the packets from one end, V(IN) or V(OUT)."""
    return "IN" if sender == SENDERS[options.side][0] else "OUT"


def _ends(options: Options, ip_version: str) -> list[Ends]:
    """Return between whom FTP passes over an IP version; nobody where that is not asked for."""
    peers = options.peers.get(ip_version, ()) if options.state == "present" else ()
    if options.side == "client":
        return [Ends(server=peer) for peer in peers]
    return [Ends(peer, server) for peer in peers for server in options.servers.get(ip_version, ())]
