"""Server, client and gateway: what passes before the role and after it, in each mode, through narrow links."""

from __future__ import annotations

import re
from itertools import count

import pytest
from lab.ftp import BLOCKED_SECONDS, SECONDS, WAYS, Site, Way, curl
from lab.hosts import Host
from lab.topologies import TOPOLOGIES, GatewayLab, Topology

LAB = GatewayLab()


@pytest.fixture(scope="module", params=TOPOLOGIES, ids=str)
def topology(request: pytest.FixtureRequest) -> Topology:
    """One place of the firewall."""
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def host(topology: Topology) -> Host:
    """The host on which the firewall is, without the role at first."""
    return LAB.firewall(topology)


@pytest.fixture(scope="module")
def before(host: Host) -> str:
    """The rules before the role."""
    return host.rules()


@pytest.fixture(scope="module")
def converged(topology: Topology, host: Host, before: str) -> Host:
    """The host with the role applied."""
    host.role(**topology.role_inputs)
    assert host.rules() != before
    return host


@pytest.mark.usefixtures("before")
def test_nothing_passes_before_the_role(topology: Topology) -> None:
    found = LAB.attempts(topology, BLOCKED_SECONDS)
    assert [str(key) for key, reason in found.items() if reason is None] == []


@pytest.mark.usefixtures("converged")
def test_everything_passes_after_it(topology: Topology) -> None:
    found = LAB.attempts(topology, SECONDS)
    assert {key: reason for key, reason in found.items() if reason is not None} == {}
    assert len(found) == 18


def test_second_run_changes_nothing(topology: Topology, converged: Host) -> None:
    run = converged.role(**topology.role_inputs)
    assert run.changed == 0
    assert "warnings" not in run.result("Compare the host with what is asked for")


def narrow(way: Way, topology: Topology, number: int, operation: str) -> str | None:
    """Transfer 50 MB behind a narrow link; return None where it passed, else curl's message."""
    start = ("198.51.100.", "203.0.113.") if way.ip_version == 4 else ("2001:db8::", "2001:db8:1::")
    client, server = f"{start[0]}{number}", f"{start[1]}{number}"
    if operation == "upload":
        site = Site({way.ip_version: server}, tls=topology.site.tls)
        words = [*way.curl, "--upload-file", "/tmp/fifty-megabytes"]
    else:
        site = topology.site
        words = [client if word == "-" else word for word in way.curl]
        words += ["--interface", client, "--output", "/tmp/arrived"]
    path = f"upload/{number}" if operation == "upload" else "fifty-megabytes"
    result = curl(LAB.client, 60, *words, *site.words(way, path))
    if result.rc != 0:
        return str(result.stderr)
    ends = [
        LAB.client.check_output(f"sha256sum < /tmp/{'fifty-megabytes' if operation == 'upload' else 'arrived'}"),
        LAB.server.check_output(f"sha256sum < /srv/ftp/{path}"),
    ]
    LAB.server.run("rm -f /srv/ftp/upload/*")
    return None if ends[0] == ends[1] else "what arrived differs from what was sent"


def too_big() -> int:
    """Return how many packets the gateway has refused as too big for a narrow link."""
    snmp = LAB.gateway.check_output("cat /proc/net/snmp /proc/net/dev_snmp6/* /proc/net/snmp6")
    names, values = re.findall(r"^Ip: (.*)$", snmp, re.MULTILINE)
    ipv4 = dict(zip(names.split(), values.split()))["FragFails"]
    return int(ipv4) + sum(map(int, re.findall(r"^Ip6InTooBigErrors\s+(\d+)", snmp, re.MULTILINE)))


@pytest.mark.usefixtures("converged")
def test_narrow_links_pass_fifty_megabytes(topology: Topology) -> None:
    if not LAB.client.file("/tmp/fifty-megabytes").exists:
        LAB.client.check_output("head -c 50000000 /dev/urandom > /tmp/fifty-megabytes")
    before = too_big()
    # Each has addresses of its own: what a host knows of a path lasts for ten minutes.
    numbers = count(64 + 12 * TOPOLOGIES.index(topology))
    # What DNAT calls the server by is no narrow address.
    operations = ["download"] if topology.nat[0].startswith("-A PREROUTING") else ["download", "upload"]
    found = {
        (str(way), operation): narrow(way, topology, next(numbers), operation)
        for way in WAYS
        for operation in operations
    }
    assert {key: reason for key, reason in found.items() if reason is not None} == {}
    assert too_big() > before, "no packet met the narrow link"


@pytest.mark.parametrize("mode", ["active", "passive"])
def test_one_mode_passes_and_the_other_does_not(topology: Topology, converged: Host, mode: str) -> None:
    converged.role(**{**topology.role_inputs, "ftp_mode": mode})
    passing = LAB.attempts(topology, SECONDS, [way for way in WAYS if way.mode == mode])
    assert set(passing.values()) == {None}, passing
    blocked = LAB.attempts(topology, BLOCKED_SECONDS, [way for way in WAYS if way.mode != mode])
    assert [str(key) for key, reason in blocked.items() if reason is None] == []


def test_absent_gives_back_every_byte(topology: Topology, converged: Host, before: str) -> None:
    converged.role(**{**topology.role_inputs, "ftp_state": "absent"})
    assert converged.rules() == before
    assert converged.shell.check_output("ipset list -name") == ""
