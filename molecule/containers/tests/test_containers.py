"""docs/containers.md: its commands and inputs, with a server whose control port is published, and no other."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import pytest
import yaml
from lab import PROJECT
from lab.ftp import BLOCKED_SECONDS, OPERATIONS, SECONDS, WAYS, address, site, stop, transfers
from lab.hosts import FOREIGN, Lab
from lab.kinds import Firewall, nftables, quoted

PAGE = (PROJECT / "docs/containers.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
INPUTS, FTPS_INPUTS = (yaml.safe_load(text) for language, text in BLOCKS if language == "yaml")
*PLAIN, FTPS = (text.splitlines() for language, text in BLOCKS if language == "console")
COMMANDS = [line for lines in PLAIN for line in lines]
(SETTINGS,) = (json.loads(text) for language, text in BLOCKS if language == "json")
LAB = Lab()
HOST = LAB.host("host")
CLIENT = LAB.host("client").shell
UNIT = "hostfw-conntrack-FTP"
# What a test host lets a container do is not all that docker asks for.
HERE = {
    "storage-driver": "vfs",
    "default-runtime": "here",
    "runtimes": {
        "here": {"runtimeType": "io.containerd.runc.v2", "options": {"NoNewKeyring": True, "NoPivotRoot": True}}
    },
}
PODMAN = """
[containers]
cgroups = "disabled"
keyring = false
[engine]
events_logger = "file"
no_pivot_root = true
[network]
firewall_driver = "nftables"
"""
STORAGE = """
[storage]
driver = "vfs"
runroot = "/run/containers/storage"
graphroot = "/var/lib/containers/storage"
"""
# The image ftp-server: vsftpd and what the tests use to look at it.
IMAGE = """
set -eu
root=$(mktemp -d)
for name in bin sbin lib lib64; do mkdir -p $root/usr/$name; ln -s usr/$name $root/$name; done
chmod 755 $root
programs="$(for name in vsftpd bash sh cat rm wc sha256sum; do command -v $name; done)"
for file in $programs $(ldd $programs | grep -o '/[^ ]*' | grep -v ':$' | sort -u); do
  mkdir -p $root${file%/*}
  cp --dereference $file $root$file
done
cp --parents --archive /etc/passwd /etc/group /etc/nsswitch.conf /etc/vsftpd.* /srv/ftp $root
sed -i s/^background=.*/background=NO/ $root/etc/vsftpd.conf
mkdir -p $root/var/run/vsftpd/empty $root/tmp
tar -C $root -c . > /root/ftp-server.tar
rm -r $root
"""
# What a test host that starts anew is given at its creation.
AGAIN = """
ip address add 198.51.100.1/24 dev eth0
ip address add 2001:db8::1/64 dev eth0 nodad
timeout 60 sh -c 'until {engine} exec ftp cat /etc/vsftpd.conf; do sleep 1; done'
"""
WRITABLE = """
[Service]
ExecStartPre=mount -o remount,rw /proc/sys
"""
# How a connection to a passive port of which nothing was announced ends: ConnectionRefusedError where packets reach the
# container, TimeoutError where they do not.
KNOCK = """
import socket
for address in {addresses}:
    try:
        socket.create_connection((address, 50005), timeout=3)
    except OSError as error:
        print(type(error).__name__)
"""
# vsftpd ends where it is process 1 and inherits a process.
CHANGES = """--change 'ENV PATH=/usr/bin:/usr/sbin' --change 'CMD ["bash", "-c", "vsftpd & wait"]'"""


@dataclass
class Server:
    """The server in the container, as lab.ftp uses it."""

    engine: str

    def check_output(self, script: str) -> str:
        """Run a script in it."""
        return str(HOST.shell.check_output(f"{self.engine} exec ftp sh -c %s", script))


@dataclass
class Engine:
    """docker or podman, by the name of its command."""

    name: str

    def run(self, *commands: str) -> None:
        """Run commands on the host."""
        for command in commands:
            done = HOST.shell.run(command)
            journal = "" if done.rc == 0 else HOST.shell.run("journalctl --no-pager --lines 40").stdout
            assert done.rc == 0, f"{command}\n{done.stdout}{done.stderr}{journal}"

    def tried(self, seconds: int = SECONDS) -> dict[tuple[Any, str], str | None]:
        """Try every operation in every way."""
        return transfers(CLIENT, Server(self.name), product(WAYS, OPERATIONS), seconds, site(HOST.shell))

    def modes(self) -> set[str]:
        """Return the modes of which something passes."""
        return {way.mode for (way, _operation), why in self.tried(BLOCKED_SECONDS).items() if why is None}

    def passes(self) -> None:
        """Check that everything passes."""
        assert {str(way): why for (way, _operation), why in self.tried().items() if why} == {}

    def comes_back(self) -> None:
        """Start the host anew, with no rules but those that its units load."""
        subprocess.run(["docker", "restart", HOST.name], check=True, stdout=subprocess.DEVNULL)
        HOST.shell.run("systemctl is-system-running --wait")
        self.run(AGAIN.format(engine=self.name))
        self.passes()

    def rules(self) -> list[str]:
        """Return the rules of others."""
        return [line for line in HOST.rules().splitlines() if not re.search(r"\bFTP-|HOSTFW", line)]

    def replaced_by_ftps(self) -> None:
        """Put a server in its place whose passive ports are published, and which announces the host's address."""
        (run,) = (line for line in FTPS if line.startswith(f"{self.name} run "))
        host = address(HOST.shell, 4)
        server = f"vsftpd /etc/vsftpd.conf -opasv_max_port=50009 -opasv_address={host} & wait"
        self.run(f"{self.name} rm --force ftp", f"{run} bash -c '{server}'")

    def knock(self) -> list[str]:
        """Return how connections to a passive port end, over each IP version."""
        addresses = [*site(HOST.shell).addresses.values()]
        return str(CLIENT.check_output("python3 -c %s", KNOCK.format(addresses=addresses))).split()

    def lets_live_peers_in(self) -> None:
        """Check that FTPS passes, and that its ports are open to live peers only."""
        HOST.role(**FTPS_INPUTS)
        assert self.knock() == ["TimeoutError", "TimeoutError"]
        keys = [(way, operation) for way, operation in product(WAYS, OPERATIONS) if way.mode == "passive"]
        found = transfers(CLIENT, Server(self.name), keys, SECONDS, replace(site(HOST.shell), tls=True))
        assert {str(way): why for (way, _operation), why in found.items() if why} == {}
        assert self.knock() == ["ConnectionRefusedError", "ConnectionRefusedError"]
        assert HOST.role(**FTPS_INPUTS).changed == 0
        HOST.role(**FTPS_INPUTS, ftp_state="absent")

    def replace(self) -> None:
        """Put another container in its place, which has another address."""
        (run,) = (line for line in COMMANDS if line.startswith(f"{self.name} run "))
        other = run.replace("--name ftp", "--name other").replace("--publish 21:21", "")
        self.run(f"{self.name} rm --force ftp", other, run)


@pytest.fixture(scope="module", autouse=True)
def image() -> None:
    """Make the image, once, and stop the server outside of containers."""
    HOST.shell.check_output(IMAGE)
    stop(HOST.shell)
    for unit in ("docker", "podman-restart"):
        folder = f"/etc/systemd/system/{unit}.service.d"
        HOST.shell.check_output(f"mkdir -p {folder} && {quoted(WRITABLE, f'{folder}/writable.conf')}")
    HOST.shell.check_output("mount -o remount,rw /proc/sys && systemctl daemon-reload")


def started(name: str) -> Engine:
    """Start a container by the page's commands."""
    engine = Engine(name)
    engine.run(f"{name} import {CHANGES} /root/ftp-server.tar ftp-server")
    engine.run(*(line for line in COMMANDS if line.startswith(f"{name} ")))
    return engine


@pytest.fixture(params=[True, False], ids=["with its proxy", "without its proxy"])
def docker(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """docker, on a host whose own rules drop."""
    HOST.load(FOREIGN)
    settings = {**HERE, **SETTINGS, "userland-proxy": request.param}
    HOST.shell.check_output(f"mkdir -p /etc/docker && {quoted(json.dumps(settings), '/etc/docker/daemon.json')}")
    HOST.shell.check_output("systemctl start docker")
    yield started("docker")
    HOST.shell.run("docker rm --force ftp other; docker network rm ftp")
    HOST.shell.run("systemctl disable --now docker docker.socket containerd")
    HOST.open()


def test_one_port_of_a_container_is_enough(docker: Engine) -> None:
    assert "passive" not in docker.modes()
    others = docker.rules()
    HOST.role(**INPUTS)
    docker.passes()
    assert docker.rules() == others
    assert HOST.role(**INPUTS).changed == 0
    for event in ("systemctl restart docker", f"systemctl restart {UNIT}"):
        docker.run(event)
        docker.passes()
    docker.replace()
    docker.passes()
    HOST.role(**INPUTS)
    docker.run("systemctl enable docker")
    docker.comes_back()
    HOST.role(**INPUTS, ftp_state="absent")
    assert "FTP-" not in HOST.rules()
    assert "passive" not in docker.modes()


@pytest.mark.parametrize("docker", [True], indirect=True, ids=["with its proxy"])
def test_published_range_of_ftps_is_open_to_live_peers(docker: Engine) -> None:
    docker.replaced_by_ftps()
    assert docker.knock() == ["ConnectionRefusedError", "ConnectionRefusedError"]
    docker.lets_live_peers_in()


@pytest.fixture
def podman() -> Iterator[Engine]:
    """podman, whose rules are nftables, on a host whose own nftables rules drop."""
    nftables(HOST, Firewall())
    HOST.shell.check_output(
        f"mkdir -p /etc/containers && {quoted(PODMAN, '/etc/containers/containers.conf')} && "
        f"{quoted(STORAGE, '/etc/containers/storage.conf')}"
    )
    yield started("podman")
    HOST.shell.run("podman rm --force ftp other; podman network rm ftp; nft flush ruleset")


def test_one_port_of_a_container_of_podman_is_enough(podman: Engine) -> None:
    assert podman.modes() == set()
    HOST.role(**INPUTS)
    podman.passes()
    assert HOST.role(**INPUTS).changed == 0
    podman.run("podman restart ftp")
    podman.passes()
    podman.replace()
    podman.passes()
    HOST.role(**INPUTS)
    podman.run(*(line for line in COMMANDS if line.startswith("systemctl ")))
    podman.comes_back()
    HOST.role(**INPUTS, ftp_state="absent")
    assert "hostfw" not in HOST.shell.check_output("nft list ruleset")
    # Without the site's rules, which are not loaded at boot, active data connections pass.
    assert "passive" not in podman.modes()


def test_published_range_of_ftps_of_podman_is_open_to_live_peers(podman: Engine) -> None:
    podman.replaced_by_ftps()
    podman.lets_live_peers_in()
