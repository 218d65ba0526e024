"""Real FTP transfers between the test hosts."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

# How long a transfer may take: one that is to pass, on a busy machine, and one that is not.
SECONDS = 20
BLOCKED_SECONDS = 3


@dataclass(frozen=True)
class Way:
    """One way to open a data connection: the mode, the command for it and the IP version."""

    mode: str
    command: str
    ip_version: int
    curl: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.mode}-{self.command}-IPv{self.ip_version}"


# RFC 959 has PORT and PASV, for IPv4 only; RFC 2428 has EPRT and EPSV, for both.
WAYS = (
    Way("active", "PORT", 4, ("--ftp-port", "-", "--disable-eprt")),
    Way("active", "EPRT", 4, ("--ftp-port", "-")),
    Way("active", "EPRT", 6, ("--ftp-port", "-")),
    Way("passive", "PASV", 4, ("--disable-epsv",)),
    Way("passive", "EPSV", 4, ()),
    Way("passive", "EPSV", 6, ()),
)
CURL = ("curl", "--silent", "--show-error", "--max-time")
OPERATIONS = ("download", "upload", "listing")


@dataclass(frozen=True)
class Site:
    """Where a client finds a server: the addresses that it calls, the port, and whether by FTPS."""

    addresses: dict[int, str]
    port: int = 21
    tls: bool = False

    def words(self, way: Way, path: str = "") -> tuple[str, ...]:
        """Return the URL of a path on the server, with the options that it takes."""
        name = self.addresses[way.ip_version]
        url = f"ftp://{f'[{name}]' if way.ip_version == 6 else name}:{self.port}/{path}"
        if not self.tls:
            return (url,)
        # curl 7.88 begins no TLS on an active data connection; the firewall cannot tell the difference.
        return ("--ftp-ssl-control" if way.mode == "active" else "--ssl-reqd", "--insecure", url)


def address(host: Any, ip_version: int) -> str:
    """Return a test host's address."""
    start = "198.51.100." if ip_version == 4 else "2001:db8::"
    return next(str(a) for a in host.interface("eth0").addresses if a.startswith(start))


def site(server: Any) -> Site:
    """Return where a test host's FTP server is."""
    return Site({ip_version: address(server, ip_version) for ip_version in (4, 6)})


def curl(client: Any, seconds: int, *words: str) -> Any:
    """Run curl on the client, and return testinfra's result."""
    return client.run(shlex.join([*CURL, str(seconds), *words]))


def transfers(
    client: Any, server: Any, keys: Iterable[tuple[Way, str]], seconds: int = SECONDS, at: Site | None = None
) -> dict[tuple[Way, str], str | None]:
    """Try transfers, all at once.

    Return for each None where it passed, checksum and all, else curl's message and how much arrived.
    """
    at = at or site(server)
    keys = list(keys)
    names = {key: f"{key[0]}-{key[1]}" for key in keys}
    script = ["cd $(mktemp -d)"]
    for key, name in names.items():
        way, operation = key
        path = {"download": "five-megabytes", "upload": f"upload/{name}", "listing": ""}[operation]
        words = [*CURL, str(seconds), *way.curl, "--upload-file" if operation == "upload" else "--output", name]
        prepare = f"head -c 1000000 /dev/urandom > {name}; " if operation == "upload" else ""
        command = shlex.join([*words, *at.words(way, path)])
        script.append(f"({prepare}{command} 2> {name}.error; echo $? > {name}.code) &")
    script += ["wait", "for name in *.code; do name=${name%.code}; touch $name"]
    script.append("echo $name $(cat $name.code) $(wc -c < $name) $(sha256sum < $name) $(grep -c five-mega $name)")
    script += ["echo error: $(cat $name.error)", "done", "rm -r $PWD"]
    lines = client.check_output("\n".join(script)).split("\n")
    arrived = server.check_output(
        "cd /srv/ftp; for name in five-megabytes upload/*-upload; do test -e $name && "
        "echo ${name#upload/} $(wc -c < $name) $(sha256sum < $name); done; rm -f upload/*-upload"
    )
    stored = {name: (size, checksum) for name, size, checksum, _dash in map(str.split, arrived.splitlines())}
    results: dict[tuple[Way, str], str | None] = {}
    for line, error in zip(lines[::2], lines[1::2]):
        name, code, size, checksum, _dash, listed = line.split()
        key = next(key for key in keys if names[key] == name)
        there = stored.get("five-megabytes" if key[1] == "download" else name, ("0", ""))
        same = listed == "1" if key[1] == "listing" else checksum == there[1]
        if code != "0":
            results[key] = f"{error.removeprefix('error: ')} ({there[0] if key[1] == 'upload' else size} bytes arrived)"
        else:
            results[key] = None if same else "what arrived differs from what was sent"
    assert len(results) == len(keys)
    return results


def transfer(
    client: Any, server: Any, way: Way, operation: str, seconds: int = SECONDS, at: Site | None = None
) -> str | None:
    """Try one transfer; return None where it passed, else why not."""
    return transfers(client, server, [(way, operation)], seconds, at)[way, operation]


STATUS = """
import ftplib, sys
session = ftplib.FTP("{server}", timeout={seconds}, source_address=("{source}", 0))
session.login()
try:
    print(session.sendcmd("STAT many"))
except TimeoutError:
    sys.exit("timed out")
"""


def narrow_transfer(client: Any, server: Any, router: Any, way: Way, seconds: int = SECONDS) -> str | None:
    """Try a download through the router's narrow link; return None where it passed, else curl's message."""
    source = forget_path_mtu(server, router, way.ip_version)
    words = [source if word == "-" else word for word in way.curl]
    words += ["--interface", source, "--output", "/dev/null", *site(server).words(way, "five-megabytes")]
    result = curl(client, seconds, *words)
    if result.rc != 0:
        return str(result.stderr).strip()
    met_narrow_link(server, source)
    return None


def narrow_status(client: Any, server: Any, router: Any, ip_version: int, seconds: int = SECONDS) -> str | None:
    """Try a long answer on the control connection through the narrow link; return None where it passed."""
    source = forget_path_mtu(server, router, ip_version)
    program = STATUS.format(server=address(server, ip_version), source=source, seconds=seconds)
    result = client.run("python3 -c %s", program)
    if result.rc != 0:
        return str(result.stderr).strip()
    met_narrow_link(server, source)
    return None


def forget_path_mtu(server: Any, router: Any, ip_version: int) -> str:
    """Let the server find the MTU anew; return the client's address behind the narrow link."""
    source = "203.0.113.1" if ip_version == 4 else "2001:db8:1::1"
    server.check_output(f"ip route del {source} && ip route add {source} via {address(router, ip_version)}")
    assert "mtu" not in server.check_output(f"ip route get {source}")
    return source


def met_narrow_link(server: Any, source: str) -> None:
    """Fail unless the server has found the narrow link."""
    assert "mtu 1280" in server.check_output(f"ip route get {source}"), "no packet met the narrow link"


def stop(server: Any) -> None:
    """Stop vsftpd and its sessions, of which some end by themselves."""
    server.check_output(
        'kill $(cat /proc/[0-9]*/stat | awk \'$2 == "(vsftpd)" && $3 != "Z" {print $1}\') 2> /dev/null || true'
    )


def configure(server: Any, **settings: str) -> None:
    """Give vsftpd its configuration, with some settings altered."""
    run = server.check_output
    run("cp -n /etc/vsftpd.conf /root/vsftpd.conf && cp /root/vsftpd.conf /etc/vsftpd.conf")
    for name, value in settings.items():
        run(f"sed -i '/^{name}=/d' /etc/vsftpd.conf && echo {name}={value} >> /etc/vsftpd.conf")
    stop(server)
    run("while bash -c '</dev/tcp/127.0.0.1/21' 2>/dev/null; do sleep 0.1; done; vsftpd /etc/vsftpd.conf")
    run("until bash -c '</dev/tcp/127.0.0.1/21' 2>/dev/null; do sleep 0.1; done")
