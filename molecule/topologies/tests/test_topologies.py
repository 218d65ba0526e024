"""Server, client and gateway: what passes before the role and after it, in each mode, whoever filters."""

from __future__ import annotations

import re
from itertools import count

import pytest
from lab.ftp import BLOCKED_SECONDS, SECONDS, WAYS, Site, Way, curl
from lab.hosts import LOOK, Host
from lab.kinds import state
from lab.topologies import TOPOLOGIES, GatewayLab, Topology
from passed import PASSED, PLACES

LAB = GatewayLab()


@pytest.fixture(scope="module", params=PLACES, ids=lambda place: f"{place[0]}: {place[1]}")
def place(request: pytest.FixtureRequest) -> tuple[str, Topology]:
    """Who filters, and where."""
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def kind(place: tuple[str, Topology]) -> str:
    """Who filters."""
    return place[0]


@pytest.fixture(scope="module")
def topology(place: tuple[str, Topology]) -> Topology:
    """One place of the firewall."""
    return place[1]


@pytest.fixture(scope="module")
def host(kind: str, topology: Topology) -> Host:
    """The host on which the firewall is, without the role at first."""
    return LAB.firewall(topology, kind)


@pytest.fixture(scope="module")
def before(host: Host) -> str:
    """What filters before the role."""
    return state(host)


@pytest.fixture(scope="module")
def converged(topology: Topology, host: Host, before: str) -> Host:
    """The host with the role applied."""
    host.role(**topology.role_inputs)
    assert state(host) != before
    return host


def passing(kind: str, topology: Topology, mode: str, ways: list[Way], seconds: int) -> dict[str, str | None]:
    """Try every operation in some ways; return why each failed, or None where it passed."""
    found = LAB.attempts(topology, seconds, ways)
    for way in ways:
        here = {operation: reason for (its_way, operation), reason in found.items() if its_way is way}
        PASSED[kind, topology.name, way][mode] = [name for name, reason in here.items() if reason is None]
    return {f"{way}-{operation}": reason for (way, operation), reason in found.items()}


@pytest.mark.usefixtures("before")
def test_nothing_passes_before_the_role(topology: Topology) -> None:
    found = LAB.attempts(topology, BLOCKED_SECONDS)
    assert [str(key) for key, reason in found.items() if reason is None] == []


@pytest.mark.usefixtures("converged")
def test_everything_passes_after_it(kind: str, topology: Topology) -> None:
    found = passing(kind, topology, "both", list(WAYS), SECONDS)
    assert {key: reason for key, reason in found.items() if reason is not None} == {}
    assert len(found) == 18


def test_second_run_changes_nothing(kind: str, topology: Topology, converged: Host) -> None:
    run = converged.role(**topology.role_inputs)
    assert run.changed == 0
    found = run.result(LOOK)
    # There is no systemd on these hosts, so that their boots are not asked for.
    expected = ["firewalld-permanent"] if kind == "firewalld" else []
    assert [finding["id"] for finding in found["findings"]] == expected
    assert len(found.get("warnings", [])) == len(expected)


def narrow(way: Way, topology: Topology, number: int, operation: str, size: str) -> str | None:
    """Transfer some megabytes behind a narrow link; return None where it passed, else curl's message."""
    start = ("198.51.100.", "203.0.113.") if way.ip_version == 4 else ("2001:db8::", "2001:db8:1::")
    client, server = f"{start[0]}{number}", f"{start[1]}{number}"
    if operation == "upload":
        site = Site({way.ip_version: server}, tls=topology.site.tls)
        words = [*way.curl, "--upload-file", "/tmp/fifty-megabytes"]
    else:
        site = topology.site
        words = [client if word == "-" else word for word in way.curl]
        words += ["--interface", client, "--output", "/tmp/arrived"]
    path = f"upload/{number}" if operation == "upload" else size
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
def test_narrow_links_pass_many_megabytes(kind: str, topology: Topology) -> None:
    size = "fifty-megabytes" if kind == "iptables" else "five-megabytes"
    LAB.client.check_output("test -e /tmp/fifty-megabytes || head -c 50000000 /dev/urandom > /tmp/fifty-megabytes")
    if topology.nat == "masquerade":
        # What the server knows of the path to the gateway, by whose address it knows all clients.
        for gateway in ("203.0.113.1", "2001:db8:1::1"):
            LAB.server.run(f"ip route del {gateway} dev eth0")
            LAB.server.check_output(f"ip route add {gateway} dev eth0")
    before = too_big()
    # Each has addresses of its own: what a host knows of a path lasts for ten minutes. Those of iptables come first,
    # with twelve each.
    place = PLACES.index((kind, topology))
    numbers = count(32 + (12 * place if kind == "iptables" else 6 * (place + len(TOPOLOGIES))))
    # What DNAT calls the server by is no narrow address.
    operations = ["download", "upload"] if kind == "iptables" and topology.nat != "DNAT" else ["download"]
    found = {
        (str(way), operation): narrow(way, topology, next(numbers), operation, size)
        for way in WAYS
        for operation in operations
    }
    assert {key: reason for key, reason in found.items() if reason is not None} == {}
    assert too_big() > before, "no packet met the narrow link"


@pytest.mark.parametrize("mode", ["active", "passive"])
def test_one_mode_passes_and_the_other_does_not(kind: str, topology: Topology, converged: Host, mode: str) -> None:
    converged.role(**{**topology.role_inputs, "ftp_mode": mode})
    asked, other = ([way for way in WAYS if (way.mode == mode) is same] for same in (True, False))
    assert set(passing(kind, topology, mode, asked, SECONDS).values()) == {None}
    blocked = passing(kind, topology, mode, other, BLOCKED_SECONDS)
    assert [key for key, reason in blocked.items() if reason is None] == []


def test_absent_gives_back_every_byte(topology: Topology, converged: Host, before: str) -> None:
    converged.role(**{**topology.role_inputs, "ftp_state": "absent"})
    assert state(converged) == before
    assert converged.shell.check_output("ipset list -name") == ""
