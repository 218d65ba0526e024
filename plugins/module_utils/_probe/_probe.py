# Copyright (c) hostfw.conntrack contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Real FTP sessions with a server, and where they stop.

Control connection and modes: RFC 959; EPRT and EPSV: RFC 2428; FTPS: RFC 4217.
No server can hold a session for longer than its time, or fill this host's memory.
"""

from __future__ import annotations

import errno
import ftplib
import hashlib
import ipaddress
import re
import secrets
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ansible_collections.hostfw.conntrack.plugins.module_utils._diagnosis import _causes

MODES = ("passive", "active")
FAMILIES = {"ipv4": socket.AF_INET, "ipv6": socket.AF_INET6}
WORDS = {"ipv4": "IPv4", "ipv6": "IPv6"}
# A probe ends within this many times the time of one step.
STEPS = 6
PORTS = 65535
# An hour; the kernel's timers are not for more than some weeks.
LONGEST = 3600
REPLY_BYTES = 65536
LISTING_BYTES = 16 * 1024 * 1024
# More than a packet and than a first congestion window, so that the path's MTU counts.
UPLOAD_BYTES = 65536
SHOWN = 200

# The last two: this host has no address, or no support, of the IP version.
UNREACHABLE = (
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
    errno.EHOSTDOWN,
    errno.ENETDOWN,
    errno.EADDRNOTAVAIL,
    errno.EAFNOSUPPORT,
)
# X509_V_ERR_* in OpenSSL's x509_vfy.h: not yet valid and expired; another host name and another address.
CERTIFICATE = {9: "expired", 10: "expired", 62: "name", 64: "name"}
# Content types 21 (alert) and 22 (handshake), then the version's first byte: RFC 8446, section 5.1.
TLS_RECORDS = (b"\x15\x03", b"\x16\x03")
# vsftpd's 226 for a folder that it cannot open.
FAILED_LISTING = "failed to open directory"
# They say that there is no data connection rather than that there is no file.
NO_DATA_CONNECTION = ("425", "520", "521", "522")

# What socket.connect takes: address and port, and for IPv6 flow and scope.
Place = tuple[Any, ...]


class StoppedError(Exception):
    """A session that cannot go on, and how it came to that, in a word of C(_causes)."""

    def __init__(self, how: str) -> None:
        super().__init__(how)
        self.how = how


# What may come out of a session; TimeoutError is not yet socket.timeout before Python 3.10, but both are OSError.
ENDS = (OSError, EOFError, ValueError, ftplib.Error, StoppedError)


@dataclass(frozen=True)
class Trial:
    """What is tried: the options, checked."""

    host: str
    port: int
    user: str
    password: str
    modes: tuple[str, ...]
    blocked_modes: tuple[str, ...]
    ip_versions: tuple[str, ...]
    asked: bool
    tls: ssl.SSLContext | None
    directory: str | None
    download: str | None
    upload: str | None
    timeout: float


@dataclass
class Probe:
    """What came of one mode over one IP version."""

    mode: str
    ip_version: str
    address: str | None
    expected: str
    passed: bool = False
    stage: str | None = "resolve"
    reply: str | None = None
    seconds: float = 0.0
    bytes: int = 0
    endpoint: str | None = None
    announced_elsewhere: bool = False
    connected: bool = False
    read_back: bool = False
    left: str | None = None
    id: str | None = None
    cause: str | None = None
    cure: str | None = None

    def because(self, why: _causes.Cause) -> None:
        """Note why it did not go as asked."""
        self.id, self.cause, self.cure = why.id, why.cause, why.cure


def parse(inputs: Mapping[str, Any]) -> Trial:
    """Return the options, checked.

    :raises ValueError: naming the option, what is allowed and what it got
    """
    _check(inputs)
    wanted = {*inputs["modes"], *inputs["blocked_modes"]}
    if not wanted:
        raise ValueError("modes: must be passive, active or both, where blocked_modes is empty, got []")
    asked = inputs["ip_versions"]
    return Trial(
        host=inputs["host"],
        port=inputs["port"],
        user=inputs["user"],
        password=inputs["password"] or "",
        modes=tuple(mode for mode in MODES if mode in wanted),
        blocked_modes=tuple(inputs["blocked_modes"]),
        ip_versions=_ip_versions(inputs["host"], asked),
        asked=asked is not None,
        tls=context(inputs["ca_path"], validate=inputs["validate_certs"]) if inputs["tls"] else None,
        directory=inputs["directory"] or None,
        download=inputs["download"] or None,
        upload=inputs["upload"] or None,
        timeout=inputs["timeout"],
    )


def _check(inputs: Mapping[str, Any]) -> None:
    for name in ("host", "user", "password", "directory", "download", "upload"):
        # A line's end would begin another command.
        if re.search(r"[\r\n\0]", inputs[name] or ""):
            got = "" if name == "password" else f", got {inputs[name]!r}"
            raise ValueError(f"{name}: must be one line{got}")
    for name in ("host", "user"):
        if not inputs[name]:
            raise ValueError(f"{name}: must not be empty")
    if not 0 < inputs["port"] <= PORTS:
        raise ValueError(f"port: must be a port from 1 to {PORTS}, got {inputs['port']}")
    if not 0 < inputs["timeout"] <= LONGEST:
        raise ValueError(f"timeout: must be a number of seconds above 0, at most {LONGEST}, got {inputs['timeout']}")


def _ip_versions(host: str, asked: list[str] | None) -> tuple[str, ...]:
    """Return the IP versions to try; an address is of one."""
    wanted = tuple(name for name in FAMILIES if asked is None or name in asked)
    try:
        own = f"ipv{ipaddress.ip_address(host).version}"
    except ValueError:
        own = None
    if not wanted or (own is not None and own not in wanted):
        raise ValueError(f"ip_versions: must be {own or 'ipv4, ipv6 or both'} for host {host}, got {asked}")
    return wanted if own is None else (own,)


def context(ca_path: str | None, *, validate: bool) -> ssl.SSLContext:
    """Return what TLS is to be like.

    :arg ca_path: a file or a folder with the certificates of authorities
    :raises ValueError: where it cannot be read
    """
    try:
        is_folder = ca_path is not None and Path(ca_path).is_dir()
        found = ssl.create_default_context(cafile=None if is_folder else ca_path, capath=ca_path if is_folder else None)
    except OSError as exc:
        raise ValueError(
            f"ca_path: must be a file or folder of certificates in PEM, got {ca_path}: {exc.strerror}"
        ) from exc
    if not validate:
        found.check_hostname = False
        found.verify_mode = ssl.CERT_NONE
    return found


class Clock:
    """Ends every step, and all of them together, in time."""

    def __init__(self, seconds: float, steps: float) -> None:
        self.seconds = seconds
        self.end = time.monotonic() + seconds * steps
        self.begin()

    def begin(self) -> None:
        """Begin a step."""
        self.step_end = time.monotonic() + self.seconds

    def left(self) -> float:
        """Return the seconds that are left.

        :raises TimeoutError: where there are none
        """
        left = min(self.step_end, self.end) - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        return left

    @property
    def over(self) -> bool:
        """Whether all steps together have taken too long."""
        return time.monotonic() >= self.end


class Session(ftplib.FTP):
    """One FTP session, which notes in a probe how far it came."""

    sock: socket.socket

    def __init__(self, trial: Trial, probe: Probe, place: Place, steps: float = STEPS) -> None:
        super().__init__(timeout=trial.timeout)
        self.trial = trial
        self.probe = probe
        self.place = place
        self.af = FAMILIES[probe.ip_version]
        self.passiveserver = probe.mode == "passive"
        self.clock = Clock(trial.timeout, steps)
        self.command = ""
        self.received = bytearray()
        self.behind_nat = False

    # The control connection

    def start(self) -> None:
        """Connect and log in."""
        self.probe.stage = "connect"
        self.sock = self._connect(self.place)
        here, there = (name[0].partition("%")[0] for name in (self.sock.getsockname(), self.sock.getpeername()))
        self.behind_nat = ipaddress.ip_address(here).is_private and not ipaddress.ip_address(there).is_private
        self.probe.stage = "greeting"
        self._greet()
        if self.trial.tls is not None:
            self.probe.stage = "tls"
            self.voidcmd("AUTH TLS")
            if self.received:
                # Whoever sent it, it must not pass for encrypted.
                raise StoppedError("unencrypted")
            self.command = "handshake"
            self.sock = self._encrypt(self.trial.tls, self.sock)
        self.probe.stage = "login"
        self.login(self.trial.user, self.trial.password)
        if self.trial.tls is not None:
            self.probe.stage = "tls"
            self.voidcmd("PBSZ 0")
            self.voidcmd("PROT P")
            self.probe.stage = "login"
        self.voidcmd("TYPE I")

    def _connect(self, place: Place) -> socket.socket:
        sock = socket.socket(self.af, socket.SOCK_STREAM)
        self.clock.begin()
        try:
            sock.settimeout(self.clock.left())
            sock.connect(place)
        except BaseException:
            sock.close()
            raise
        return sock

    def _encrypt(
        self, tls: ssl.SSLContext, sock: socket.socket, session: ssl.SSLSession | None = None
    ) -> ssl.SSLSocket:
        self.clock.begin()
        sock.settimeout(self.clock.left())
        return tls.wrap_socket(sock, server_hostname=self.trial.host.partition("%")[0], session=session)

    def _greet(self) -> None:
        try:
            # 120 is followed by 220.
            if self.getresp()[:3] == "120":
                self.voidresp()
        except OSError as exc:
            if how(exc) == "timeout":
                if self.received and not self.received[:1].isdigit():
                    raise StoppedError("nonsense") from exc
                raise StoppedError("timeout" if self.received else self._silent()) from exc
            raise

    def _silent(self) -> str:
        """Tell whether a silent server waits for TLS (implicit FTPS), or for a protocol that clients begin."""
        unverified = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        unverified.check_hostname = False
        unverified.verify_mode = ssl.CERT_NONE
        self.clock.begin()
        try:
            self.sock.settimeout(self.clock.left())
            unverified.wrap_socket(self.sock).close()
        except ssl.SSLError as exc:
            if how(exc) != "handshake":
                return "timeout"
            return "tls" if "ALERT" in (exc.reason or "") else "nonsense"
        except OSError:
            return "timeout"
        return "tls"

    def putline(self, line: str) -> None:
        """Send a command."""
        self.command = line.partition(" ")[0]
        self.clock.begin()
        self.sock.settimeout(self.clock.left())
        self.sock.sendall(f"{line}\r\n".encode())

    def getline(self) -> str:
        """Return a line of a reply."""
        while b"\n" not in self.received:
            if len(self.received) > self.maxline:
                raise StoppedError("endless")
            self.sock.settimeout(self.clock.left())
            data = self.sock.recv(self.maxline)
            if not data:
                raise EOFError
            self.received += data
            if self.received.startswith(TLS_RECORDS):
                raise StoppedError("tls" if self.probe.stage == "greeting" else "nonsense")
        line, _newline, rest = self.received.partition(b"\n")
        self.received = rest
        return line.decode(errors="replace").rstrip("\r")

    def getmultiline(self) -> str:
        """Return a reply (RFC 959, section 4.2)."""
        self.clock.begin()
        try:
            first = line = self.getline()
            text = first
            while re.match(r"\d{3}-", first) and not line.startswith(f"{first[:3]} "):
                if len(text) > REPLY_BYTES:
                    raise StoppedError("endless")
                line = self.getline()
                text += f"\n{line}"
        except ENDS:
            if self.received:
                self._note(bytes(self.received[:SHOWN]).decode(errors="replace"))
            raise
        self._note(text)
        if not re.match(r"[1-5]\d\d([ -]|$)", first):
            raise StoppedError("nonsense")
        return text

    def _note(self, reply: str) -> None:
        self.probe.reply = printable(reply, self.trial.password)

    # Data connections

    def makepasv(self) -> tuple[str, int]:
        """Return where the server waits, and note what it announced."""
        peer = self.sock.getpeername()
        reply = self.sendcmd("PASV" if self.af == socket.AF_INET else "EPSV")
        try:
            if self.af == socket.AF_INET:
                announced, port = ftplib.parse227(reply)
            else:
                announced, port = ftplib.parse229(reply, peer)
            address = ipaddress.ip_address(announced.partition("%")[0])
        except (ValueError, ftplib.Error) as exc:
            raise StoppedError("nonsense") from exc
        self.probe.endpoint = endpoint(str(address), port)
        if not 0 < port <= PORTS:
            raise StoppedError("nonsense")
        self.probe.announced_elsewhere = address != ipaddress.ip_address(peer[0].partition("%")[0])
        return peer[0], port

    def makeport(self) -> socket.socket:
        """Return the socket that waits for the server, and announce it."""
        here = self.sock.getsockname()
        listener = socket.socket(self.af, socket.SOCK_STREAM)
        try:
            listener.bind((here[0], 0, *here[2:]))
            listener.listen(1)
            address, port = here[0].partition("%")[0], listener.getsockname()[1]
            self.probe.endpoint = endpoint(address, port)
            if self.af == socket.AF_INET:
                self.sendport(address, port)
            else:
                self.sendeprt(address, port)
        except BaseException:
            listener.close()
            raise
        return listener

    def ntransfercmd(self, cmd: str, rest: int | str | None = None) -> tuple[socket.socket, int | None]:  # noqa: ARG002
        """Begin a transfer, and return its data connection."""
        self.probe.stage = "data connection"
        if self.passiveserver:
            _host, port = self.makepasv()
            peer = self.sock.getpeername()
            self.command = "connect"
            conn = self._connect((peer[0], port, *peer[2:]))
            self.probe.connected = True
            with closed_on_error(conn):
                self._begin(cmd)
        else:
            with self.makeport() as listener:
                self._begin(cmd)
                conn = self._accept(listener)
        if self.trial.tls is None:
            return conn, None
        # vsftpd takes a data connection only with the TLS session of the control connection.
        session = self.sock.session if isinstance(self.sock, ssl.SSLSocket) else None
        with closed_on_error(conn), self._explained():
            return self._encrypt(self.trial.tls, conn, session), None

    def _begin(self, command: str) -> None:
        """Send a command that wants a data connection."""
        try:
            reply = self.sendcmd(command)
            # Some servers send a 200 before the 150.
            if reply.startswith("2"):
                reply = self.getresp()
            if not reply.startswith("1"):
                raise ftplib.error_reply(reply)
        except ftplib.Error as exc:
            if how(exc) not in NO_DATA_CONNECTION:
                self.probe.stage = "transfer"
            raise

    def _accept(self, listener: socket.socket) -> socket.socket:
        """Return the connection that the server opens, unless it first says that it cannot."""
        self.clock.begin()
        ready, _write, _error = select.select([listener, self.sock], [], [], self.clock.left())
        if ready and listener not in ready:
            self.voidresp()
        if listener not in ready:
            raise StoppedError("no connection")
        listener.settimeout(self.clock.left())
        conn, peer = listener.accept()
        self.probe.connected = True
        if peer[0] != self.sock.getpeername()[0]:
            conn.close()
            raise StoppedError("peer")
        return conn

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Where a data connection fails, let the server's own word count, if it has one."""
        try:
            yield
        except (OSError, EOFError) as exc:
            timed_out = how(exc) == "timeout"
            if timed_out and not self.clock.over and not self._readable():
                raise
            try:
                self.voidresp()
            except ftplib.Error as error:
                raise error from exc
            except (OSError, EOFError, StoppedError):
                raise exc from None
            if timed_out:
                raise StoppedError("unclosed") from exc
            raise

    def _readable(self) -> bool:
        return bool(self.received) or bool(select.select([self.sock], [], [], 0)[0])

    def receive(self, command: str, limit: float = float("inf")) -> tuple[int, str]:
        """Return how many bytes a command brings, and their checksum."""
        size, checksum = 0, hashlib.sha256()
        with self.transfercmd(command) as conn, self._data():
            while True:
                self.clock.begin()
                conn.settimeout(self.clock.left())
                data = conn.recv(65536)
                if not data:
                    break
                size += len(data)
                self.probe.bytes += len(data)
                checksum.update(data)
                if size > limit:
                    raise StoppedError("endless")
            end_tls(conn)
            # A server may wait for this before it says that the transfer is complete.
            conn.close()
            self._finish()
        return size, checksum.hexdigest()

    def store(self, path: str, content: bytes) -> None:
        """Store a file."""
        with self.transfercmd(f"STOR {path}") as conn, self._data():
            for start in range(0, len(content), 8192):
                self.clock.begin()
                conn.settimeout(self.clock.left())
                conn.sendall(content[start : start + 8192])
                self.probe.bytes += len(content[start : start + 8192])
            end_tls(conn)
            # To close it here would reset it where something has come that was not read, such as TLS 1.3's tickets.
            conn.shutdown(socket.SHUT_WR)
            self._finish()

    @contextmanager
    def _data(self) -> Iterator[None]:
        """Tell what breaks a transfer."""
        self.probe.stage = "transfer"
        before = self.probe.bytes
        try:
            with self._explained():
                yield
        except OSError as exc:
            if how(exc) == "timeout" and self.probe.bytes > before and not self.clock.over:
                raise StoppedError("stalled") from exc
            raise
        except ftplib.Error as exc:
            if how(exc) in NO_DATA_CONNECTION and self.probe.bytes == before:
                self.probe.stage = "data connection"
            raise

    def _finish(self) -> None:
        try:
            reply = self.voidresp()
        except OSError as exc:
            if how(exc) == "timeout" and not self.clock.over:
                raise StoppedError("unfinished") from exc
            raise
        if FAILED_LISTING in reply:
            raise StoppedError("550")


def end_tls(conn: socket.socket) -> None:
    """Send TLS's close_notify, and do not wait for the server's."""
    if isinstance(conn, ssl.SSLSocket):
        conn.settimeout(0)
        with suppress(OSError, ValueError):
            conn.unwrap()


@contextmanager
def closed_on_error(sock: socket.socket) -> Iterator[None]:
    """Close a socket where what follows fails."""
    try:
        yield
    except BaseException:
        sock.close()
        raise


def how(exc: BaseException) -> str:
    """Return how a session stopped, in a word of C(_causes)."""
    if isinstance(exc, StoppedError):
        return exc.how
    if isinstance(exc, ftplib.Error):
        return str(exc)[:3]
    if isinstance(exc, ssl.SSLCertVerificationError):
        return CERTIFICATE.get(exc.verify_code, "untrusted")
    if isinstance(exc, OSError) and exc.errno in UNREACHABLE:
        return "unreachable"
    kinds: tuple[tuple[tuple[type[BaseException], ...], str], ...] = (
        ((TimeoutError, socket.timeout), "timeout"),
        ((EOFError, ConnectionResetError, ConnectionAbortedError, BrokenPipeError), "closed"),
        ((ssl.SSLEOFError, ssl.SSLZeroReturnError), "closed"),
        ((ssl.SSLError,), "handshake"),
        ((ConnectionRefusedError,), "refused"),
        ((PermissionError,), "prohibited"),
    )
    return next((word for classes, word in kinds if isinstance(exc, classes)), "error")


def printable(text: str, password: str) -> str:
    """Return a reply in one line, short, without control characters and without the password."""
    if password:
        text = text.replace(password, "********")
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return line[:SHOWN]


def endpoint(address: str, port: int) -> str:
    """Return an address with its port."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def resolve(trial: Trial, ip_version: str) -> Place:
    """Return the first address of one IP version.

    :raises StoppedError: where there is none, or none in time
    """
    found: list[Place] = []

    def ask() -> None:
        with suppress(OSError, UnicodeError):
            answers = socket.getaddrinfo(trial.host, trial.port, FAMILIES[ip_version], socket.SOCK_STREAM)
            found.extend(answer[4] for answer in answers)

    # The C library's resolver has no limit of time that a caller could set.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(trial.timeout)
    if not found:
        raise StoppedError("timeout" if thread.is_alive() else "unknown")
    return found[0]


def run(trial: Trial, resolver: Callable[[Trial, str], Place] = resolve) -> list[Probe]:
    """Try every mode over every IP version."""
    places = {ip_version: _place(trial, ip_version, resolver) for ip_version in trial.ip_versions}
    known = [ip_version for ip_version, place in places.items() if not isinstance(place, StoppedError)]
    return [
        probe(trial, mode, ip_version, places[ip_version])
        for ip_version in (trial.ip_versions if trial.asked or not known else known)
        for mode in trial.modes
    ]


def _place(trial: Trial, ip_version: str, resolver: Callable[[Trial, str], Place]) -> Place | StoppedError:
    try:
        return resolver(trial, ip_version)
    except StoppedError as exc:
        return exc


def probe(trial: Trial, mode: str, ip_version: str, place: Place | StoppedError) -> Probe:
    """Try one mode over one IP version."""
    blocked = mode in trial.blocked_modes
    address = None if isinstance(place, StoppedError) else str(place[0])
    found = Probe(mode, ip_version, address, "block" if blocked else "pass")
    start = time.monotonic()
    if isinstance(place, StoppedError):
        _stop(trial, found, place)
    else:
        session = Session(trial, found, place)
        try:
            session.start()
            _transfer(session)
        except ENDS as exc:
            _stop(trial, found, exc, session)
        else:
            found.stage = None
        finally:
            session.close()
    found.seconds = round(time.monotonic() - start, 3)
    _judge(found)
    return found


def _transfer(session: Session) -> None:
    """Make every transfer that is asked for."""
    trial = session.trial
    _list(session, trial.directory)
    if session.probe.expected == "block":
        # It has got a data connection; no more is to be known.
        return
    if trial.download is not None:
        size = None
        with suppress(ftplib.Error, ValueError):
            size = session.size(trial.download)
        got, _checksum = session.receive(f"RETR {trial.download}")
        # A log, say, may grow meanwhile.
        if size is not None and got < size:
            raise StoppedError("short")
    if trial.upload is not None:
        _upload(session, f"{trial.upload.rstrip('/')}/hostfw-probe-{secrets.token_hex(8)}")
    # A server that has closed by now has done all that was asked of it.
    with suppress(*ENDS):
        session.voidcmd("QUIT")


def _list(session: Session, directory: str | None) -> None:
    """List a folder; vsftpd lists one that is not there as an empty one, but does not change to it."""
    if directory is None:
        session.receive("LIST", LISTING_BYTES)
        return
    session.probe.stage = "transfer"
    home = session.pwd()
    session.cwd(directory)
    session.receive("LIST", LISTING_BYTES)
    session.cwd(home)


def _upload(session: Session, path: str) -> None:
    """Store a file, read it back where that is permitted, and delete it again, whatever happens."""
    content = secrets.token_bytes(UPLOAD_BYTES)
    try:
        session.store(path, content)
        try:
            _size, checksum = session.receive(f"RETR {path}")
        except ftplib.error_perm as exc:
            if how(exc) != "550":
                raise
        else:
            session.probe.stage = "checksum"
            if checksum != hashlib.sha256(content).hexdigest():
                raise StoppedError("mismatch")
            session.probe.read_back = True
    except ENDS as exc:
        # Where the server refused the command, nothing was stored.
        if not (isinstance(exc, ftplib.error_perm) and session.command == "STOR"):
            _delete_anew(session, path)
        raise
    with suppress(*ENDS):
        session.delete(path)
        return
    session.probe.left = path


def _delete_anew(session: Session, path: str) -> None:
    """Delete a file in a session of its own, as this one's replies may be out of step."""
    session.sock.close()
    other = Session(session.trial, replace(session.probe), session.place, steps=2)
    try:
        other.start()
        other.delete(path)
    except ENDS:
        session.probe.left = path
    finally:
        other.close()


def _stop(trial: Trial, found: Probe, exc: BaseException, session: Session | None = None) -> None:
    """Note why a probe stopped."""
    word = how(exc)
    stop = _causes.Stop(
        stage=found.stage or "",
        how="slow" if word == "timeout" and session is not None and session.clock.over else word,
        mode=found.mode,
        tls=trial.tls is not None,
        host=trial.host,
        address=found.address or "",
        port=trial.port,
        command=session.command if session is not None else "",
        reply=found.reply or "",
        error=printable(str(exc), trial.password),
        endpoint=found.endpoint or "this host",
        bytes=found.bytes,
        elsewhere=found.announced_elsewhere,
        behind_nat=session is not None and session.behind_nat,
    )
    found.because(_causes.explain(stop))


def _judge(found: Probe) -> None:
    """Tell whether a probe did as expected."""
    if found.expected == "pass":
        found.passed = found.stage is None
        return
    stopped = _causes.STAGES.index(found.stage) if found.stage else len(_causes.STAGES)
    # A name that is not resolved says nothing of a firewall.
    found.passed = not found.connected and 0 < stopped <= _causes.STAGES.index("data connection")
    if not found.passed and found.connected:
        found.because(_causes.NOT_CLOSED.told(mode=found.mode))


def where(trial: Trial, found: Probe) -> str:
    """Return what was tried."""
    return f"{found.mode} over {WORDS[found.ip_version]} to {found.address or trial.host} port {trial.port}"


def message(trial: Trial, probes: list[Probe]) -> str:
    """Return one line for each probe that did not do as expected."""
    return "\n".join(
        f"{where(trial, found)} {_outcome(found)}: {found.cause} {found.cure}" for found in probes if not found.passed
    )


def tried(probes: list[Probe]) -> bool:
    """Tell whether the outcome is that of sessions, and not of names alone that cannot be resolved."""
    failed = [found for found in probes if not found.passed]
    return not failed or any(found.stage != "resolve" for found in failed)


def _outcome(found: Probe) -> str:
    return "was not blocked" if found.expected == "block" and found.connected else f"stopped at {found.stage}"


def warnings(trial: Trial, probes: list[Probe]) -> list[str]:
    """Return what the user should know although it is no failure."""
    texts = []
    for found in probes:
        if found.passed and found.announced_elsewhere:
            texts.append(
                f"{where(trial, found)}: the server announced {found.endpoint}, and clients that trust this address "
                "most likely fail; let it announce the address that clients call (vsftpd: pasv_address, ProFTPD: "
                "MasqueradeAddress), or, for plain FTP, load nf_nat_ftp where NAT is done (ftp_nat of the role)"
            )
        if found.left is not None:
            texts.append(
                f"{where(trial, found)}: {found.left} may still be on the server, which did not delete it; delete it "
                "there"
            )
        if found.passed and found.expected == "block" and found.stage != "data connection":
            texts.append(
                f"{where(trial, found)}: counts as blocked, but stopped at {found.stage} already, which says nothing "
                f"of its data connections: {found.cause}"
            )
    return texts
