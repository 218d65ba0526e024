"""What ftp_check says of what other recipes for FTP have left on a host, and what comes of deleting it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from lab.ftp import BLOCKED_SECONDS, OPERATIONS, WAYS, transfers
from lab.hosts import FOREIGN, Host
from lab.kinds import quoted
from lab.sockets import listener, reaches
from lab.verdict import check, tried

SERVER_SIDE = "-m state --state"
# As in the recipe that this collection comes from, with its directions and spelling corrected.
SEED = (
    f"-A INPUT -i eth0 -p tcp --dport 21 {SERVER_SIDE} NEW,ESTABLISHED -j ACCEPT",
    f"-A OUTPUT -o eth0 -p tcp --sport 21 {SERVER_SIDE} ESTABLISHED -j ACCEPT",
    f"-A INPUT -i eth0 -p tcp --dport 20 {SERVER_SIDE} ESTABLISHED -j ACCEPT",
    f"-A OUTPUT -o eth0 -p tcp --sport 20 {SERVER_SIDE} RELATED,ESTABLISHED -j ACCEPT",
    f"-A INPUT -i eth0 -p tcp --sport 1024:65535 --dport 1024:65535 {SERVER_SIDE} RELATED,ESTABLISHED -j ACCEPT",
    f"-A OUTPUT -o eth0 -p tcp --sport 1024:65535 --dport 1024:65535 {SERVER_SIDE} ESTABLISHED -j ACCEPT",
)
# Each recipe: the file and what stands in it, or a rule of iptables; and what is told of it.
RECIPES: list[tuple[str, str, str]] = [
    ("/etc/modules", "ip_conntrack_ftp", "module-loaded-by-hand"),
    ("/etc/modules-load.d/ftp.conf", "ip_conntrack_ftp", "module-loaded-by-hand"),
    ("/etc/modprobe.d/ftp.conf", "softdep vsftpd pre: ip_conntrack_ftp", "module-loaded-by-hand"),
    ("/etc/sysconfig/iptables-config", 'IPTABLES_MODULES="nf_conntrack_ftp"', "module-loaded-by-hand"),
    ("/etc/default/ufw", 'IPT_MODULES="nf_conntrack_ftp nf_nat_ftp"', "module-loaded-by-hand"),
    ("/etc/modprobe.d/ftp.conf", "options nf_conntrack_ftp ports=21,2121", "helper-ports"),
    ("/etc/sysctl.conf", "net.netfilter.nf_conntrack_helper = 1", "helper-automatic"),
    ("/etc/sysctl.d/ftp.conf", "net.netfilter.nf_conntrack_helper=1", "helper-automatic"),
    ("-t raw", "-A PREROUTING -p tcp -m tcp --dport 21 -j CT --helper ftp", "helper-assigned-by-hand"),
    ("-t filter", "-A INPUT -p tcp -m tcp --dport 21 -m state --state NEW -j ACCEPT", "ftp-accepted-by-hand"),
    ("-t filter", "-A INPUT -p tcp -m tcp --dport 443 -m state --state NEW -j ACCEPT", "state-match"),
    ("-t filter", "-A INPUT -p tcp -m multiport --dports 21,22 -j ACCEPT", "ftp-port-among-others"),
    ("-t filter", "-A INPUT -p tcp -m tcp --dport 40000:50000 -j ACCEPT", "passive-ports-open"),
]


@pytest.fixture(scope="module", autouse=True)
def files(ftp: Host) -> None:
    """Have the files that the role leaves without inputs, whatever tests before have made of them."""
    ftp.load(FOREIGN)
    ftp.role()


@pytest.fixture
def places(server: Host) -> Iterator[list[str]]:
    """The files that a test writes, which are removed after it."""
    found: list[str] = []
    yield found
    for path in found:
        server.shell.check_output(f"rm {path}; if test -e {path}.before; then mv {path}.before {path}; fi")


def left(server: Host, folder: Path, **inputs: Any) -> tuple[int, list[str], dict[str, dict[str, Any]]]:
    """Return what ftp_check ends with, what it prints, and what it says of leftovers, by their ids."""
    report = folder / "report.json"
    code, lines = check(server.lab, server.name, ftp_check_json=str(report), **inputs)
    host = json.loads(report.read_text(encoding="utf-8"))["hosts"][server.name]
    return code, lines, {each["id"]: each for each in host["leftovers"]}


@pytest.mark.parametrize(("place", "line", "name"), RECIPES, ids=[f"{place} {line}" for place, line, _name in RECIPES])
def test_recipe_is_named_and_does_not_count_as_ill(
    server: Host, tmp_path: Path, places: list[str], place: str, line: str, name: str
) -> None:
    server.converge()
    said = line
    if place.startswith("/"):
        before = f"mkdir -p $(dirname {place}); if test -e {place}; then cp {place} {place}.before; fi"
        server.shell.check_output(f"{before}; {quoted(f'# by hand{chr(10)}{line}{chr(10)}', place)}")
        places.append(place)
        has_setting = server.shell.file("/proc/sys/net/netfilter/nf_conntrack_helper").exists
        name = f"{name}-gone" if name == "helper-automatic" and not has_setting else name
    else:
        server.shell.check_output(f"iptables {place} {line}")
        said = f"iptables {place} {line}"
    code, lines, found = left(server, tmp_path)
    assert (code, lines[-1]) == (0, "1 of 1 host is well."), "\n".join(lines)
    assert set(found) == {name}
    assert said in found[name]["message"]
    assert f"{server.name}: {found[name]['message']}" in lines


def test_seed_is_replaced_without_locking_anyone_out(server: Host, client: Host, tmp_path: Path) -> None:
    before = server.rules()
    for rule in SEED:
        server.shell.check_output(f"iptables {rule}")
    plain = [(way, operation) for way, operation in product(WAYS, OPERATIONS) if way.ip_version == 4]
    assert None not in transfers(client.shell, server.shell, plain, BLOCKED_SECONDS).values()
    server.role()
    server.shell.check_output("iptables -I INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT")
    code, _lines, found = left(server, tmp_path, ftp_verify=tried(server))
    assert code == 0
    assert set(found) == {"ftp-accepted-by-hand", "high-ports-by-state", "established-stays"}
    for name in ("ftp-accepted-by-hand", "high-ports-by-state"):
        for rule in found[name]["facts"]["rules"].split("; "):
            server.shell.check_output(rule.replace(" -A ", " -D "))
    _code, _lines, found = left(server, tmp_path)
    assert found == {}
    server.shell.check_output("iptables -D INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT")
    foreign = [line for line in server.rules().splitlines() if "hostfw.conntrack" not in line]
    assert [line for line in before.splitlines() if line not in foreign] == []
    with listener(server.shell, 22):
        assert reaches(client.shell, server.shell, 4, 22)
    every = list(product(WAYS, OPERATIONS))
    assert set(transfers(client.shell, server.shell, every).values()) == {None}


def test_foreign_rule_lets_in_control_connections_that_the_inputs_do_not(server: Host, client: Host) -> None:
    server.converge(ftp_allowed_addresses=["203.0.113.0/24"])
    assert not reaches(client.shell, server.shell, 4, 21)
    server.shell.check_output("iptables -A INPUT -p tcp --dport 21 -j ACCEPT")
    server.shell.check_output("iptables -A OUTPUT -p tcp --sport 21 -j ACCEPT")
    assert reaches(client.shell, server.shell, 4, 21)
