"""The test hosts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from role import OTHERS, Host
from verdict import CLIENT

OPEN = [f"*{table}\nCOMMIT\n" for table in ("raw", "mangle", "filter")]


@pytest.fixture(scope="session")
def client() -> Host:
    """The client, from which FTP is tried."""
    return Host(CLIENT)


@pytest.fixture(scope="session")
def ftp() -> Host:
    """The server."""
    return Host(CLIENT.replace("client", "server"))


@pytest.fixture
def server(ftp: Host, client: Host) -> Iterator[Host]:
    """A server with the foreign rules, and vsftpd as it was; the client has no rules."""
    ftp.load(OTHERS)
    yield ftp
    configure(ftp)
    client.load(["\n".join(OPEN)] * 2)


def configure(host: Host, **settings: str) -> None:
    """Give vsftpd its configuration, with some settings altered."""
    run = host.shell.check_output
    run("cp -n /etc/vsftpd.conf /root/vsftpd.conf && cp /root/vsftpd.conf /etc/vsftpd.conf")
    for name, value in settings.items():
        run(f"sed -i '/^{name}=/d' /etc/vsftpd.conf && echo {name}={value} >> /etc/vsftpd.conf")
    # Sessions end by themselves, too.
    run('kill $(cat /proc/[0-9]*/stat | awk \'$2 == "(vsftpd)" && $3 != "Z" {print $1}\') 2> /dev/null || true')
    run("while bash -c '</dev/tcp/127.0.0.1/21' 2>/dev/null; do sleep 0.1; done; vsftpd /etc/vsftpd.conf")
    run("until bash -c '</dev/tcp/127.0.0.1/21' 2>/dev/null; do sleep 0.1; done")
