"""docker."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from lab.ftp import SECONDS
from lab.hosts import FOREIGN, LOOK
from lab.kinds import quoted
from program import BEHIND, LAB, SERVER, UNIT, ZONED, Program

# What docker drops, it drops by its policy.
OPENED = "iptables --policy FORWARD ACCEPT && ip6tables --policy FORWARD ACCEPT"
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
    found.host.shell.run("test -e /tmp/firewalld && rm -r /etc/firewalld && mv /tmp/firewalld /etc/firewalld")
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


def test_ftp_passes_through_a_gateway_with_firewalld_and_docker(docker: Program) -> None:
    docker.at, docker.server = BEHIND, SERVER
    docker.units = (*docker.units, "firewalld")
    docker.run("cp -r /etc/firewalld /tmp/firewalld", *ZONED, "systemctl start docker")
    docker.blocked("firewalld and docker")
    gateway = {"ftp_side": "gateway", "ftp_interface": "eth0", "ftp_out_interface": "eth1"}
    run = docker.host.role(**gateway)
    assert run.result(LOOK)["gates"] == ["iptables", "ip6tables", "firewalld"]
    assert "firewalld-flushes" in [finding["id"] for finding in run.result(LOOK)["findings"]]
    # A reload removes all rules of iptables, but neither helper nor guard; docker makes its own again.
    for event in (
        "true",
        "systemctl restart docker",
        "systemctl restart firewalld",
        f"firewall-cmd --reload && sleep 5 && {OPENED}",
        f"firewall-cmd --reload && systemctl restart {UNIT}",
    ):
        docker.run(event)
        found = docker.tried(SECONDS)
        docker.note(f"firewalld and docker, {event}", found)
        assert set(found) == {None}
    # docker has put its rules before the jumps.
    docker.host.role(**gateway)
    assert docker.host.role(**gateway).changed == 0
    docker.host.role(**gateway, ftp_state="absent")
    assert "hostfw" not in docker.run("nft list ruleset")
