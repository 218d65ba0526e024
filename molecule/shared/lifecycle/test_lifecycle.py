"""The role, run again and again: what it adds, moves, removes, refuses and leaves alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lab.desired import desired, parts
from lab.ftp import BLOCKED_SECONDS, WAYS, address, transfer
from lab.hosts import JUMP, PROGRAMS, Host, Run

EPSV = next(way for way in WAYS if way.command == "EPSV" and way.ip_version == 4)
PORT = next(way for way in WAYS if way.command == "PORT")
OPENS = "hostfw.conntrack: control connection to port 21: client opens"


def test_converged_run_costs_one_module_run(converged: Host) -> None:
    run = converged.role()
    assert run.changed == 0
    assert [name.split(" : ")[-1] for name in run.modules] == ["Compare the host with what is asked for"]


def test_dry_run_shows_the_rules_and_changes_nothing(host: Host) -> None:
    before = host.rules()
    run = host.role("--check", "--diff")
    assert host.rules() == before
    assert run.changed > 0
    shown = run.result("Compare the host with what is asked for")["diff"]["prepared"]
    host.role()
    added = [line for line in host.rules().splitlines() if line.startswith("-A") and line not in before.splitlines()]
    assert sorted(line[1:] for line in shown.splitlines() if line.startswith("+-A")) == sorted(added)


def test_absent_gives_back_every_byte(host: Host) -> None:
    before = host.rules()
    host.role(ftp_interface=["eth0", "lo", "wlan+"], ftp_control_ports=[21, 2121], ftp_position="first")
    assert host.rules() != before
    host.role(ftp_state="absent")
    assert host.rules() == before
    assert host.role(ftp_state="absent").changed == 0


# One after another, so that each is a change of the one before.
SETTINGS: list[dict[str, Any]] = [
    {"control_ports": ["21", "2121"], "passive_ports": "50000:50999", "data_port": "any"},
    {"interface": ["eth0", "lo"], "mode": "active"},
    {"interface": ["any"], "mode": "passive", "allowed_addresses": ["198.51.100.0/24", "2001:db8::/64"]},
    {"ip_versions": ["ipv6"]},
    {"tls": True, "passive_ports": "50000:50099"},
    {"connmark": "0x3", "control_ports": ["21", "990"]},
    {"side": "client"},
    {"side": "gateway", "interface": ["eth0"], "out_interface": ["lo", "tun+"]},
]


def test_changed_settings_leave_the_rules_that_are_asked_for_and_no_other(converged: Host) -> None:
    _ours, others = parts(converged.rules())
    for settings in SETTINGS:
        converged.role(**{f"ftp_{name}": value for name, value in settings.items()})
        assert parts(converged.rules()) == (desired(settings), others), settings


DAMAGES: list[tuple[str, list[str]]] = [
    ("rule deleted", ["-D FTP-OUT 1"]),
    ("rule altered", ["-R FTP-IN 1 -p tcp -m tcp --dport 2121 -j ACCEPT"]),
    ("rule opened to all", ["-I FTP-IN 1 -j ACCEPT"]),
    ("rule with exotic matches", ["-A FTP-IN -p tcp -m multiport --dports 1:20,80 -m limit --limit 5/min -j LOG"]),
    (
        "rule doubled",
        [
            (
                "-A FTP-IN -p tcp -m tcp --dport 21 -m conntrack --ctstate NEW,ESTABLISHED "
                f'-m comment --comment "{OPENS}" -j ACCEPT'
            ),
        ],
    ),
    ("chain flushed", ["-F FTP-DATA-IN"]),
    ("jump deleted", [f"-D{JUMP[2:]}"]),
    ("jump doubled", [JUMP, JUMP]),
    ("jump altered", [f"-D{JUMP[2:]}", JUMP.replace("-i eth0", "-i eth0 -p tcp")]),
    ("helper rule deleted", ["-t raw -F FTP-HELPER"]),
    ("guard's drop deleted", ["-t mangle -D HOSTFW-INPUT 2"]),
    ("guard flushed", ["-t mangle -F HOSTFW-OUTPUT"]),
    ("guard lets everything in", ["-t mangle -I HOSTFW-INPUT 1 -m comment --comment hostfw.conntrack:\\ x -j RETURN"]),
    ("marks in another order", ["-t mangle -D FTP-CONTROL 1", "-t mangle -I FTP-CONTROL 1 -j RETURN"]),
    (
        "data connections let in from everywhere",
        ["-t mangle -I FTP-DATA-IN 1 -j CONNMARK --set-xmark 0x20000000/0x30000000"],
    ),
    ("jumps all flushed by another tool", ["-F INPUT", "-F OUTPUT", "-t raw -F PREROUTING", "-t mangle -F INPUT"]),
]


@pytest.mark.parametrize("damage", [damage[1] for damage in DAMAGES], ids=[damage[0] for damage in DAMAGES])
def test_damaged_rules_are_put_right(converged: Host, damage: list[str]) -> None:
    host = converged
    good = parts(host.rules())[0]
    for program in PROGRAMS:
        for command in damage:
            host.shell.check_output(f"{program} {command}")
    damaged = host.rules()
    run = host.role()
    assert run.changed > 0
    assert parts(host.rules())[0] == good
    assert parts(host.rules())[1] == parts(damaged)[1]


INSTANCES: list[dict[str, Any]] = [
    {"ftp_side": "client", "ftp_mode": "passive"},
    {"ftp_side": "gateway", "ftp_interface": "eth0", "ftp_out_interface": "tun+", "ftp_position": "first"},
    {"ftp_control_ports": [990], "ftp_tls": True, "ftp_passive_ports": "50000:50099"},
]


@pytest.mark.parametrize("inputs", INSTANCES, ids=str)
def test_instance_of_another_prefix_is_left_alone(converged: Host, client: Host, inputs: dict[str, Any]) -> None:
    before = converged.rules()
    converged.role(ftp_chain_prefix="MIRROR", **inputs)
    assert "MIRROR-IN" in converged.rules()
    assert converged.role().changed == 0
    assert converged.role(ftp_chain_prefix="MIRROR", **inputs).changed == 0
    assert transfer(client.shell, converged.shell, EPSV, "download") is None
    converged.role(ftp_state="absent")
    assert converged.role(ftp_chain_prefix="MIRROR", **inputs).changed == 0
    converged.role()
    converged.role(ftp_chain_prefix="MIRROR", ftp_state="absent")
    assert sorted(converged.rules().splitlines()) == sorted(before.splitlines())


SERVER = {"ftp_interface": "eth0", "ftp_passive_ports": "1024:65535"}
GATEWAY = {"ftp_chain_prefix": "GATE", "ftp_side": "gateway", "ftp_interface": "eth0", "ftp_out_interface": "tun+"}


def test_instances_of_the_lists_are_those_of_the_host(host: Host, client: Host) -> None:
    before = sorted(host.rules().splitlines())
    stored = "ls /etc/hostfw-conntrack"

    def attempt(**lists: object) -> Run:
        return host.attempt(play=Path(__file__).with_name("instances.yml"), **lists)

    both: dict[str, object] = {"ftp_instances": [SERVER], "ftp_instances__dmz": [GATEWAY]}
    run = attempt(**both)
    assert (run.error, run.result("See which instances the host has").get("warnings")) == ("", None)
    assert {"FTP-IN", "GATE-IN"} <= set(re.findall(r"^:([A-Z]+-IN) ", host.rules(), re.MULTILINE))
    assert transfer(client.shell, host.shell, EPSV, "download") is None
    assert attempt(**both).changed == 0
    assert "ftp_sid" in attempt(ftp_instances=[{**SERVER, "ftp_sid": "client"}]).error
    assert "got FTP, FTP" in attempt(ftp_instances=[SERVER, SERVER]).error
    assert host.shell.check_output(stored).split() == ["FTP", "GATE"]
    assert attempt(ftp_instances=[SERVER]).error == ""
    assert "GATE" not in host.rules()
    assert host.shell.check_output(stored).split() == ["FTP"]
    assert transfer(client.shell, host.shell, EPSV, "download") is None
    assert attempt(ftp_instances=[]).error == ""
    assert sorted(host.rules().splitlines()) == before
    assert not host.shell.file("/etc/hostfw-conntrack").exists


def test_passive_ports_come_from_the_server(converged: Host, client: Host) -> None:
    run = converged.role(ftp_passive_ports="auto")
    assert run.result("Compare the host with what is asked for")["passive_ports"] == {
        "ports": "50000:50099",
        "source": "pasv_min_port and pasv_max_port of vsftpd in /etc/vsftpd.conf",
    }
    assert [line for line in converged.lines("FTP-DATA-IN") if "--dport 50000:50099" in line]
    assert transfer(client.shell, converged.shell, EPSV, "download") is None


def test_warnings_name_the_rule(converged: Host) -> None:
    rule = "PREROUTING -j CONNMARK --set-xmark 0x7/0xffffffff"
    converged.shell.check_output(f"iptables -t mangle -I {rule} && ip6tables -F SITE-ND")
    run = converged.role()
    assert run.changed == 0
    warnings = run.result("Compare the host with what is asked for")["warnings"]
    assert warnings[0].startswith(
        "iptables: a rule in table mangle writes over the bits 0x30000000 of the connection mark"
    )
    assert f"-A {rule}; write --set-xmark 0x7/0xcfffffff" in warnings[0]
    assert warnings[1].startswith(
        "ip6tables drops neighbour solicitations in INPUT on eth0, so nothing of IPv6 can pass"
    )
    assert len(warnings) == 5


UFW = [
    "-N ufw-before-input",
    "-N ufw-not-local",
    "-N ufw-reject-input",
    "-A ufw-before-input -i lo -j ACCEPT",
    "-A ufw-before-input -j ufw-not-local",
    "-A ufw-not-local -m addrtype --dst-type LOCAL -j RETURN",
    "-A ufw-not-local -j DROP",
    "-A ufw-reject-input -j REJECT --reject-with icmp-port-unreachable",
    "-A INPUT -j ufw-before-input",
    "-A INPUT -j ufw-reject-input",
]
SSH = "-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT"
# The site's firewall, and between which of its rules the jump stands.
POSITIONS: list[tuple[str, list[str], dict[str, object], int]] = [
    ("policy drop and no last rule", [SSH], {}, 1),
    ("last drop", [SSH, "-A INPUT -j DROP"], {}, 1),
    ("last reject", [SSH, "-A INPUT -j REJECT"], {}, 1),
    ("drop on the interface", [SSH, "-A INPUT -i eth0 -j DROP", SSH.replace("22", "80")], {}, 1),
    ("chain that ends in reject", UFW, {}, 1),
    ("last reject of tcp", [SSH, "-A INPUT -p tcp -j REJECT --reject-with tcp-reset"], {}, 1),
    ("drop of what is new", ["-A INPUT -m conntrack ! --ctstate RELATED,ESTABLISHED -j DROP"], {}, 0),
    ("bans and drops of some stay before it", ["-A INPUT -s 192.0.2.66 -j DROP", "-A INPUT -i eth1 -j DROP"], {}, 2),
    ("first", [SSH, SSH.replace("22", "80")], {"ftp_position": "first"}, 0),
    ("last", [SSH, SSH.replace("22", "80")], {"ftp_position": "last"}, 2),
]


@pytest.mark.parametrize(
    ("firewall", "inputs", "place"), [case[1:] for case in POSITIONS], ids=[case[0] for case in POSITIONS]
)
def test_jump_has_its_place(
    converged: Host, client: Host, firewall: list[str], inputs: dict[str, object], place: int
) -> None:
    host = converged
    host.shell.check_output("iptables -F INPUT")
    for rule in firewall:
        host.shell.check_output(f"iptables {rule}")
    others = host.lines("INPUT")
    assert transfer(client.shell, host.shell, EPSV, "download", BLOCKED_SECONDS) is not None
    host.role(**inputs)
    assert host.lines("INPUT") == [*others[:place], JUMP, *others[place:]]
    assert transfer(client.shell, host.shell, EPSV, "download") is None
    assert transfer(client.shell, host.shell, PORT, "listing") is None


def test_jump_moves_before_a_new_drop(converged: Host, client: Host) -> None:
    host = converged
    host.shell.check_output("iptables -I INPUT 2 -i eth0 -j DROP")
    assert transfer(client.shell, host.shell, EPSV, "download", BLOCKED_SECONDS) is not None
    host.role()
    lines = host.lines("INPUT")
    assert lines[1:3] == [JUMP, "-A INPUT -i eth0 -j DROP"]
    assert lines.count(JUMP) == 1
    assert transfer(client.shell, host.shell, EPSV, "download") is None


def test_allowed_addresses_alone_are_served(converged: Host, client: Host) -> None:
    host = converged
    host.role(ftp_allowed_addresses=["198.51.100.0/24"])
    assert transfer(client.shell, host.shell, EPSV, "download") is None
    assert transfer(client.shell, host.shell, PORT, "download") is None
    assert "FTP" not in host.shell.check_output("ip6tables-save")
    host.role(ftp_allowed_addresses=["192.0.2.0/24", "2001:db8::/64"])
    assert transfer(client.shell, host.shell, EPSV, "download", BLOCKED_SECONDS) is not None
    assert transfer(client.shell, host.shell, WAYS[-1], "download") is None


def test_default_interface_is_that_of_the_default_route(converged: Host) -> None:
    # It was converged without the input.
    run = converged.role(ftp_interface="eth0", ftp_interfaces="eth1")
    assert run.changed == 0
    warnings = run.result("Compare the host with what is asked for")["warnings"]
    assert any(text.startswith("ftp_interfaces is no input of this role") for text in warnings)


def test_interface_that_is_away_for_the_moment(converged: Host) -> None:
    interfaces = ["eth0", "ppp0"]
    converged.shell.check_output("ip link add ppp0 type dummy || ip link add ppp0 type veth peer name ppp9")
    converged.role(ftp_interface=interfaces)
    converged.shell.check_output("ip link delete ppp0")
    run = converged.role(ftp_interface=interfaces)
    assert run.changed == 0
    warnings = run.result("Compare the host with what is asked for")["warnings"]
    assert any("this host has no interface ppp0 at present; its rules stand" in text for text in warnings)
    assert "must be an interface of this host" in converged.attempt(ftp_interface=["eth0", "pp0"]).error


def test_forwarded_connections_get_no_helper(converged: Host, router: Host) -> None:
    router.role(ftp_ip_versions=["ipv4"])
    for target in ("203.0.113.1", address(router.shell, 4)):
        converged.shell.check_output("iptables -P OUTPUT ACCEPT && iptables -P INPUT ACCEPT")
        converged.shell.run(f"timeout 5 bash -c 'exec 3<>/dev/tcp/{target}/21'")
    helped = router.shell.check_output("iptables-save --counters --table raw | grep -- '--helper ftp'")
    jumped = router.shell.check_output("iptables-save --counters --table raw | grep -- '-j FTP-HELPER'")
    assert helped.startswith("[1:"), "the one to the router itself alone"
    assert not jumped.startswith(("[0:", "[1:")), "the other one passed through the router"


# One for each place that checks: the argument spec, the inputs alone, with the host, with one another.
BAD: list[tuple[dict[str, object], str]] = [
    ({"ftp_mode": "extended"}, "value of ftp_mode must be one of: active, passive, both, got: extended"),
    ({"ftp_control_ports": [0]}, "ftp_control_ports: must be a list of ports from 1 to 65535, got '0'"),
    (
        {"ftp_interface": "eth9"},
        "ftp_interface: must be an interface of this host (lo, eth0), a wildcard such as eth+, or any, got 'eth9'",
    ),
    (
        {"ftp_tls": True},
        (
            "ftp_tls: the helper cannot read an encrypted control connection, so FTPS opens its data ports without it; "
            "set ftp_passive_ports to the server's range, narrower than 1000 ports (got 1024:65535, 64512 ports), "
            "or set ftp_allowed_addresses"
        ),
    ),
]


@pytest.mark.parametrize(("inputs", "message"), BAD, ids=[str(inputs) for inputs, _message in BAD])
def test_bad_input_changes_nothing(host: Host, inputs: dict[str, object], message: str) -> None:
    before = host.rules()
    run = host.attempt(**inputs)
    assert message in run.error
    assert run.changed == 0
    assert host.rules() == before


def test_chains_of_others_are_never_touched(host: Host) -> None:
    for command in ("-N FTP-IN", "-A FTP-IN -s 192.0.2.9 -j ACCEPT", "-A INPUT -j FTP-IN"):
        host.shell.check_output(f"iptables {command}")
    before = host.rules()
    run = host.attempt()
    assert run.error == (
        "chain FTP-IN of table filter (ipv4) is not this role's, as a rule that the role did not make uses it: "
        "-A INPUT -j FTP-IN; set ftp_chain_prefix to another name than FTP"
    )
    assert host.role(ftp_state="absent").changed == 0
    assert host.rules() == before


@pytest.fixture
def ansible() -> Callable[..., str]:
    """Run the module helper_rule on a host, and return what Ansible printed."""

    def run(host: Host, arguments: dict[str, str], *options: str) -> str:
        words = " ".join(f"{name}='{value}'" for name, value in arguments.items())
        command = ["ansible", host.name, "--module-name", "hostfw.conntrack.helper_rule"]
        return host.lab.ansible(*command, "--args", words, *options).stdout

    return run


HELPER_RULES: list[tuple[dict[str, str], str, str]] = [
    (
        {"helper": "tftp", "chain": "PREROUTING", "in_interface": "eth0", "protocol": "udp", "destination_port": "69"},
        "raw",
        "-A PREROUTING -i eth0 -p udp -m udp --dport 69 -j CT --helper tftp",
    ),
    (
        {"helper": "sip", "chain": "OUTPUT", "protocol": "udp", "destination": "192.0.2.10/32", "comment": "a phone"},
        "raw",
        '-A OUTPUT -d 192.0.2.10/32 -p udp -m comment --comment "a phone" -j CT --helper sip',
    ),
    (
        {"helper": "irc", "chain": "INPUT", "jump": "ACCEPT", "protocol": "tcp", "ctstate": "RELATED,ESTABLISHED"},
        "filter",
        "-A INPUT -p tcp -m conntrack --ctstate RELATED,ESTABLISHED -m helper --helper irc -j ACCEPT",
    ),
    (
        {"helper": "tftp", "chain": "INPUT", "jump": "ACCEPT", "connmark": "!0x2/0xff"},
        "filter",
        "-A INPUT -m connmark ! --mark 0x2/0xff -m helper --helper tftp -j ACCEPT",
    ),
    (
        {"helper": "ftp", "chain": "OUTPUT", "jump": "DROP", "table": "mangle", "out_interface": "eth+"},
        "mangle",
        "-A OUTPUT -o eth+ -m helper --helper ftp -j DROP",
    ),
]


@pytest.mark.parametrize(("arguments", "table", "line"), HELPER_RULES, ids=[case[0]["helper"] for case in HELPER_RULES])
def test_helper_rule(host: Host, ansible: Callable[..., str], arguments: dict[str, str], table: str, line: str) -> None:
    before = host.rules()
    everywhere = {**arguments, "ip_version": "both"} if "destination" not in arguments else arguments
    chain = arguments["chain"]
    assert "CHANGED" in ansible(host, everywhere, "--check")
    assert host.rules() == before
    shown = ansible(host, everywhere, "--diff")
    assert "CHANGED" in shown
    assert f"+iptables -t {table} {line}" in shown
    assert host.lines(chain, table)[-1] == line
    assert "SUCCESS" in ansible(host, everywhere)
    host.shell.check_output(f"iptables --table {table} {line}")
    assert "CHANGED" in ansible(host, {**everywhere, "state": "absent"})
    assert "SUCCESS" in ansible(host, {**everywhere, "state": "absent"})
    assert host.rules() == before


def test_helper_rule_says_what_is_wrong(host: Host, ansible: Callable[..., str]) -> None:
    missing = ansible(host, {"helper": "ftp", "chain": "NOWHERE", "jump": "ACCEPT"})
    assert "iptables -A failed: iptables" in missing
    assert "connmark: must be such as 0x1/0x1 or !0x1/0x1, and not with jump CT, got '0x1'" in ansible(
        host, {"helper": "ftp", "chain": "INPUT", "jump": "ACCEPT", "connmark": "0x1"}
    )
    assert "table: must be raw where jump is CT, got 'filter'" in ansible(
        host, {"helper": "ftp", "chain": "INPUT", "table": "filter"}
    )
