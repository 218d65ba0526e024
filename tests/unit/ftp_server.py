"""A small FTP server on loopback that misbehaves as told."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

LISTING = b"-rw-r--r-- 1 0 0 5 Jan 01 00:00 file\r\n" * 400
FILE = bytes(range(256)) * 800
# How long it keeps silent; what waits for it has given up long before.
SILENCE = 20.0

REPLIES = {
    "USER": b"331 password\r\n",
    "PASS": b"230-hello\r\n230 welcome\r\n",
    "AUTH": b"234 go on\r\n",
    "PBSZ": b"200 ok\r\n",
    "PROT": b"200 ok\r\n",
    "TYPE": b"200 ok\r\n",
    "PWD": b'257 "/" is here\r\n',
    "CWD": b"250 ok\r\n",
    "QUIT": b"221 bye\r\n",
}

# What becomes of transfers: replies in place of one, after 150 in place of the data, and at the end.
INSTEAD: dict[str, bytes | None] = {
    "mute": None,
    "425": b"425 no\r\n",
    "451": b"451 disk\r\n",
    "522": b"522 PROT P\r\n",
    "550": b"550 no\r\n",
}
AFTER_150: dict[str, bytes | None] = {
    "silent": None,
    "425 late": b"425 no\r\n",
    "reuse late": b"522 session reuse required\r\n",
}
AT_END: dict[str, bytes | None] = {
    "426": b"426 broken\r\n",
    "no 226": None,
    "no folder": b"226 Transfer done (but failed to open directory).\r\n",
}


@dataclass(frozen=True)
class Behaviour:
    """How the server behaves.

    - greeting: none is silence
    - replies: of commands, in place of the usual ones; none is silence, nothing closes the session; {comma} is the
      port as 227 has it, {port} as 229 has it
    - passive: what becomes of a connection to the announced port: V(good), V(dropped), V(refused)
    - data: what becomes of transfers: a key above, or as C(_open), C(_send) and C(_store) say
    - pause: seconds between the bytes of a reply
    """

    greeting: bytes | None = b"220 ready\r\n"
    replies: Mapping[str, bytes | None] = field(default_factory=dict)
    passive: str = "good"
    data: str = "good"
    pause: float = 0
    tls: ssl.SSLContext | None = None
    implicit: bool = False
    reuse: bool = False


class Closed(Exception):  # noqa: N818
    """The session is to end."""


class Server:
    """Serves on a port that the kernel chooses, until it is closed."""

    def __init__(self, behaviour: Behaviour, address: str = "127.0.0.1") -> None:
        self.behaviour = behaviour
        self.address = address
        self.family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.files: dict[str, bytes] = {"file": FILE}
        self.commands: list[str] = []
        self.stop = threading.Event()
        self.listener = socket.create_server((address, 0), family=self.family)
        self.port: int = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """End all sessions."""
        self.stop.set()
        # Wakes accept.
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _accept(self) -> None:
        while True:
            try:
                conn, _peer = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=Visit(self, conn).run, daemon=True).start()


class Visit:
    """One control connection."""

    def __init__(self, server: Server, conn: socket.socket) -> None:
        self.server = server
        self.behaviour = server.behaviour
        self.conn = conn
        self.buffer = b""
        self.passive: socket.socket | None = None
        self.fillers: list[socket.socket] = []
        self.peer: tuple[str, int] = ("", 0)
        self.protected = False

    def run(self) -> None:
        """Serve."""
        self.conn.settimeout(SILENCE)
        with contextlib.suppress(OSError, Closed, ValueError):
            if self.behaviour.implicit:
                assert self.behaviour.tls is not None
                self.conn = self.behaviour.tls.wrap_socket(self.conn, server_side=True)
            self.say(self.behaviour.greeting)
            while True:
                self._command(self._line())
        for sock in (self.conn, self.passive, *self.fillers):
            if sock is not None:
                sock.close()

    def say(self, reply: bytes | None) -> None:
        """Send a reply."""
        if reply is None:
            self.server.stop.wait(SILENCE)
            raise Closed
        if not reply:
            raise Closed
        if not self.behaviour.pause:
            self.conn.sendall(reply)
            return
        for byte in reply:
            self.conn.sendall(bytes([byte]))
            if self.server.stop.wait(self.behaviour.pause):
                raise Closed

    def _line(self) -> str:
        while b"\n" not in self.buffer:
            data = self.conn.recv(4096)
            if not data:
                raise Closed
            self.buffer += data
        line, _newline, self.buffer = self.buffer.partition(b"\n")
        return line.decode().strip()

    def _command(self, line: str) -> None:
        verb, _space, argument = line.partition(" ")
        self.server.commands.append(line)
        told = self.behaviour.replies
        if verb in ("PASV", "EPSV"):
            self._announce(verb)
        elif verb in told:
            self.say(told[verb])
        elif verb in ("PORT", "EPRT"):
            numbers = [int(number) for number in re.findall(r"\d+", argument)]
            port = numbers[4] * 256 + numbers[5] if verb == "PORT" else numbers[-1]
            self.peer = (self.conn.getpeername()[0], port)
            self.say(b"200 ok\r\n")
        elif verb in ("LIST", "RETR", "STOR"):
            self._transfer(verb, argument)
        elif verb == "SIZE":
            size = len(self.server.files.get(argument, b""))
            self.say(f"213 {size}\r\n".encode() if size else b"550 no such file\r\n")
        elif verb == "DELE":
            self.say(b"250 gone\r\n" if self.server.files.pop(argument, None) is not None else b"550 no such file\r\n")
        else:
            self.say(REPLIES.get(verb, b"502 what?\r\n"))
        if verb == "AUTH" and told.get(verb, b"2").startswith(b"2"):
            if self.behaviour.tls is None:
                self.say(None if self.behaviour.data == "mute" else b"")
                return
            self.conn = self.behaviour.tls.wrap_socket(self.conn, server_side=True)
        self.protected = self.protected or verb == "PROT"

    def _announce(self, verb: str) -> None:
        address = self.server.address
        self.passive = socket.socket(self.server.family)
        self.passive.bind((address, 0))
        port = self.passive.getsockname()[1]
        if self.behaviour.passive != "refused":
            self.passive.listen(0 if self.behaviour.passive == "dropped" else 5)
        if self.behaviour.passive == "dropped":
            # The kernel drops what does not fit into the queue.
            for _number in range(3):
                filler = socket.socket(self.server.family)
                filler.setblocking(False)
                filler.connect_ex((address, port))
                self.fillers.append(filler)
            time.sleep(0.05)
        usual = b"227 Entering passive mode (127,0,0,1,{comma}).\r\n" if verb == "PASV" else b"229 ok (|||{port}|)\r\n"
        reply = self.behaviour.replies.get(verb, usual)
        comma = f"{port // 256},{port % 256}"
        self.say(reply and reply.replace(b"{comma}", comma.encode()).replace(b"{port}", str(port).encode()))

    def _open(self) -> socket.socket:
        if self.passive is not None:
            conn, _peer = self.passive.accept()
        else:
            source = "127.0.0.2" if self.behaviour.data == "stranger" else self.server.address
            conn = socket.create_connection(self.peer, SILENCE, source_address=(source, 0))
        conn.settimeout(SILENCE)
        if self.protected and self.behaviour.data != "plain":
            assert self.behaviour.tls is not None
            try:
                conn = self.behaviour.tls.wrap_socket(conn, server_side=True)
            except ssl.SSLError:
                self.say(b"522 TLS failed\r\n")
                raise Closed from None
            if self.behaviour.reuse and not conn.session_reused:
                conn.close()
                self.say(b"522 SSL connection failed: session reuse required\r\n")
                raise Closed
        return conn

    def _transfer(self, verb: str, path: str) -> None:
        """Make a transfer, or spoil it."""
        data = self.behaviour.data
        if data in INSTEAD:
            self.say(INSTEAD[data])
            return
        if verb == "RETR" and path not in self.server.files:
            self.say(b"550 no such file\r\n")
            return
        self.say(b"150 here it comes\r\n")
        if data in AFTER_150:
            self.say(AFTER_150[data])
            return
        with self._open() as conn:
            if verb == "STOR":
                self._store(conn, path)
            else:
                self._send(conn, LISTING if verb == "LIST" else self.server.files[path])
        self.say(AT_END.get(data, b"226 done\r\n"))

    def _store(self, conn: socket.socket, path: str) -> None:
        content = b""
        while chunk := conn.recv(65536):
            content += chunk
            if self.behaviour.data == "break upload" and len(content) > 20000:
                self.server.files[path] = content
                reset(conn)
                self.say(b"426 broken\r\n")
                raise Closed
        self.server.files[path] = content.replace(b"\n", b"\r\n") if self.behaviour.data == "ascii" else content

    def _send(self, conn: socket.socket, content: bytes) -> None:
        half = content[: len(content) // 2]
        data = self.behaviour.data
        if data == "stall":
            conn.sendall(half)
            self.say(None)
        elif data == "reset":
            conn.sendall(half)
            reset(conn)
        elif data == "drip":
            for byte in content[:80]:
                conn.sendall(bytes([byte]))
                if self.server.stop.wait(0.1):
                    raise Closed
        elif data == "endless":
            while not self.server.stop.is_set():
                conn.sendall(LISTING)
        elif data in ("426", "short"):
            conn.sendall(half)
        else:
            conn.sendall(content)
        if data == "not closed":
            self.say(b"226 done\r\n")
            self.server.stop.wait(SILENCE)


def reset(conn: socket.socket) -> None:
    """Reset a connection."""
    time.sleep(0.05)
    conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    conn.close()


@contextlib.contextmanager
def full_queue() -> Iterator[int]:
    """A port at which the kernel drops what comes."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        for _number in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        time.sleep(0.05)
        yield port
