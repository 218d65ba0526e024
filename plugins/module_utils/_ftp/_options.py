# Copyright (c) hostfw.conntrack contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role's inputs: checked, and in one form.

Every function raises ValueError with a message that names the input, what is
allowed and what it got.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Union

from ansible_collections.hostfw.conntrack.plugins.module_utils._diagnosis._findings import Finding

Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]

MODES = ("active", "passive", "both")
SIDES = ("server", "client", "gateway")
POSITIONS = ("auto", "first", "last")
STATES = ("present", "absent")
IP_VERSIONS = ("ipv4", "ipv6")

# XT_EXTENSION_MAXNAMELEN (29 bytes with the closing zero) in the kernel's x_tables.h.
CHAIN_NAME_LENGTH = 28
# IFNAMSIZ (16 bytes with the closing zero) in the kernel's if.h.
INTERFACE_NAME_LENGTH = 15
LAST_PORT = 65535
# The ports that a program gets without privileges.
HIGH_PORTS = "1024:65535"
# The width of a connection mark.
MARK_BITS = 32
# UNIT_NAME_MAX (256 bytes with the closing zero) in systemd's unit-name.h.
UNIT_NAME_LENGTH = 255
LONGEST_CHAIN_SUFFIX = "-DATA-OUT"
# From here on, two names are close; those of inputs are not that close to each other, nor is ftp_stats to ftp_state.
CLOSE = 0.82
# FTPS opens the passive ports themselves; a range as wide as this is no restriction.
WIDE_RANGE = 1000


@dataclass(frozen=True)
class Options:
    """The inputs of one instance of the role.

    - interfaces: names and wildcards as iptables takes them; (None,) is every interface
    - out_interfaces: those on the servers' side of a gateway, in the same form; else empty
    - control_ports: such as ("21",)
    - data_port: such as "20"; None is any
    - active_ports: those on which clients listen, a port or a range, such as "32768:60999"
    - passive_ports: those on which servers listen, in the same form
    - peers: for each IP version asked for, the networks of the other end (on a gateway,
      of the clients) as iptables prints them; (None,) is everybody, an empty tuple nobody
    - servers: on a gateway, the networks of the servers in the same form; else everybody
    - control_bit, closed_bit: the bits of the connection mark for control connections, and for closed ones
    - public_address: what the server announces and the host does not have; None where it announces its own
    - restore_after: units of systemd whose start or reload flushes rules, beside those that are known
    """

    side: str
    mode: str
    interfaces: tuple[str | None, ...]
    out_interfaces: tuple[str | None, ...]
    nat: bool
    tls: bool
    control_ports: tuple[str, ...]
    data_port: str | None
    active_ports: str
    passive_ports: str
    peers: Mapping[str, tuple[str | None, ...]]
    servers: Mapping[str, tuple[str | None, ...]]
    control_bit: int
    closed_bit: int
    position: str
    prefix: str
    persistent: bool
    state: str
    public_address: str | None = None
    restore_after: tuple[str, ...] = ()

    @property
    def active(self) -> bool:
        """Tell whether active mode is asked for."""
        return self.mode in ("active", "both")

    @property
    def passive(self) -> bool:
        """Tell whether passive mode is asked for."""
        return self.mode in ("passive", "both")

    def open_over(self, ip_version: str) -> bool:
        """Tell whether FTP may pass between anybody over an IP version."""
        return bool(self.peers.get(ip_version) and self.servers.get(ip_version))

    def live_over(self, ip_version: str) -> bool:
        """Tell whether data ports are open over an IP version to all who hold a control connection, without the helper.

        The helper cannot read that of FTPS, and believes no address but that of the control connection. None but PASV
        announces one, which is of IPv4.
        """
        public = self.public_address is not None and self.passive and ip_version == "ipv4"
        return (self.tls or public) and ip_version in self.peers

    @property
    def live(self) -> bool:
        """Tell whether data ports are open to whoever holds a control connection over any IP version."""
        return any(self.live_over(ip_version) for ip_version in IP_VERSIONS)


def parse(
    inputs: Mapping[str, Any],
    interfaces: Sequence[str],
    default_interfaces: Sequence[str],
    local_ports: str = HIGH_PORTS,
    standing: Sequence[str] = (),
) -> Options:
    """Turn the inputs into options.

    :arg inputs: the role's inputs by name, without their C(ftp_)
    :arg interfaces: the names of the interfaces that the host has
    :arg default_interfaces: the names of those that its default routes use
    :arg local_ports: the range of ports that the host gives to programs that ask for none
    :arg standing: the names of the interfaces for which rules of this instance stand, be they there or away
    """
    state = choice("ftp_state", inputs["state"], STATES)
    side = choice("ftp_side", inputs["side"], SIDES)
    on: tuple[str | None, ...] = (None,)
    out: tuple[str | None, ...] = ()
    if state == "present":  # what is to go may stand on an interface that has gone already
        check_gateway(side, inputs)
        check_server(side, inputs)
        on = parse_interfaces("ftp_interface", inputs["interface"], interfaces, default_interfaces, standing)
        if side == "gateway":
            out = parse_interfaces("ftp_out_interface", inputs["out_interface"], interfaces, standing=standing)
    control_bit, closed_bit = parse_connmark(inputs["connmark"])
    options = Options(
        side=side,
        mode=choice("ftp_mode", inputs["mode"], MODES),
        interfaces=on,
        out_interfaces=out,
        nat=inputs["nat"],
        tls=inputs["tls"],
        control_ports=parse_control_ports(inputs["control_ports"]),
        data_port=parse_data_port(inputs["data_port"], side),
        active_ports=parse_active_ports(inputs["active_ports"], side, local_ports),
        passive_ports=parse_port_range("ftp_passive_ports", inputs["passive_ports"]),
        peers=parse_networks("ftp_allowed_addresses", inputs["allowed_addresses"], inputs["ip_versions"]),
        servers=parse_networks("ftp_server_addresses", inputs["server_addresses"], inputs["ip_versions"]),
        control_bit=control_bit,
        closed_bit=closed_bit,
        position=choice("ftp_position", inputs["position"], POSITIONS),
        prefix=parse_prefix(inputs["chain_prefix"]),
        persistent=inputs["persistent"],
        state=state,
        public_address=parse_public_address(inputs["public_address"]),
        restore_after=parse_services(inputs["restore_after"]),
    )
    if options.tls and state == "present":
        check_tls(options)
    return options


def check_gateway(side: str, inputs: Mapping[str, Any]) -> None:
    """Check the inputs that only a gateway has, and those that it must have."""
    if side == "gateway":
        for name, where in (("interface", "clients"), ("out_interface", "servers")):
            if not inputs[name]:
                raise ValueError(f"ftp_{name}: must be set with ftp_side gateway, to where the {where} are")
        return
    for name in ("out_interface", "nat", "server_addresses"):
        if inputs[name]:
            raise ValueError(f"ftp_{name}: is for ftp_side gateway only, got {inputs[name]!r} with ftp_side {side}")


def check_server(side: str, inputs: Mapping[str, Any]) -> None:
    """Check the input that only a server has."""
    value = inputs["public_address"]
    if side != "server" and value not in ("auto", "none"):
        raise ValueError(f"ftp_public_address: is for ftp_side server only, got {value!r} with ftp_side {side}")


def check_image(inputs: Mapping[str, Any]) -> None:
    """Check the inputs without which an image cannot be planned for."""
    if not inputs["interface"]:
        raise ValueError(
            "ftp_interface: must be set for an image (chroot), which has no default route before it boots: to the name "
            "that the interface will have, a wildcard such as en+, or any"
        )
    if not inputs["persistent"]:
        raise ValueError("ftp_persistent: must be true for an image (chroot), which has no rules before it boots")


def check_public_address(options: Options, cure: str) -> None:
    """Check that a server that announces a public address does not open more than its user knows.

    :arg cure: what narrows the passive ports
    """
    first, _colon, last = options.passive_ports.partition(":")
    count = int(last or first) - int(first) + 1
    if options.public_address and options.live and None in options.peers.get("ipv4", ()) and count >= WIDE_RANGE:
        raise ValueError(
            f"ftp_public_address: the server announces {options.public_address}, which is no address of this host, and "
            f"the helper believes no other, so the passive ports are opened without it; {cure}, narrower than "
            f"{WIDE_RANGE} ports (got {options.passive_ports}, {count} ports), or set ftp_allowed_addresses, or set "
            "ftp_public_address to none, with which PASV hangs"
        )


def check_tls(options: Options) -> None:
    """Check that FTPS does not open more than its user knows."""
    anybody = any(None in peers for peers in options.peers.values())
    first, _colon, last = options.passive_ports.partition(":")
    count = int(last or first) - int(first) + 1
    why = "the helper cannot read an encrypted control connection, so FTPS opens its data ports without it"
    if options.passive and anybody and count >= WIDE_RANGE:
        raise ValueError(
            f"ftp_tls: {why}; set ftp_passive_ports to the server's range, narrower than {WIDE_RANGE} ports "
            f"(got {options.passive_ports}, {count} ports), or set ftp_allowed_addresses"
        )
    if options.active and anybody and options.side != "server":
        raise ValueError(
            f"ftp_tls: {why}; in active mode those are all high ports of the client: "
            f"set ftp_mode to passive (got {options.mode}), or set ftp_allowed_addresses"
        )


def bad(name: str, allowed: str, got: object) -> ValueError:
    """Return the error for an input with a value that is not allowed."""
    return ValueError(f"{name}: must be {allowed}, got {got!r}")


def choice(name: str, value: str, allowed: Sequence[str]) -> str:
    """Return the value if it is one of those allowed."""
    if value not in allowed:
        raise bad(name, f"one of {', '.join(allowed)}", value)
    return value


def unique(values: Iterable[str]) -> tuple[str, ...]:
    """Return the values without repetitions, in their order."""
    return tuple(dict.fromkeys(values))


def parse_port(value: str) -> int | None:
    """Return a port number, or None where the value is no port from 1 to 65535."""
    if not re.fullmatch(r"[0-9]{1,5}", value):
        return None
    port = int(value)
    return port if 1 <= port <= LAST_PORT else None


def parse_control_ports(values: Sequence[str]) -> tuple[str, ...]:
    """Return the ports of the control connection."""
    allowed = "a list of ports from 1 to 65535"
    if not values:
        raise bad("ftp_control_ports", allowed, list(values))
    ports = []
    for value in values:
        port = parse_port(value)
        if port is None:
            raise bad("ftp_control_ports", allowed, value)
        ports.append(str(port))
    return unique(ports)


def parse_data_port(value: str, side: str) -> str | None:
    """Return the server's port of active data connections; None for any.

    A server knows its own, V(20) as RFC 959 has it; other servers may run without the
    privilege that it takes.
    """
    if value == "any" or (value == "auto" and side != "server"):
        return None
    if value == "auto":
        return "20"
    port = parse_port(value)
    if port is None:
        raise bad("ftp_data_port", "a port from 1 to 65535, auto or any", value)
    return str(port)


def parse_active_ports(value: str, side: str, local_ports: str) -> str:
    """Return the ports on which clients listen; a client knows its own."""
    if value == "auto":
        return local_ports if side == "client" else HIGH_PORTS
    return parse_port_range("ftp_active_ports", value, ", or auto")


def parse_port_range(name: str, value: str, otherwise: str = "") -> str:
    """Return a port, or a range of ports C(first:last), as iptables prints it."""
    head, colon, tail = value.partition(":")
    first = parse_port(head)
    last = parse_port(tail) if colon else first
    if first is None or last is None:
        raise bad(name, f"a port or a range first:last, ports from 1 to 65535{otherwise}", value)
    if first > last:
        raise ValueError(f"{name}: first port {first} is above last port {last}")
    return str(first) if first == last else f"{first}:{last}"


def parse_public_address(value: str) -> str | None:
    """Return what the server announces in place of its own address; None for V(none), and for V(auto) of others."""
    if value in ("auto", "none"):
        return None
    if not may_be_announced(value):
        raise bad("ftp_public_address", "an IPv4 address or a host name with a dot, auto or none", value)
    return value


def may_be_announced(value: str) -> bool:
    """Tell whether a value is an IPv4 address, or a host name with a dot, which stands for one."""
    if re.fullmatch(r"[0-9.]+", value):
        try:
            ipaddress.IPv4Address(value)
        except ValueError:
            return False
        return True
    return re.fullmatch(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+\.?", value) is not None


def parse_interfaces(
    name: str,
    values: Sequence[str],
    interfaces: Sequence[str],
    default_interfaces: Sequence[str] = (),
    standing: Sequence[str] = (),
) -> tuple[str | None, ...]:
    """Return the interfaces as iptables takes them; (None,) for every interface.

    An empty list stands for the interfaces of the default routes; while there is none, for those that have our rules.
    """
    has = ", ".join(interfaces) or "none"
    if not values:
        default_interfaces = default_interfaces or standing
        if not default_interfaces:
            raise ValueError(
                f"{name}: is not set and this host has no default route to take it from; "
                f"set it to an interface of this host ({has}), a wildcard such as eth+, or any"
            )
        return unique(default_interfaces)
    if "any" in values:
        if len(set(values)) > 1:
            raise bad(name, "any alone, or names and wildcards without any", list(values))
        return (None,)
    for value in values:
        wildcard = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.@-]*\+", value) and len(value) <= INTERFACE_NAME_LENGTH
        if not wildcard and value not in interfaces and value not in standing:
            raise bad(name, f"an interface of this host ({has}), a wildcard such as eth+, or any", value)
    return unique(values)


def parse_networks(
    name: str, addresses: Sequence[str], ip_versions: Sequence[str]
) -> dict[str, tuple[str | None, ...]]:
    """Return the networks for each IP version asked for; (None,) for everybody."""
    if not ip_versions:
        raise bad("ftp_ip_versions", f"a list of {', '.join(IP_VERSIONS)}", list(ip_versions))
    for ip_version in ip_versions:
        choice("ftp_ip_versions", ip_version, IP_VERSIONS)
    if not addresses:
        return dict.fromkeys(unique(ip_versions), (None,))
    networks = [parse_network(name, address) for address in addresses]
    found: dict[str, tuple[str | None, ...]] = {}
    for network in networks:
        if f"ipv{network.version}" not in ip_versions:
            raise ValueError(
                f"{name}: {network} is IPv{network.version}, but ftp_ip_versions asks for {', '.join(ip_versions)} only"
            )
    for ip_version in unique(ip_versions):
        here = [network for network in networks if f"ipv{network.version}" == ip_version]
        # iptables prints no -s for a network of all addresses: it is no condition.
        everybody = any(network.prefixlen == 0 for network in here)
        found[ip_version] = (None,) if everybody else unique(printed(network) for network in here)
    return found


def printed(network: Network) -> str:
    """Return a network as iptables prints it, which is inet_ntop's way."""
    family = socket.AF_INET if isinstance(network, ipaddress.IPv4Network) else socket.AF_INET6
    return f"{socket.inet_ntop(family, network.network_address.packed)}/{network.prefixlen}"


def parse_network(name: str, address: str) -> Network:
    """Return an address or a network as a network."""
    try:
        network = ipaddress.ip_network(address, strict=False)
    except ValueError:
        network = None
    if network is None or "%" in address:  # a zone, as in fe80::1%eth0, means nothing to iptables
        raise bad(name, "a list of addresses and networks such as 192.0.2.0/24 or 2001:db8::/32", address)
    host = address.partition("/")[0]
    first = ipaddress.ip_address(host)
    if isinstance(first, ipaddress.IPv6Address) and first.ipv4_mapped:
        raise ValueError(f"{name}: {address} stands for IPv4 addresses; write {first.ipv4_mapped}")
    if first != network.network_address:
        raise ValueError(
            f"{name}: {address} has bits set behind its prefix; write the network {network} or the address {host}"
        )
    return network


def parse_connmark(value: str) -> tuple[int, int]:
    """Return the two bits of the connection mark, the lower one first."""
    # A decimal number with a leading 0 is octal to iptables.
    number = int(value, 0) if re.fullmatch(r"0[xX][0-9a-fA-F]+|[1-9][0-9]*|0", value) else 0
    bits = [1 << place for place in range(number.bit_length()) if number >> place & 1]
    if number >> MARK_BITS or len(bits) != 2:  # noqa: PLR2004 - control and closed
        raise bad("ftp_connmark", "a number of 32 bits of which two are set, such as 0x30000000", value)
    return bits[0], bits[1]


def parse_prefix(value: str) -> str:
    """Return the beginning of the names of the chains."""
    longest = CHAIN_NAME_LENGTH - len(LONGEST_CHAIN_SUFFIX)
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]*", value) or len(value) > longest:
        raise bad(
            "ftp_chain_prefix",
            f"1 to {longest} of A-Z a-z 0-9 _ and - (not first), "
            f"as a chain name such as PREFIX{LONGEST_CHAIN_SUFFIX} holds {CHAIN_NAME_LENGTH}",
            value,
        )
    if value.endswith("-DATA"):
        raise ValueError(
            f"ftp_chain_prefix: must not end in -DATA, as {value}-IN is a chain of the prefix "
            f"{value[:-5]} too, got {value!r}"
        )
    return value


def parse_services(values: Sequence[str]) -> tuple[str, ...]:
    """Return names of services of systemd (systemd.unit(5))."""
    for value in values:
        name = re.fullmatch(r"[A-Za-z0-9:_\\-][A-Za-z0-9:_.\\-]*(?:@[A-Za-z0-9:_.\\-]+)?\.service", value)
        if not name or len(value) > UNIT_NAME_LENGTH:
            raise bad(
                "ftp_restore_after",
                "a list of names of services of systemd with their .service, such as site-firewall.service",
                value,
            )
        if value.startswith("hostfw-conntrack-"):
            raise ValueError(f"ftp_restore_after: must not be a unit of this role, got {value!r}")
    return unique(values)


def understood(options: Options) -> dict[str, Any]:
    """Return what a trial of FTP, and what tells why it fails, rest on, in one form."""
    return {
        "side": options.side,
        "mode": options.mode,
        "modes": [mode for mode in ("passive", "active") if options.mode in (mode, "both")],
        "control_ports": list(options.control_ports),
        "data_port": options.data_port or "any",
        "ip_versions": [ip_version for ip_version in options.peers if options.open_over(ip_version)],
        "tls": options.tls,
    }


# The inputs to which others add: ftp_allowed_addresses__office to ftp_allowed_addresses.
LISTS = ("allowed_addresses", "control_ports", "interface", "out_interface", "restore_after", "server_addresses")


def add(inputs: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the lists among the inputs to which variables add, with what they add.

    :arg inputs: the role's inputs by name, without their C(ftp_)
    :arg more: the variables by name, as V(ftp_allowed_addresses__office); those of others count nothing
    :raises ValueError: for an input that is no list, and for what is none
    """
    found: dict[str, list[str]] = {}
    for variable, value in sorted(more.items()):
        name = variable.removeprefix("ftp_").partition("__")[0]
        if name not in LISTS:
            if name in inputs:
                raise ValueError(f"{variable}: ftp_{name} is no list; lists are ftp_{', ftp_'.join(LISTS)}")
            continue
        values = value.split(",") if isinstance(value, str) else value
        if not isinstance(values, list) or not all(isinstance(each, (str, int)) for each in values):
            raise ValueError(f"{variable}: must be a list, got {value!r}")
        found[name] = list(dict.fromkeys([*found.get(name, inputs[name]), *(str(each).strip() for each in values)]))
    return found


def misspelt(variables: Iterable[str], inputs: Sequence[str]) -> list[Finding]:
    """Return a warning for each variable that is most likely meant for an input.

    :arg variables: the names of those that are set
    :arg inputs: the names of the inputs
    """
    known = {name.removeprefix("ftp_"): name for name in inputs}
    found = []
    for variable in variables:
        name, adds, _by = variable.removeprefix("ftp_").lower().partition("__")
        if variable in inputs or (adds and name in known):
            continue
        close = [other for other in known if sorted(other) == sorted(name)]
        close += difflib.get_close_matches(name, known, n=1, cutoff=CLOSE)
        if close:
            found.append(Finding("input-misspelt", variable=variable, input=known[close[0]]))
    return found
