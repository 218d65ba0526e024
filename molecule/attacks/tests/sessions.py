"""The test hosts, each with an agent, and FTP sessions of which the tests play both ends."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count, cycle, product
from pathlib import Path

from lab.agent import Agent
from lab.ftp import Way
from lab.hosts import PROGRAM, PROGRAMS, Lab
from lab.kinds import Firewall

ADDRESSES = {
    "client": {4: "198.51.100.2", 6: "2001:db8::2"},
    "other-client": {4: "198.51.100.3", 6: "2001:db8::3"},
    "server": {4: "203.0.113.2", 6: "2001:db8:1::2"},
    "other-server": {4: "203.0.113.3", 6: "2001:db8:1::3"},
}
GATEWAY = {
    "client": {4: "198.51.100.1", 6: "2001:db8::1"},
    "server": {4: "203.0.113.1", 6: "2001:db8:1::1"},
}
# No connections are tracked where there is no firewall: the scans would fill the table.
NO_FIREWALL = ["*raw\n-A PREROUTING -j CT --notrack\n-A OUTPUT -j CT --notrack\nCOMMIT\n*filter\nCOMMIT"] * 2
LAB = Lab()


class Machine(Agent):
    """A test host and the agent on it."""

    def __init__(self, name: str) -> None:
        super().__init__(LAB.host(name), Path(__file__).parent / "agent.py")
        self.name = name
        self.open = False
        self.native = False
        self.listeners: dict[int, int] = {}

    def load(self, saved: Iterable[str]) -> None:
        """Replace all rules: by those that the two programs of iptables save, or by a text for nft."""
        self.open = False
        if self.native or isinstance(saved, str):
            self.call("run", "nft flush ruleset")
        self.native = isinstance(saved, str)
        if isinstance(saved, str):
            self.call("run", "nft --file -", saved)
            return
        for program, rules in zip(PROGRAMS, saved):
            self.call("run", f"{program}-restore", f"{rules}\n")

    def guard(self, saved: Iterable[str]) -> None:
        """Replace all rules, and take those of the other hosts away."""
        for other in machines.values():
            if other is not self and not other.open:
                other.load(NO_FIREWALL)
                other.open = True
        self.load(saved)

    def add(self, lines: Iterable[str], ip_versions: Iterable[int] = (4, 6)) -> None:
        """Change rules by lines of iptables-restore, each with the name of its table before it."""
        text = "".join(f"*{table}\n{rule}\nCOMMIT\n" for table, rule in (line.split(" ", 1) for line in lines))
        for ip_version in ip_versions:
            self.call("run", f"{PROGRAM[ip_version]}-restore --noflush", text)

    def address(self, ip_version: int) -> str:
        """Return the host's address."""
        return ADDRESSES[self.name][ip_version]

    def control(self, ip_version: int) -> int:
        """Listen on port 21, once for all."""
        if ip_version not in self.listeners:
            self.listeners[ip_version] = int(self.call("listen", self.address(ip_version), 21))
        return self.listeners[ip_version]


machines = {name: Machine(name) for name in (*ADDRESSES, "gateway")}
client, other_client, server, other_server = (machines[name] for name in ADDRESSES)
gateway = machines["gateway"]


@dataclass(frozen=True)
class Topology:
    """Where the role stands: its inputs, and the direction there of the packets from either end."""

    side: str
    client: str
    server: str
    # the built-in chains of these directions
    chains: dict[str, str] = field(compare=False)

    def __str__(self) -> str:
        return self.side

    @property
    def inputs(self) -> dict[str, object]:
        """The role's inputs."""
        inputs: dict[str, object] = {"ftp_side": self.side, "ftp_interface": ["eth0"]}
        return inputs | {"ftp_out_interface": ["eth1"]} if self.side == "gateway" else inputs

    @property
    def machine(self) -> Machine:
        """The host behind the role's rules."""
        return machines[self.side]

    def directions(self, mode: str) -> dict[str, str]:
        """Return the direction of the end that opens data connections, and of the other one."""
        ends = (self.client, self.server) if mode == "passive" else (self.server, self.client)
        return dict(zip(("opener", "opened"), ends))

    def expectations(self) -> set[tuple[str, int]]:
        """Return to which addresses and ports the helpers of the kernel expect connections."""
        listed = self.machine.call("run", "cat /proc/net/nf_conntrack_expect")
        words = [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in listed.splitlines()]
        return {(word["dst"], int(word["dport"])) for word in words}


ENDS = {"IN": "INPUT", "OUT": "OUTPUT"}
TOPOLOGIES = (
    Topology("server", "IN", "OUT", ENDS),
    Topology("client", "OUT", "IN", ENDS),
    Topology("gateway", "IN", "OUT", {"IN": "FORWARD", "OUT": "FORWARD"}),
)


@dataclass(frozen=True)
class Site:
    """Who filters, and the states that the site's firewall accepts before the role's rules."""

    name: str
    states: str
    kind: str = "iptables"

    def __str__(self) -> str:
        return self.name

    @property
    def firewall(self) -> Firewall:
        """The site's firewall."""
        return Firewall(self.states)

    @property
    def rules(self) -> list[str]:
        """The rules of iptables for these states, which stand first; with RELATED, in the table of the guard, too."""
        tables = [table for table, state in (("mangle", "RELATED"), ("filter", "ESTABLISHED")) if state in self.states]
        chains = product(tables, ("INPUT", "OUTPUT", "FORWARD"))
        return [f"{table} -I {chain} -m conntrack --ctstate {self.states} -j ACCEPT" for table, chain in chains]


OF_IPTABLES = Site("strict", ""), Site("established", "ESTABLISHED"), Site("related", "RELATED,ESTABLISHED")
STRICT, ESTABLISHED, RELATED = OF_IPTABLES
ALL_SITES = (
    *OF_IPTABLES,
    Site("nftables-strict", "", "nftables"),
    Site("nftables-related", "RELATED,ESTABLISHED", "nftables"),
    Site("firewalld", "RELATED,ESTABLISHED", "firewalld"),
)
# All, unless some are named.
TRIED = os.environ.get("ATTACKS_SITES", " ".join(map(str, ALL_SITES))).split()
SITES = [site for site in ALL_SITES if str(site) in TRIED]


@dataclass(frozen=True)
class Shot:
    """A connection that is tried; source port 0 is any."""

    source: Machine
    source_port: int
    target: Machine
    port: int
    ip_version: int

    @property
    def to(self) -> tuple[str, int]:
        """The address and the port, as the kernel prints them where it expects connections."""
        return ipaddress.ip_address(self.target.address(self.ip_version)).exploded, self.port

    def hits(self, seconds: float) -> bool:
        """Tell whether the connection comes about."""
        return volley([self], seconds)[0]


def volley(shots: Sequence[Shot], seconds: float) -> list[bool]:
    """Try connections, all at once; tell which come about in time."""
    opened = {(shot.target, shot.target.address(shot.ip_version), shot.port) for shot in shots if shot.port != 21}
    listeners = [(target, target.call("listen", address, port)) for target, address, port in opened]
    sources = {shot.source: [other for other in shots if other.source is shot.source] for shot in shots}
    for source, own in sources.items():
        ends = [
            (source.address(shot.ip_version), shot.source_port, shot.target.address(shot.ip_version), shot.port)
            for shot in own
        ]
        source.start("volley", ends, seconds)
    hits = {id(shot): hit for source, own in sources.items() for shot, hit in zip(own, source.finish())}
    for target, number in listeners:
        target.call("close", number, False)
    return [hits[id(shot)] for shot in shots]


def opens(way: Way, port: int, *, to: Machine = client, at: Machine = server) -> Shot:
    """Return the data connection to a port."""
    if way.mode == "passive":
        return Shot(to, 0, at, port, way.ip_version)
    return Shot(at, 20, to, port, way.ip_version)


class Session:
    """A control connection after its greeting; the helper does not read the first line of either end."""

    def __init__(self, way: Way, client: Machine = client, server: Machine = server) -> None:
        self.way, self.client, self.server = way, client, server
        self.ends: dict[Machine, int] = {}
        self.ports = {client: 0, server: 21}
        self.open()
        # A line that was to be dropped.
        self.unheard = ""

    def open(self) -> None:
        """Open the connection, from the client's port of before where there was one."""
        near, far = (machine.address(self.way.ip_version) for machine in (self.client, self.server))
        listener = self.server.control(self.way.ip_version)
        connection = self.client.call("connect", near, self.ports[self.client], far, 21, SECONDS)
        assert connection is not None, "no control connection"
        self.ports[self.client] = self.client.call("port", connection)
        self.ends = {
            self.client: connection,
            self.server: self.server.call("accept", listener, self.ports[self.client]),
        }

    def greet(self) -> Session:
        """Say the first lines."""
        self.reply("220 ready\r\n")
        self.command("USER anonymous\r\n")
        self.reply("230 welcome\r\n")
        return self

    @property
    def announcer(self) -> Machine:
        """The end that announces ports."""
        return self.client if self.way.mode == "active" else self.server

    def hearer(self, speaker: Machine) -> Machine:
        """Return the other end."""
        return self.server if speaker is self.client else self.client

    def command(self, *segments: str) -> None:
        """Have the client say a line."""
        assert self.arrives(self.client, segments, SECONDS)

    def reply(self, *segments: str) -> None:
        """Have the server say a line."""
        assert self.arrives(self.server, segments, SECONDS)

    def say(self, speaker: Machine, *segments: str) -> None:
        """Have one end say a line in segments."""
        speaker.call("say", self.ends[speaker], *segments)

    def hears(self, hearer: Machine, line: str, seconds: float) -> bool:
        """Tell whether an end hears a line in time."""
        return bool(hearer.call("hear", self.ends[hearer], len(line), seconds) == line)

    def arrives(self, speaker: Machine, segments: Iterable[str], seconds: float) -> bool:
        """Have one end say a line in segments; tell whether the other hears it in time."""
        segments = list(segments)
        self.say(speaker, *segments)
        return self.hears(self.hearer(speaker), "".join(segments), seconds)

    def opens(self, port: int) -> Shot:
        """Return the data connection to a port of the end that announces it."""
        return opens(self.way, port, to=self.client, at=self.server)

    def announce(self, machine: Machine, port: int) -> None:
        """Announce a port of a host."""
        assert self.arrives(self.announcer, [self.announcement(machine, port)], SECONDS)

    def announcement(self, machine: Machine, port: int) -> str:
        """Return the line that announces a port."""
        return announcement(self.way, machine, port, own=machine is self.server)

    def close(self, first: Machine, *, reset: bool = False) -> None:
        """Close both ends, by FIN or by RST."""
        for machine, connection in sorted(self.ends.items(), key=lambda end: end[0] is not first):
            machine.call("close", connection, reset)
        self.ends = {}

    def __enter__(self) -> Session:  # noqa: PYI034  # Python 3.10 has no Self
        return self.greet()

    def __exit__(self, *_error: object) -> None:
        self.close(self.client, reset=True)


class Transfer:
    """A data connection that stays open."""

    def __init__(self, shot: Shot) -> None:
        ends = shot.source.address(shot.ip_version), shot.target.address(shot.ip_version)
        listener = shot.target.call("listen", ends[1], shot.port)
        near = shot.source.call("connect", ends[0], shot.source_port, ends[1], shot.port, SECONDS)
        assert near is not None, "no data connection"
        self.ends = (shot.source, near), (shot.target, shot.target.call("accept", listener))
        shot.target.call("close", listener, False)

    def moves(self) -> bool:
        """Tell whether what either end sends arrives."""
        arrived = []
        for (speaker, own), (hearer, other) in (self.ends, self.ends[::-1]):
            speaker.call("say", own, "data")
            arrived.append(hearer.call("hear", other, 4, SECONDS) == "data")
        return all(arrived)

    def close(self) -> None:
        """Close both ends."""
        for machine, number in self.ends:
            machine.call("close", number, True)


def announcement(way: Way, machine: Machine, port: int, *, own: bool = True) -> str:
    """Return the line that announces a port; own is whether the host is the one that says so."""
    address = machine.address(way.ip_version)
    numbers = f"{address},{port // 256},{port % 256}".replace(".", ",")
    return {
        "PORT": f"PORT {numbers}\r\n",
        "EPRT": f"EPRT |{1 if way.ip_version == 4 else 2}|{address}|{port}|\r\n",
        "PASV": f"227 Entering Passive Mode ({numbers}).\r\n",
        # RFC 2428 leaves network and address empty.
        "EPSV": f"229 Entering Extended Passive Mode (|||{port}|)\r\n".replace("||", "||" if own else f"|{address}", 1),
    }[way.command]


# How long a connection that is to come about may take, and one that is not.
SECONDS = 10
REFUSED_SECONDS = 0.5
# An expectation lives for five minutes: no port is announced twice.
low_ports = count(100)
service_ports = count(5432)
NARROW = "40000:44999"
high_ports = count(40000)
outside_ports = count(45000)
# In each, cutting off the last digit leaves a port that is announced nowhere else.
cut_ports = cycle(range(50100, 50175))
