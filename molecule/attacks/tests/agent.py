"""Run on a test host, its functions called by the tests."""

from __future__ import annotations

import errno
import ipaddress
import random
import select
import socket
import struct
import subprocess
import time
from pathlib import Path

# Options that the module socket does not name (linux/in.h, in6.h, asm-generic/socket.h).
TRANSPARENT = {socket.AF_INET: (socket.IPPROTO_IP, 19), socket.AF_INET6: (socket.IPPROTO_IPV6, 75)}
SO_RCVBUFFORCE = 33
sockets: dict[int, socket.socket] = {}


def keep(new: socket.socket) -> int:
    """Return the number by which later calls name a socket."""
    new.settimeout(5)
    sockets[new.fileno()] = new
    return new.fileno()


def family(address: str) -> socket.AddressFamily:
    """Return an address's family."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def run(command: str, text: str = "") -> str:
    """Run a command on a text."""
    done = subprocess.run(command.split(), input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    return done.stdout


def sysctl(name: str, value: str) -> None:
    """Set a kernel parameter of this host's network."""
    Path(f"/sysctls/{name}").write_text(value, encoding="ascii")


def listen(address: str, port: int) -> int:
    """Listen on a port."""
    new = socket.create_server((address, port), family=family(address), backlog=128)
    new.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return keep(new)


def accept(number: int, port: int = 0) -> int:
    """Accept a connection; if a port is given, that from it, and none of those tried before."""
    while True:
        new, (_address, peer_port, *_rest) = sockets[number].accept()
        if port in (0, peer_port):
            return keep(new)
        new.close()


def connect(source: str, source_port: int, address: str, port: int, seconds: float) -> int | None:
    """Open a connection; None where nothing answers in time."""
    new = socket.socket(family(address))
    new.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    new.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    new.bind((source, source_port))
    new.settimeout(seconds)
    try:
        new.connect((address, port))
    except TimeoutError:
        new.close()
        return None
    return keep(new)


def port(number: int) -> int:
    """Return the own port of a connection."""
    return int(sockets[number].getsockname()[1])


def volley(shots: list[tuple[str, int, str, int]], seconds: float) -> list[bool]:
    """Open connections, all at once, from (address, port) to (address, port); tell which come about in time."""
    poll = select.poll()
    waiting = {}
    hits = [False] * len(shots)
    for index, (source, source_port, address, port) in enumerate(shots):
        new = socket.socket(family(address))
        new.setblocking(False)
        new.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        new.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        new.bind((source, source_port))
        started = new.connect_ex((address, port))
        if started != errno.EINPROGRESS:
            raise OSError(started, errno.errorcode.get(started, ""), f"{address} {port}")
        poll.register(new, select.POLLOUT)
        waiting[new.fileno()] = index, new
    end = time.monotonic() + seconds
    while waiting and time.monotonic() < end:
        for number, _event in poll.poll(max(0, end - time.monotonic()) * 1000):
            index, new = waiting.pop(number)
            poll.unregister(new)
            error = new.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            new.close()
            if error:
                raise OSError(error, errno.errorcode.get(error, ""), str(shots[index]))
            hits[index] = True
    for _index, new in waiting.values():
        new.close()
    return hits


def say(number: int, *segments: str) -> None:
    """Send segments."""
    for segment in segments:
        sockets[number].sendall(segment.encode())


def hear(number: int, size: int, seconds: float) -> str:
    """Receive a number of bytes, or what comes of them in time."""
    heard = b""
    sockets[number].settimeout(seconds)
    try:
        while len(heard) < size:
            heard += sockets[number].recv(size - len(heard))
    except TimeoutError:
        pass
    return heard.decode()


def close(number: int, reset: bool) -> None:
    """Close a connection, by RST or by FIN."""
    if reset:
        sockets[number].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sockets.pop(number).close()


def total(data: bytes) -> int:
    """Return the sum of which RFC 1071 makes a checksum."""
    data += bytes(len(data) % 2)
    return sum(struct.unpack(f"!{len(data) // 2}H", data))


def shoot(
    source: str,
    source_port: int,
    address: str,
    ports: tuple[int, int],
    flags: int,
    numbers: tuple[int, int] = (1, 1),
    data: str = "",
) -> None:
    """Send a segment to each port of a range, from any address, with any sequence and acknowledgment numbers."""
    payload = data.encode()
    pseudo = ipaddress.ip_address(source).packed + ipaddress.ip_address(address).packed
    pseudo += struct.pack("!II", 20 + len(payload), socket.IPPROTO_TCP)
    header = struct.Struct("!HHIIHHHH")
    rest = total(pseudo + header.pack(source_port, 0, *numbers, 5 << 12 | flags, 8192, 0, 0) + payload)
    with socket.socket(family(address), socket.SOCK_RAW, socket.IPPROTO_TCP) as raw:
        raw.setsockopt(*TRANSPARENT[raw.family], 1)
        raw.bind((source, 0))
        raw.connect((address, 0))
        for port in range(ports[0], ports[1] + 1):
            # Sums of 16 bits and multiples of 65,535 do not differ.
            checksum = ~((rest + port) % 65535) & 0xFFFF
            segment = header.pack(source_port, port, *numbers, 5 << 12 | flags, 8192, checksum, 0)
            raw.send(segment + payload)
            # The receiver's queue is not endless.
            if port % 256 == 0:
                time.sleep(0.001)


def flood(
    source: str, source_ports: tuple[int, int], address: str, ports: tuple[int, int], flags: int, count: int
) -> float:
    """Send a number of segments with random numbers, from and to each port of a range in turn; return the seconds."""
    pseudo = ipaddress.ip_address(source).packed + ipaddress.ip_address(address).packed
    pseudo += struct.pack("!II", 20, socket.IPPROTO_TCP)
    header = struct.Struct("!HHIIHHHH")
    rest = total(pseudo + header.pack(0, 0, 0, 0, 5 << 12 | flags, 8192, 0, 0))
    first, width = ports[0], ports[1] - ports[0] + 1
    first_source, source_width = source_ports[0], source_ports[1] - source_ports[0] + 1
    start = time.monotonic()
    with socket.socket(family(address), socket.SOCK_RAW, socket.IPPROTO_TCP) as raw:
        raw.setsockopt(*TRANSPARENT[raw.family], 1)
        raw.bind((source, 0))
        raw.connect((address, 0))
        for index in range(count):
            source_port, port = first_source + index % source_width, first + index % width
            numbers = random.getrandbits(64)
            sequence, acknowledgment = numbers >> 32, numbers & 0xFFFFFFFF
            # Sums of 16 bits and multiples of 65,535 do not differ.
            checksum = ~((rest + source_port + port + numbers) % 65535) & 0xFFFF
            raw.send(header.pack(source_port, port, sequence, acknowledgment, 5 << 12 | flags, 8192, checksum, 0))
            # The receiver's queue is not endless.
            if index % 256 == 0:
                time.sleep(0.001)
    return time.monotonic() - start


def watch(address: str) -> int:
    """See what comes in: a raw socket gets a copy of what has passed the firewalls."""
    raw = socket.socket(family(address), socket.SOCK_RAW, socket.IPPROTO_TCP)
    raw.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 28)
    return keep(raw)


def seen(number: int, source: str, source_ports: list[int]) -> list[tuple[int, int, int, int]]:
    """Return what came from some ports: to which port, its flags, the next sequence number, the acknowledgment."""
    raw = sockets.pop(number)
    raw.settimeout(0.3)
    found = []
    try:
        while True:
            packet, sender = raw.recvfrom(2000)
            # Only IPv4 gives its own header, too.
            segment = packet[(packet[0] & 15) * 4 :] if raw.family == socket.AF_INET else packet
            came_from, port, sequence, acknowledgment, offset, flags = struct.unpack_from("!HHIIBB", segment)
            if sender[0] == source and came_from in source_ports:
                found.append((port, flags, sequence + len(segment) - (offset >> 4) * 4, acknowledgment))
    except TimeoutError:
        raw.close()
    return found
