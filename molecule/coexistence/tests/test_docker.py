"""docker."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from lab.hosts import FOREIGN
from lab.kinds import quoted
from program import BEHIND, LAB, SERVER, UNIT, Program

# Rules for IPv6 are an experiment in Debian's docker.
SETTINGS = {
    "storage-driver": "vfs",
    "experimental": True,
    "ipv6": True,
    "ip6tables": True,
    "fixed-cidr-v6": "2001:db8:d0c::/64",
}
FORWARDING = "net.ipv4.ip_forward"


@pytest.fixture
def docker() -> Iterator[Program]:
    """A host with docker, which sets the policy of FORWARD to DROP as it turns forwarding on."""
    units = ("docker", "docker.socket", "containerd")
    found = Program("docker", LAB.host("host"), units=units)
    found.run(
        "mkdir -p /etc/docker",
        quoted(json.dumps(SETTINGS), "/etc/docker/daemon.json"),
        f"mount -o remount,rw /proc/sys && sysctl --write {FORWARDING}=0",
    )
    yield found
    found.clean()
    found.run("ip link delete docker0", f"sysctl --write {FORWARDING}=1")


def start(docker: Program) -> None:
    docker.run("systemctl start docker")
    docker.others = docker.rules(ours=False)
    assert any("DOCKER-ISOLATION-STAGE-1" in line for line in docker.others)


def test_ftp_passes_to_a_server_with_docker(docker: Program) -> None:
    docker.host.load(FOREIGN)
    start(docker)
    docker.blocked("server, systemctl start docker")
    docker.role()
    docker.passes("server, role")
    docker.run("systemctl restart docker")
    docker.passes("server, systemctl restart docker")
    assert docker.host.role().changed == 0


def test_ftp_passes_through_a_gateway_with_docker(docker: Program) -> None:
    docker.at, docker.server = BEHIND, SERVER
    start(docker)
    policies = [line for line in docker.others if ":FORWARD DROP" in line]
    assert len(policies) == 2
    docker.blocked("gateway, systemctl start docker")
    gateway = {"ftp_side": "gateway", "ftp_interface": "eth0", "ftp_out_interface": "eth1"}
    docker.verdict("FTP through the host has stopped since docker is installed", **gateway)
    docker.role(**gateway)
    docker.passes("gateway, role")
    docker.run("systemctl restart docker")
    docker.passes("gateway, systemctl restart docker")
    docker.run(f"systemctl restart {UNIT}")
    docker.passes("gateway, our unit restarted")
