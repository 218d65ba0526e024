"""Every server with every client, in every way that both know; docs/interoperability.md is what is found.

UPDATE_GOLDEN=1 writes docs/interoperability.md anew (make interoperability); read the difference before you commit it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from itertools import product
from typing import Any

import pytest
from clients import CLIENTS, UPLOADED
from lab import PROJECT
from lab.ftp import WAYS, Way, address
from lab.hosts import OPEN, PROGRAM, Lab

SERVERS = {"vsftpd": "vsftpd", "proftpd": "proftpd-core", "pure-ftpd": "pure-ftpd", "pyftpdlib": "python3-pyftpdlib"}
LAB = Lab()
CLIENT = LAB.host("client").shell
SECONDS = 60
DOCUMENT = PROJECT / "docs/interoperability.md"
# Debian mends its programs, and other machines have other kernels: these are told, not compared.
TOLD = "## Versions\n"

# The letter of each operation; the IP versions over which it is done, since the long ones need only one; and how to
# print what the client has afterwards, and what the server has.
OPERATIONS = {
    "download": ("D", (4, 6), "sha256sum < out", "sha256sum < /srv/ftp/five-megabytes"),
    "upload": ("U", (4, 6), f"sha256sum < {UPLOADED}", "cd /srv/ftp/upload && sha256sum < {name}; rm -f {name}"),
    "listing": ("L", (4, 6), "grep -o 'file-[0-9]*' out | sort -u", "ls /srv/ftp/many | sort"),
    "200 files": ("R", (4,), "cd out && sha256sum *", "cd /srv/ftp/many && sha256sum *"),
    "1 GiB": ("G", (6,), "cat out", "sha256sum < /srv/ftp/one-gibibyte"),
}

# The commands that open or use a data connection, as the clients show what they send; and a refusal.
OPENING = ("PORT", "EPRT", "PASV", "EPSV")
SENT = re.compile(rf"(?:> |Cmd: |\*cmd\* ')({'|'.join(OPENING)}|RETR|STOR|LIST|NLST|MLSD)\b")
REFUSED = re.compile(r"\b[45]\d\d[ :-].*")


@cache
def host(server: str) -> Any:
    """Return a server's test host."""
    return LAB.host(server).shell


@cache
def ip(server: str, ip_version: int) -> str:
    """Return a server's address."""
    return address(host(server), ip_version)


@cache
def kept(server: str, command: str) -> str:
    """Return what a command prints of a server's files that stay as they are."""
    return str(host(server).check_output(command))


def opened(server: str, ip_version: int) -> dict[str, int]:
    """Return how many data connections were opened, in each mode and from port 20, since this was last asked."""
    program = f"{PROGRAM[ip_version]} --table mangle"
    rules = host(server).check_output(f"{program} --list --numeric --verbose --exact && {program} --zero")
    return {name: int(packets) for packets, name in re.findall(r"(\d+) .*/\* (active|passive|port-20) \*/", rules)}


@contextmanager
def open_firewall(server: str) -> Iterator[None]:
    """Take the firewall and the helper away in the meantime."""
    found = LAB.host(server)
    saved = found.save()
    found.load(OPEN)
    try:
        yield
    finally:
        found.load(saved)


def transfer(server: str, client: str, way: Way, operation: str) -> str:
    """Try one transfer; return why it failed, or nothing where it passed, checksum and all, in the way asked for."""
    _letter, _ip_versions, here, there = OPERATIONS[operation]
    name = f"{client}-{way}"
    command = CLIENTS[client].command(way, operation, ip(server, way.ip_version), name)
    done = CLIENT.run(
        f'mkdir -p /tmp/"$$" && cd /tmp/"$$" && timeout {SECONDS} bash -c %s >&2; code=$?; {here}; rm -rf /tmp/"$$"; '
        "exit $code",
        command,
    )
    if operation == "upload":
        expected = host(server).run(there.format(name=name)).stdout.strip()
    else:
        expected = kept(server, there)
    if done.rc != 0 or done.stdout.strip() != expected:
        replies = REFUSED.findall(SENT.split(done.stderr)[-1])
        return replies[-1].strip() if replies else f"no data (exit code {done.rc})"
    opening = [sent for sent in SENT.findall(done.stderr) if sent in OPENING][-1]
    return "" if opening == way.command else f"sent {opening}"


@cache
def transfers(server: str, way: Way) -> tuple[dict[tuple[str, str], str], dict[str, int]]:
    """Try all clients and operations; return why each failed, or nothing where it passed, and what was opened."""
    cells = [
        (client, operation)
        for client, operation in product(CLIENTS, OPERATIONS)
        if CLIENTS[client].knows(way, operation) and way.ip_version in OPERATIONS[operation][1]
    ]
    opened(server, way.ip_version)
    # pyftpdlib forgets sessions where several are active at once, with no firewall as well.
    with ThreadPoolExecutor(max_workers=1 if server == "pyftpdlib" else 6) as pool:
        found = dict(zip(cells, pool.map(lambda cell: transfer(server, cell[0], way, cell[1]), cells)))
    return found, opened(server, way.ip_version)


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("server", SERVERS)
def test_what_fails_fails_without_the_firewall_too(server: str, way: Way) -> None:
    rules = host(server).check_output(f"{PROGRAM[way.ip_version]} --list-rules")
    assert rules.startswith("-P INPUT DROP\n-P FORWARD DROP\n-P OUTPUT DROP\n")
    found, _opened = transfers(server, way)
    failed = {cell: reason for cell, reason in found.items() if reason}
    with open_firewall(server):
        assert failed == {cell: transfer(server, cell[0], way, cell[1]) for cell in failed}


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("server", SERVERS)
def test_data_connections_are_opened_from_the_right_side(server: str, way: Way) -> None:
    found, counted = transfers(server, way)
    least = sum(200 if operation == "200 files" else 1 for (_client, operation), reason in found.items() if not reason)
    assert counted[way.mode] >= least > 0
    assert counted["active" if way.mode == "passive" else "passive"] == 0


def cell(server: str, client: str, way: Way) -> str:
    """Return what is found of a server, a client and a way."""
    if str(way) not in CLIENTS[client].ways:
        return "not known"
    found = {operation: reason for (name, operation), reason in transfers(server, way)[0].items() if name == client}
    return " ".join(
        f"{operation}: {reason}." if reason else OPERATIONS[operation][0] for operation, reason in found.items()
    )


def table(*rows: list[str]) -> list[str]:
    """Return the lines of a table, the first row being its head."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return [lines[0], "|---" * len(rows[0]) + "|", *lines[1:], ""]


def document() -> str:
    """Return what is found, for docs/interoperability.md."""
    active = {server: [transfers(server, way)[1] for way in WAYS if way.mode == "active"] for server in SERVERS}
    ports = {
        server: "20" if all(counted["port-20"] == counted["active"] for counted in counts) else "any"
        for server, counts in active.items()
    }
    programs = [(server, host(server), package) for server, package in SERVERS.items()]
    programs += [(name, CLIENT, client.package) for name, client in CLIENTS.items()]
    programs += [("iptables", host("vsftpd"), "iptables")]
    return "\n".join(
        [
            "# Interoperability",
            "",
            "FTP servers and clients that nobody here wrote, each with each. The servers are behind `INPUT DROP`",
            "and `OUTPUT DROP`, and have the role with `ftp_mode: both`. `make interoperability` writes this page, and",
            "`make proof` fails where it finds anything else.",
            "",
            *table(
                ["server", "client", *(f"{way.command} IPv{way.ip_version}" for way in WAYS)],
                *(
                    [server, client, *(cell(server, client, way) for way in WAYS)]
                    for server in SERVERS
                    for client in CLIENTS
                ),
            ),
            "A letter is a transfer that passed, with the right content, its data connection opened by that command",
            "and from that side: D downloads 5 MiB, U uploads 1 MiB, L lists a directory, R downloads a directory of",
            "200 files (lftp, IPv4), G downloads 1 GiB (curl, IPv6). Words are why a transfer failed: it fails in the",
            "same way without firewall and helper.",
            "",
            "The clients do not know more:",
            "",
            *(f"- {name} {client.lacks}." for name, client in CLIENTS.items() if client.lacks),
            "",
            "The servers do not all open active data connections from port 20:",
            "",
            *table(["server", "`ftp_data_port`"], *([server, f"`{port}`"] for server, port in ports.items())),
            TOLD,
            *table(
                ["program", "version"],
                *([name, where.package(package).version] for name, where, package in programs),
                ["Linux", CLIENT.check_output("uname --kernel-release")],
            ),
        ]
    )


def test_docs_interoperability_md_is_what_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    found = document()
    with capsys.disabled():
        print(f"\n{found}")
    if os.environ.get("UPDATE_GOLDEN"):
        DOCUMENT.write_text(found, encoding="utf-8")
    assert found.partition(TOLD)[0] == DOCUMENT.read_text(encoding="utf-8").partition(TOLD)[0]
