"""The test hosts, each with an agent, and FTP sessions of which the tests play both ends."""

from __future__ import annotations

import ipaddress
import json
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from ftp import Way
from role import PROGRAMS, SCENARIO, Host

ADDRESSES = {
    "client": {4: "198.51.100.2", 6: "2001:db8::2"},
    "other-client": {4: "198.51.100.3", 6: "2001:db8::3"},
    "server": {4: "203.0.113.2", 6: "2001:db8:1::2"},
    "other-server": {4: "203.0.113.3", 6: "2001:db8:1::3"},
}
AGENT = (Path(__file__).parent / "agent.py").read_text(encoding="utf-8")


class Machine:
    """A test host and the agent on it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.host = Host(f"{SCENARIO}-{name}")
        self.agent = subprocess.Popen(
            ["docker", "exec", "--interactive", self.host.name, "python3", "-c", AGENT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def call(self, function: str, *arguments: object) -> Any:
        """Call one of the agent's functions."""
        assert self.agent.stdin
        assert self.agent.stdout
        self.agent.stdin.write(json.dumps([function, arguments]) + "\n")
        self.agent.stdin.flush()
        answer = json.loads(self.agent.stdout.readline())
        assert "error" not in answer, f"{function}{arguments} on {self.name}: {answer['error']}"
        return answer["result"]

    def load(self, saved: list[str]) -> None:
        """Replace all rules."""
        for program, rules in zip(PROGRAMS, saved):
            self.call("run", f"{program}-restore", f"{rules}\n")

    def address(self, ip_version: int) -> str:
        """Return the host's address."""
        return ADDRESSES[self.name][ip_version]


machines = {name: Machine(name) for name in (*ADDRESSES, "gateway")}
client, other_client, server, other_server = (machines[name] for name in ADDRESSES)


@dataclass(frozen=True)
class Stand:
    """Where the role stands: its inputs, and the direction there of the packets from either end."""

    side: str
    client: str
    server: str

    def __str__(self) -> str:
        return self.side

    @property
    def inputs(self) -> dict[str, str]:
        """The role's inputs."""
        inputs = {"ftp_side": self.side, "ftp_interface": "eth0"}
        return inputs | {"ftp_out_interface": "eth1"} if self.side == "gateway" else inputs

    @property
    def machine(self) -> Machine:
        """The host behind the role's rules."""
        return machines[self.side]

    def change(self, way: Way, *rules: str) -> None:
        """Run iptables; {opener} is the direction of the end that opens data connections, {opened} the other."""
        ends = self.client, self.server
        opener, opened = ends if way.mode == "passive" else reversed(ends)
        for rule in rules:
            self.machine.call("run", f"{PROGRAMS[way.ip_version == 6]} {rule.format(opener=opener, opened=opened)}")

    def expects(self, shot: Shot) -> bool:
        """Tell whether a helper has made an expectation of connections to a shot's target."""
        target = ipaddress.ip_address(shot.target.address(shot.ip_version)).exploded
        return f" dst={target} sport=0 dport={shot.port} " in self.machine.call(
            "run", "cat /proc/net/nf_conntrack_expect"
        )


STANDS = Stand("server", "IN", "OUT"), Stand("client", "OUT", "IN"), Stand("gateway", "IN", "OUT")


@dataclass(frozen=True)
class Shot:
    """A connection that is tried; source port 0 is any."""

    source: Machine
    source_port: int
    target: Machine
    port: int
    ip_version: int

    def hits(self, seconds: float) -> bool:
        """Tell whether the connection comes about."""
        ends = self.source.address(self.ip_version), self.target.address(self.ip_version)
        listener = self.target.call("listen", ends[1], self.port)
        connection = self.source.call("connect", ends[0], self.source_port, ends[1], self.port, seconds)
        if connection is not None:
            self.source.call("close", connection, True)
        self.target.call("close", listener, False)
        return connection is not None


def opens(way: Way, port: int) -> Shot:
    """Return the data connection to a port."""
    if way.mode == "passive":
        return Shot(client, 0, server, port, way.ip_version)
    return Shot(server, 20, client, port, way.ip_version)


class Session:
    """A control connection after its greeting; the helper does not read the first line of either end."""

    def __init__(self, way: Way) -> None:
        self.way = way
        ends = client.address(way.ip_version), server.address(way.ip_version)
        listener = server.call("listen", ends[1], 21)
        self.ends = {client: client.call("connect", ends[0], 0, ends[1], 21, 10)}
        assert self.ends[client] is not None, "no control connection"
        self.ends[server] = server.call("accept", listener)
        server.call("close", listener, False)
        self.reply("220 ready\r\n")
        self.command("USER anonymous\r\n")
        self.reply("230 welcome\r\n")

    def command(self, *segments: str) -> None:
        """Have the client say a line."""
        assert self.arrives(client, segments, SECONDS)

    def reply(self, *segments: str) -> None:
        """Have the server say a line."""
        assert self.arrives(server, segments, SECONDS)

    def arrives(self, speaker: Machine, segments: Iterable[str], seconds: float) -> bool:
        """Have one end say a line in segments; tell whether the other hears it in time."""
        segments = list(segments)
        line = "".join(segments)
        hearer = server if speaker is client else client
        speaker.call("say", self.ends[speaker], *segments)
        return bool(hearer.call("hear", self.ends[hearer], len(line), seconds) == line)

    def announce(self, machine: Machine, port: int) -> None:
        """Announce a port of a host."""
        assert self.arrives(announcer(self.way), [announcement(self.way, machine, port)], SECONDS)

    def close(self, first: Machine, *, reset: bool = False) -> None:
        """Close both ends, by FIN or by RST."""
        for machine, connection in sorted(self.ends.items(), key=lambda end: end[0] is not first):
            machine.call("close", connection, reset)
        self.ends = {}

    def __enter__(self) -> Session:  # noqa: PYI034  # Python 3.10 has no Self
        return self

    def __exit__(self, *_error: object) -> None:
        self.close(client, reset=True)


def announcer(way: Way) -> Machine:
    """Return who announces ports."""
    return client if way.mode == "active" else server


def announcement(way: Way, machine: Machine, port: int) -> str:
    """Return the line that announces a port."""
    address = machine.address(way.ip_version)
    numbers = f"{address},{port // 256},{port % 256}".replace(".", ",")
    return {
        "PORT": f"PORT {numbers}\r\n",
        "EPRT": f"EPRT |{1 if way.ip_version == 4 else 2}|{address}|{port}|\r\n",
        "PASV": f"227 Entering Passive Mode ({numbers}).\r\n",
        # RFC 2428 leaves network and address empty.
        "EPSV": f"229 Entering Extended Passive Mode (|||{port}|)\r\n".replace(
            "||", "||" if machine is server else f"|{address}", 1
        ),
    }[way.command]


# How long a connection that is to come about may take, and one that is not.
SECONDS = 10
REFUSED_SECONDS = 0.5
# An expectation lives for five minutes: no port is announced twice.
high_ports = count(40000)
low_ports = count(100)
# In each, cutting off the last digit leaves a port that is announced nowhere else.
cut_ports = count(50100)
