"""FTP sessions with a server that behaves, and with one that misbehaves in every way: where they stop, and why."""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import re
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.hostfw.conntrack.plugins.module_utils._diagnosis import _causes
from ansible_collections.hostfw.conntrack.plugins.module_utils._probe import _probe
from ansible_collections.hostfw.conntrack.plugins.module_utils._probe._probe import Probe
from ansible_collections.hostfw.conntrack.plugins.modules import ftp_probe
from ansible_collections.hostfw.conntrack.tests.unit.ftp_server import FILE, LISTING, Behaviour, Server, full_queue

# Of a step; no probe may take much longer than six of them.
SECONDS = 0.6
DEFAULTS: dict[str, Any] = {
    "host": "127.0.0.1",
    "port": 21,
    "user": "anonymous",
    "password": None,
    "modes": ["passive", "active"],
    "blocked_modes": [],
    "ip_versions": None,
    "tls": False,
    "validate_certs": True,
    "ca_path": None,
    "directory": None,
    "download": None,
    "upload": None,
    "timeout": 10.0,
}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates for localhost, for another name, and one that is out of its time."""
    folder = tmp_path_factory.mktemp("certificates")
    kind = "ec -pkeyopt ec_paramgen_curve:P-256"
    for name, names, days in (
        ("good", "DNS:localhost,IP:127.0.0.1,IP:::1", "2"),
        ("other", "DNS:ftp.example.org", "2"),
        ("old", "IP:127.0.0.1", "-1"),
    ):
        key, request, certificate = (f"{name}.{end}" for end in ("key", "csr", "crt"))
        for words in (
            f"req -newkey {kind} -nodes -subj /CN={name} -addext subjectAltName={names} -keyout {key} -out {request}",
            f"x509 -req -in {request} -signkey {key} -days {days} -copy_extensions copyall -out {certificate}",
        ):
            subprocess.run(["openssl", *words.split()], cwd=folder, check=True, capture_output=True)
    return folder


def server_context(folder: Path, name: str, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = version
    context.load_cert_chain(folder / f"{name}.crt", folder / f"{name}.key")
    return context


def trial(port: int, **options: object) -> _probe.Trial:
    """Check the options."""
    return _probe.parse({**DEFAULTS, "port": port, **options})


@pytest.mark.parametrize("tls", [None, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(("address", "ip_version"), [("127.0.0.1", "ipv4"), ("::1", "ipv6")])
def test_both_modes_pass(certificates: Path, address: str, ip_version: str, tls: ssl.TLSVersion | None) -> None:
    context = server_context(certificates, "good", tls) if tls else None
    options = {"tls": tls is not None, "ca_path": str(certificates / "good.crt")}
    with contextlib.closing(Server(Behaviour(tls=context, reuse=True), address)) as server:
        tried = trial(server.port, host=address, directory="pub", download="file", upload="incoming/", **options)
        probes = _probe.run(tried)
        commands = [line.partition(" ")[0] for line in server.commands]
        moves = list(server.commands)
        stored = [line for line in server.commands if line.startswith("STOR incoming/hostfw-probe-")]
        files = set(server.files)
    assert [(probe.mode, probe.ip_version, probe.passed) for probe in probes] == [
        ("passive", ip_version, True),
        ("active", ip_version, True),
    ]
    for probe in probes:
        assert (probe.stage, probe.cause, probe.address, probe.connected) == (None, None, address, True)
        assert probe.bytes == len(LISTING) + len(FILE) + 2 * _probe.UPLOAD_BYTES
        assert (probe.read_back, probe.left, probe.announced_elsewhere) == (True, None, False)
        assert probe.reply == "221 bye"
        assert str(probe.endpoint).startswith("127.0.0.1:" if ip_version == "ipv4" else "[::1]:")
    assert ("PASV" in commands, "EPSV" in commands) == (ip_version == "ipv4", ip_version == "ipv6")
    assert ("PORT" in commands, "EPRT" in commands) == (ip_version == "ipv4", ip_version == "ipv6")
    assert len(stored) == len(set(stored)) == 2
    assert files == {"file"}
    assert (moves.count("CWD pub"), moves.count("CWD /")) == (2, 2)
    assert (_probe.message(tried, probes), _probe.warnings(tried, probes)) == ("", [])


@dataclass(frozen=True)
class Case:
    """A way to misbehave, and what the probe says of it."""

    name: str
    behaviour: Behaviour
    stage: str | None
    cause: str = ""
    mode: str = "passive"
    options: dict[str, Any] = field(default_factory=dict)
    certificate: str | None = None
    reply: str | None = None
    seconds: float = 10


# What waits for something in vain.
Waiting = functools.partial(Case, seconds=SECONDS)


def replies(**by_command: bytes | None) -> Behaviour:
    return Behaviour(replies=by_command)


TLS = {"tls": True, "validate_certs": False}
DOWNLOAD = {"download": "file"}
UPLOAD = {"upload": "incoming"}
CASES = [
    # Greeting
    Waiting("no banner", Behaviour(greeting=None), "greeting", "no banner comes in time"),
    Waiting("a banner in bytes", Behaviour(pause=0.1), "greeting", "no banner comes in time"),
    Case("closed at once", Behaviour(greeting=b""), "greeting", "closes the connection at once"),
    Case("too many clients", Behaviour(greeting=b"421 full\r\n"), "greeting", "too many clients", reply="421 full"),
    Case("ssh", Behaviour(greeting=b"SSH-2.0-OpenSSH_9.2\r\n"), "greeting", "speaks SSH", reply="SSH-2.0-OpenSSH_9.2"),
    Case("http", Behaviour(greeting=b"HTTP/1.1 400 Bad Request\r\n"), "greeting", "such as HTTP"),
    Waiting("no line", Behaviour(greeting=b"\x00\x01\x02"), "greeting", "another protocol"),
    Case("an alert of TLS", Behaviour(greeting=b"\x15\x03\x01\x00\x02\x02\x0a"), "greeting", "implicit FTPS"),
    Waiting("implicit FTPS", Behaviour(implicit=True), "greeting", "implicit FTPS", certificate="good"),
    Case("one endless line", Behaviour(greeting=b"220 " + b"x" * 100000), "greeting", "no end within the limit"),
    Case(
        "endless lines", Behaviour(greeting=b"220-\r\n" + b"220-x\r\n" * 20000), "greeting", "no end within the limit"
    ),
    Case(
        "control characters",
        Behaviour(greeting=b"530 \x1b[31mno\x00 \xff " + b"y" * 300 + b"\r\n"),
        "greeting",
        "refuses the connection",
        reply="530 [31mno \ufffd " + "y" * 187,
    ),
    # TLS
    Case("no TLS", replies(AUTH=b"530 no\r\n"), "tls", "TLS is switched off there", options=TLS),
    Case("AUTH unknown", replies(AUTH=b"500 what\r\n"), "tls", "TLS is switched off there", options=TLS),
    Waiting("no answer to AUTH", replies(AUTH=None), "tls", "No answer comes in time", options=TLS),
    Case("AUTH, then closed", replies(AUTH=b"234 ok\r\n"), "tls", "The TLS handshake fails (", options=TLS),
    Waiting(
        "AUTH, then nothing",
        Behaviour(replies={"AUTH": b"234 ok\r\n"}, data="mute"),
        "tls",
        "handshake stands still",
        options=TLS,
    ),
    Case("AUTH and more", replies(AUTH=b"234 ok\r\n230 in\r\n"), "tls", "came in plain", options=TLS),
    Case("untrusted", Behaviour(), "tls", "No authority", options={"tls": True}, certificate="good"),
    Case(
        "wrong name", Behaviour(), "tls", "not for 127.0.0.1", options={"tls": True, "ca": "other"}, certificate="other"
    ),
    Case("expired", Behaviour(), "tls", "out of its time", options={"tls": True, "ca": "old"}, certificate="old"),
    Case("no PROT P", replies(PROT=b"536 no\r\n"), "tls", "refuses to encrypt data", options=TLS, certificate="good"),
    # Login
    Case("wrong password", replies(PASS=b"530 Login incorrect.\r\n"), "login", "user or password is wrong"),
    Case("430", replies(PASS=b"430 no\r\n"), "login", "user or password is wrong"),
    Case(
        "vsftpd wants TLS",
        replies(USER=b"530 Non-anonymous sessions must use encryption.\r\n"),
        "login",
        "wants FTPS before a login",
    ),
    Case("522", replies(USER=b"522 SSL required\r\n"), "login", "wants FTPS before a login"),
    Case(
        "anonymous without TLS",
        replies(USER=b"530 Anonymous sessions may not use encryption.\r\n"),
        "login",
        "does not let this user log in by FTPS",
        options=TLS,
        certificate="good",
    ),
    Case("no code", replies(USER=b"what?\r\n"), "login", "does not speak FTP", reply="what?"),
    Case("331 for ever", replies(PASS=b"331 again\r\n", ACCT=b"331 again\r\n"), "login", "asks for ever more"),
    Case("closes after USER", replies(USER=b""), "login", "closes the connection during the login"),
    Case("421 at login", replies(PASS=b"421 no\r\n"), "login", "ends the session"),
    Waiting("silent after USER", replies(USER=None), "login", "does not answer the login in time"),
    Waiting("slow after USER", replies(USER=b"331-x\r\n" * 3), "login", "does not answer the login in time"),
    # Data connection, passive
    Waiting("dropped", Behaviour(passive="dropped"), "data connection", "no rule gives the FTP helper"),
    Waiting(
        "dropped with TLS",
        Behaviour(passive="dropped"),
        "data connection",
        "cannot read an encrypted control connection",
        options=TLS,
        certificate="good",
    ),
    Case("refused", Behaviour(passive="refused"), "data connection", "is refused"),
    Case("PASV off", replies(PASV=b"550 Permission denied.\r\n"), "data connection", "passive mode switched off"),
    Case("no ports left", replies(PASV=b"421 none\r\n"), "data connection", "all of its passive ports are in use"),
    Case("227 of nothing", replies(PASV=b"227 yes\r\n"), "data connection", "holds no address and port"),
    Case("227 of port 0", replies(PASV=b"227 (127,0,0,1,0,0)\r\n"), "data connection", "holds no address and port"),
    Case("227 too large", replies(PASV=b"227 (999,0,0,1,4,4)\r\n"), "data connection", "holds no address and port"),
    Case("200 for PASV", replies(PASV=b"200 ok\r\n"), "data connection", "holds no address and port"),
    Case("closes after PASV", replies(PASV=b""), "data connection", "ended the session"),
    Waiting("silent after PASV", replies(PASV=None), "data connection", "No answer comes to PASV"),
    Case(
        "another address, refused",
        Behaviour(passive="refused", replies={"PASV": b"227 (192,0,2,1,{comma})\r\n"}),
        "data connection",
        "its control connection is at 127.0.0.1",
    ),
    Waiting(
        "another address, dropped",
        Behaviour(passive="dropped", replies={"PASV": b"227 (192,0,2,1,{comma})\r\n"}),
        "data connection",
        "the FTP helper of a firewall, such as this host's own, believes no other address",
    ),
    Waiting(
        "227 of several lines, dropped",
        Behaviour(passive="dropped", replies={"PASV": b"227-Entering\r\n227 (127,0,0,1,{comma})\r\n"}),
        "data connection",
        "answers PASV in several lines",
    ),
    Case("227 of several lines", replies(PASV=b"227-Entering\r\n227 (127,0,0,1,{comma})\r\n"), None),
    Waiting("nothing begins", Behaviour(data="mute"), "data connection", "took the connection in its place"),
    Case("425 passive", Behaviour(data="425"), "data connection", "come from another address than"),
    Case("522 for LIST", Behaviour(data="522"), "data connection", "wants data connections to be encrypted"),
    Waiting("vsftpd wants reuse", Behaviour(data="reuse late"), "data connection", "to resume"),
    Case(
        "no TLS on data",
        Behaviour(data="plain"),
        "data connection",
        "TLS does not begin",
        options=TLS,
        certificate="good",
    ),
    # Data connection, active
    Waiting("silent after PORT", replies(PORT=None), "data connection", "No answer comes to PORT", mode="active"),
    Case("PORT off", replies(PORT=b"500 no\r\n"), "data connection", "active mode switched off", mode="active"),
    Case("425 active", Behaviour(data="425"), "data connection", "The server cannot reach 127.0.0.1:", mode="active"),
    Case("425 late", Behaviour(data="425 late"), "data connection", "The server cannot reach", mode="active"),
    Waiting("no SYN", Behaviour(data="silent"), "data connection", "a firewall drops its SYN", mode="active"),
    Waiting("no 150", Behaviour(data="mute"), "data connection", "a firewall drops its SYN", mode="active"),
    Waiting(
        "no SYN with TLS",
        Behaviour(data="silent"),
        "data connection",
        "cannot read an encrypted control connection",
        mode="active",
        options=TLS,
        certificate="good",
    ),
    Case(
        "a stranger", Behaviour(data="stranger"), "data connection", "Another address than the server's", mode="active"
    ),
    # Transfer
    Waiting("150 and nothing", Behaviour(data="silent"), "transfer", "before the first byte"),
    Waiting("stalls", Behaviour(data="stall"), "transfer", f"stands still after {len(LISTING) // 2} bytes"),
    Waiting("stalls, active", Behaviour(data="stall"), "transfer", "path MTU", mode="active"),
    Waiting("drips", Behaviour(data="drip"), "transfer", "too slowly"),
    Case("reset", Behaviour(data="reset"), "transfer", "broke after"),
    Case("426", Behaviour(data="426"), "transfer", "broke after"),
    Case("451", Behaviour(data="451"), "transfer", "could not read or write"),
    Case("no folder", replies(CWD=b"550 no\r\n"), "transfer", "the path of directory", options={"directory": "x"}),
    Case("not to be listed", Behaviour(data="550"), "transfer", "the path of directory, or this user may not list it"),
    Case(
        "vsftpd's no folder",
        Behaviour(data="no folder"),
        "transfer",
        "path of directory",
    ),
    Case("no file", Behaviour(), "transfer", "the path of download", options={"download": "missing"}),
    Case("short", Behaviour(data="short"), "transfer", "fewer bytes", options=DOWNLOAD),
    Waiting("no 226", Behaviour(data="no 226"), "transfer", "the server does not say so"),
    Waiting("not closed", Behaviour(data="not closed"), "transfer", "does not close the data connection"),
    Case("endless", Behaviour(data="endless"), "transfer", "The listing has no end"),
    Case("no upload", replies(STOR=b"553 no\r\n"), "transfer", "the path of upload", options=UPLOAD),
    Case("upload breaks", Behaviour(data="break upload"), "transfer", "broke after", options=UPLOAD),
    Case("upload changed", Behaviour(data="ascii"), "checksum", "differs from what was sent", options=UPLOAD),
    # What is no failure
    Case("another address", replies(PASV=b"227 (192,0,2,1,{comma})\r\n"), None),
    Case("not to be read", replies(RETR=b"550 no\r\n"), None, options=UPLOAD),
    Case("not to be deleted", replies(DELE=b"550 no\r\n"), None, options=UPLOAD),
    Case("closes at QUIT", replies(QUIT=b""), None),
    Case("230 for USER", replies(USER=b"230 in\r\n"), None),
    Case("120 first", Behaviour(greeting=b"120 wait\r\n220 ready\r\n"), None),
]


@dataclass(frozen=True)
class Outcome:
    """What came of a case."""

    trial: _probe.Trial
    probe: Probe
    files: dict[str, bytes]
    commands: list[str]
    seconds: float


def run(case: Case, certificates: Path) -> Outcome:
    """Try one case."""
    options = dict(case.options)
    if "ca" in options:
        options["ca_path"] = str(certificates / f"{options.pop('ca')}.crt")
    behaviour = case.behaviour
    if case.certificate:
        behaviour = replace(behaviour, tls=server_context(certificates, case.certificate))
    start = time.monotonic()
    with contextlib.closing(Server(behaviour)) as server:
        tried = trial(server.port, modes=[case.mode], timeout=case.seconds, **options)
        [probe] = _probe.run(tried)
    return Outcome(tried, probe, server.files, server.commands, time.monotonic() - start)


@pytest.fixture(scope="module")
def outcomes(certificates: Path) -> Iterator[dict[str, Future[Outcome]]]:
    """All cases, some at a time, as most of them wait."""
    with ThreadPoolExecutor(12) as pool:
        yield {case.name: pool.submit(run, case, certificates) for case in CASES}


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_where_it_stops_and_why(outcomes: dict[str, Future[Outcome]], case: Case) -> None:
    outcome = outcomes[case.name].result()
    probe = outcome.probe
    assert (probe.stage, probe.passed) == (case.stage, case.stage is None), probe
    assert case.cause in (probe.cause or ""), probe
    assert bool(probe.cure) == (case.stage is not None)
    if case.reply is not None:
        assert probe.reply == case.reply
    assert outcome.seconds < case.seconds * (_probe.STEPS + 2) + 1


def test_refused_and_dropped_at_connect() -> None:
    with contextlib.closing(Server(Behaviour())) as server:
        port = server.port
    [refused] = _probe.run(trial(port, modes=["passive"]))
    with full_queue() as port:
        [dropped] = _probe.run(trial(port, modes=["passive"], timeout=SECONDS))
    assert [(probe.stage, probe.reply, probe.endpoint) for probe in (refused, dropped)] == [("connect", None, None)] * 2
    assert "is refused" in str(refused.cause)
    assert "Nothing answers: most likely a firewall drops" in str(dropped.cause)


@pytest.mark.parametrize(
    ("exc", "word"),
    [
        (OSError(errno.EHOSTUNREACH, "No route to host"), "unreachable"),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), "unreachable"),
        (OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol"), "unreachable"),
        (PermissionError(errno.EACCES, "Permission denied"), "prohibited"),
        (OSError(errno.EPERM, "Operation not permitted"), "prohibited"),
        (OSError(errno.ETIMEDOUT, "Connection timed out"), "timeout"),
        (TimeoutError("timed out"), "timeout"),
        (socket.timeout("timed out"), "timeout"),
        (BrokenPipeError(), "closed"),
        (ssl.SSLEOFError(), "closed"),
        (ssl.SSLError(), "handshake"),
        (OSError(errno.EMFILE, "Too many open files"), "error"),
    ],
)
def test_how_it_stopped(exc: BaseException, word: str) -> None:
    assert _probe.how(exc) == word


def test_left_on_the_server(outcomes: dict[str, Future[Outcome]]) -> None:
    outcome = outcomes["not to be deleted"].result()
    [name] = set(outcome.files) - {"file"}
    assert outcome.probe.left == name
    assert name.startswith("incoming/hostfw-probe-")
    [warning] = _probe.warnings(outcome.trial, [outcome.probe])
    assert f": {name} may still be on the server, which did not delete it; delete it there" in warning


@pytest.mark.parametrize(
    ("name", "read_back", "deletes"),
    [("upload breaks", False, 1), ("upload changed", False, 1), ("not to be read", False, 1), ("no upload", False, 0)],
)
def test_upload_is_deleted_after_a_failure_too(
    outcomes: dict[str, Future[Outcome]], name: str, read_back: bool, deletes: int
) -> None:
    outcome = outcomes[name].result()
    assert set(outcome.files) == {"file"}
    assert (outcome.probe.read_back, outcome.probe.left) == (read_back, None)
    assert len([line for line in outcome.commands if line.startswith("DELE")]) == deletes


def test_another_address_is_announced(outcomes: dict[str, Future[Outcome]]) -> None:
    outcome = outcomes["another address"].result()
    assert outcome.probe.announced_elsewhere
    assert str(outcome.probe.endpoint).startswith("192.0.2.1:")
    [warning] = _probe.warnings(outcome.trial, [outcome.probe])
    assert f"the server announced {outcome.probe.endpoint}, and clients that trust this address" in warning


@pytest.mark.parametrize(
    ("behaviour", "passed", "message", "warning"),
    [
        (Behaviour(passive="dropped"), True, "", None),
        (Behaviour(passive="refused"), True, "", None),
        (replies(PASV=b"502 no\r\n"), True, "", None),
        (replies(PASS=b"530 no\r\n"), True, "", "counts as blocked, but stopped at login already"),
        (Behaviour(), False, "was not blocked: A data connection of the passive mode opened", None),
        # It opened, whatever became of it.
        (Behaviour(data="silent"), False, "was not blocked: A data connection of the passive mode opened", None),
        (Behaviour(data="425"), False, "was not blocked: A data connection of the passive mode opened", None),
    ],
)
def test_blocked_mode(behaviour: Behaviour, passed: bool, message: str, warning: str | None) -> None:
    with contextlib.closing(Server(behaviour)) as server:
        tried = trial(server.port, modes=[], blocked_modes=["passive"], timeout=SECONDS, upload="incoming")
        probes = _probe.run(tried)
        assert not [line for line in server.commands if line.startswith("STOR")]
    assert [(probe.expected, probe.passed) for probe in probes] == [("block", passed)]
    assert message in _probe.message(tried, probes)
    assert bool(_probe.message(tried, probes)) != passed
    assert [warning in text for text in _probe.warnings(tried, probes) if warning] == ([True] if warning else [])


def test_name_that_is_not_resolved_is_not_blocked() -> None:
    [probe] = _probe.run(trial(21, host="a..b", modes=[], blocked_modes=["passive"], ip_versions=["ipv4"]))
    assert (probe.stage, probe.passed, probe.address) == ("resolve", False, None)


@pytest.mark.parametrize(
    ("stages", "tried"),
    [
        ([None, None], True),
        ([None, "connect"], True),
        (["resolve", "data connection"], True),
        ([None, "resolve"], False),
        (["resolve", "resolve"], False),
    ],
)
def test_name_that_is_not_resolved_is_no_trial(stages: list[str | None], tried: bool) -> None:
    probes = [_probe.Probe("passive", "ipv4", None, "pass", passed=stage is None, stage=stage) for stage in stages]
    assert _probe.tried(probes) is tried


def test_one_message_for_each_failure() -> None:
    with contextlib.closing(Server(replies(PASV=b"502 no\r\n"))) as server:
        tried = trial(server.port)
        probes = _probe.run(tried)
    assert [probe.passed for probe in probes] == [False, True]
    assert _probe.message(tried, probes) == (
        f"passive over IPv4 to 127.0.0.1 port {tried.port} stopped at data connection: The server has passive mode "
        "switched off, or does not know PASV. Switch it on (vsftpd: pasv_enable; ProFTPD: Limit PASV EPSV; Pure-FTPd: "
        "NATmode), or use the active mode only (modes, ftp_mode)."
    )


def test_password_is_in_no_result() -> None:
    long = b"530 " + b"x" * 190 + b" secret word\r\n"
    with contextlib.closing(Server(replies(PASS=long))) as server:
        tried = trial(server.port, user="alice", password="secret word")  # noqa: S106
        probes = _probe.run(tried)
        assert "PASS secret word" in server.commands
    assert "secret" not in _probe.message(tried, probes) + str(probes)
    assert str(probes[0].reply).endswith("x *****")


# Which addresses a name has, and over which IP versions it is tried.
@pytest.mark.parametrize(
    ("has", "asked", "tried"),
    [
        (["ipv4", "ipv6"], None, {"ipv4": "greeting", "ipv6": "greeting"}),
        (["ipv4"], None, {"ipv4": "greeting"}),
        (["ipv6"], None, {"ipv6": "greeting"}),
        ([], None, {"ipv4": "resolve", "ipv6": "resolve"}),
        (["ipv4"], ["ipv4", "ipv6"], {"ipv4": "greeting", "ipv6": "resolve"}),
        (["ipv4", "ipv6"], ["ipv6"], {"ipv6": "greeting"}),
    ],
)
def test_ip_versions_of_a_name(has: list[str], asked: list[str] | None, tried: dict[str, str]) -> None:
    closing = Behaviour(greeting=b"")
    with contextlib.closing(Server(closing)) as four, contextlib.closing(Server(closing, "::1")) as six:
        places = {"ipv4": ("127.0.0.1", four.port), "ipv6": ("::1", six.port, 0, 0)}

        def resolver(_trial: _probe.Trial, ip_version: str) -> Any:
            if ip_version not in has:
                raise _probe.StoppedError("unknown")
            return places[ip_version]

        probes = _probe.run(trial(21, host="ftp.example.org", modes=["passive"], ip_versions=asked), resolver)
    assert {probe.ip_version: probe.stage for probe in probes} == tried


def test_name_server_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_words: time.sleep(5) or [])
    [probe] = _probe.run(trial(21, host="ftp.example.org", modes=["passive"], ip_versions=["ipv4"], timeout=0.1))
    assert (probe.stage, probe.passed) == ("resolve", False)
    assert "No name server answers in time" in str(probe.cause)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"host": ""}, "host: must not be empty"),
        ({"host": "a\nb"}, r"host: must be one line, got 'a\nb'"),
        ({"user": ""}, "user: must not be empty"),
        ({"password": "a\r\nDELE file"}, "password: must be one line"),
        ({"directory": "a\nDELE file"}, r"directory: must be one line, got 'a\nDELE file'"),
        ({"port": 0}, "port: must be a port from 1 to 65535, got 0"),
        ({"port": 65536}, "port: must be a port from 1 to 65535, got 65536"),
        ({"timeout": 0.0}, "timeout: must be a number of seconds above 0, at most 3600, got 0.0"),
        ({"timeout": float("nan")}, "timeout: must be a number of seconds above 0, at most 3600, got nan"),
        ({"modes": []}, "modes: must be passive, active or both, where blocked_modes is empty, got []"),
        ({"ip_versions": []}, "ip_versions: must be ipv4 for host 127.0.0.1, got []"),
        ({"host": "a", "ip_versions": []}, "ip_versions: must be ipv4, ipv6 or both for host a, got []"),
        ({"ip_versions": ["ipv6"]}, "ip_versions: must be ipv4 for host 127.0.0.1, got ['ipv6']"),
        ({"host": "::1", "ip_versions": ["ipv4"]}, "ip_versions: must be ipv6 for host ::1, got ['ipv4']"),
        (
            {"tls": True, "ca_path": "/missing"},
            "ca_path: must be a file or folder of certificates in PEM, got /missing: No such file or directory",
        ),
    ],
)
def test_what_is_not_allowed(inputs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as failure:
        _probe.parse({**DEFAULTS, **inputs})
    assert str(failure.value) == message


def test_documentation_has_the_defaults_and_the_results() -> None:
    options = yaml.safe_load(ftp_probe.DOCUMENTATION)["options"]
    assert {name: option.get("default") for name, option in options.items()} == {**DEFAULTS, "host": None}
    [returned] = [yaml.safe_load(ftp_probe.RETURN)["probes"]["contains"]]
    assert list(returned) == [name.name for name in fields(Probe)]


def test_cures_name_inputs_of_the_role_and_options_of_the_module() -> None:
    inputs = yaml.safe_load((Path(__file__).parents[2] / "roles/ftp/defaults/main.yml").read_text(encoding="utf-8"))
    texts = [text for row in _causes.ROWS for text in (row.cause, row.cure)]
    assert {name for text in texts for name in re.findall(r"\bftp_\w+", text)} <= set(inputs)
    for text in texts:
        assert re.fullmatch(r"[A-Z{].*\.", text), text


def test_every_cause_is_found(outcomes: dict[str, Future[Outcome]]) -> None:
    """By a case above, or by what no server on loopback can do."""
    stop = _causes.Stop("", "", "passive", False, "ftp.example.org", "192.0.2.1", 21, "", "", "", "", 0, False, False)
    elsewhere = [
        replace(stop, stage="resolve", how="unknown"),
        replace(stop, stage="resolve", how="timeout"),
        *(replace(stop, stage="connect", how=word) for word in ("timeout", "refused", "unreachable", "prohibited")),
        replace(stop, stage="data connection", how="500", command="PORT", mode="active", behind_nat=True),
        replace(stop, stage="data connection", how="timeout", command="LIST", mode="active", behind_nat=True),
        replace(stop, stage="", how="error"),
    ]
    found = {_causes.row(each) for each in elsewhere}
    for case in CASES:
        probe = outcomes[case.name].result().probe
        if probe.cause:
            # The figures in it are the case's own.
            found |= {row for row in _causes.ROWS if re.fullmatch(pattern(row.cause), probe.cause)}
    assert not [row.cause[:60] for row in _causes.ROWS if row not in found]


def pattern(text: str) -> str:
    return "".join(".*" if part.startswith("{") else re.escape(part) for part in re.split(r"(\{\w+\})", text))


@pytest.mark.parametrize(("check_mode", "stored"), [(False, 2), (True, 0)])
def test_module(capsys: pytest.CaptureFixture[str], check_mode: bool, stored: int) -> None:
    with contextlib.closing(Server(Behaviour())) as server:
        inputs = {"host": "127.0.0.1", "port": server.port, "upload": "incoming", "_ansible_check_mode": check_mode}
        with patch_module_args(inputs), pytest.raises(SystemExit) as end:
            ftp_probe.main()
        assert len([line for line in server.commands if line.startswith("STOR")]) == stored
    result = json.loads(capsys.readouterr().out)
    assert (end.value.code, result["changed"], result["passed"], len(result["probes"])) == (0, False, True, 2)


def test_module_fails_with_all_results(capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.closing(Server(replies(PASS=b"530 geheim\r\n", PASV=b"500\r\n"))) as server:
        inputs = {"host": "127.0.0.1", "port": server.port, "user": "alice", "password": "geheim"}
        with patch_module_args(inputs), pytest.raises(SystemExit) as end:
            ftp_probe.main()
    out = capsys.readouterr().out
    result = json.loads(out)
    assert (end.value.code, result["failed"], result["passed"], len(result["probes"])) == (1, True, False, 2)
    assert len(result["msg"].splitlines()) == 2
    assert "geheim" not in out


def test_module_refuses_a_bad_option(capsys: pytest.CaptureFixture[str]) -> None:
    with patch_module_args({"host": "127.0.0.1", "port": 0}), pytest.raises(SystemExit):
        ftp_probe.main()
    assert json.loads(capsys.readouterr().out)["msg"] == "port: must be a port from 1 to 65535, got 0"
