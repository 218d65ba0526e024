"""What ftp_check says of hosts, and what the role does where FTP is tried at its end and does not pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lab.ftp import configure
from lab.hosts import JUMP, Host, Lab
from lab.verdict import check, tried, words

# The symptom of each, the inputs of the role and of the trial, what others do on the server, vsftpd's settings, and
# the rules of the client.
CASES: list[tuple[str, dict[str, Any], dict[str, Any], list[str], dict[str, str], list[str]]] = [
    ("timed out, from some networks", {}, {}, [], {}, ["-A OUTPUT -p tcp --dport 21 -j DROP"]),
    (
        "although the host answers other services",
        {"ftp_allowed_addresses": ["203.0.113.0/24", "2001:db8:1::/64"]},
        {},
        [],
        {},
        [],
    ),
    ("works until TLS", {}, {"tls": True, "validate_certs": False}, [], {}, []),
    ("500 or 550 in answer", {}, {}, [], {"pasv_enable": "NO", "port_enable": "NO"}, []),
    ("active works", {"ftp_mode": "active"}, {}, [], {}, []),
    ("passive works", {"ftp_mode": "passive"}, {}, [], {}, []),
    (
        "not the server's public one",
        {"ftp_public_address": "none"},
        {},
        [],
        {"pasv_address": "10.9.8.7"},
        [],
    ),
    ("a port out of the usual", {"ftp_passive_ports": "40000:40099"}, {}, [], {}, []),
    (
        "It hangs after 227 Entering Passive Mode",
        {"ftp_interface": "lo"},
        {},
        ["-I INPUT -p tcp --dport 21 -j ACCEPT", "-I OUTPUT -p tcp --sport 21 -j ACCEPT"],
        {},
        [],
    ),
    ("ProFTPD or runs without privileges", {}, {}, [], {"connect_from_port_20": "NO"}, []),
    ("425 Can't open data connection", {}, {}, [], {}, ["-A INPUT -p tcp --syn -j DROP"]),
    (
        "downloads stall",
        {},
        {"download": "five-megabytes"},
        [],
        {},
        ["-A INPUT -p tcp -m length --length 1000:65535 -j DROP"],
    ),
]


@pytest.mark.parametrize(
    ("symptom", "inputs", "trial", "rules", "settings", "away"), CASES, ids=[case[0] for case in CASES]
)
def test_cause_and_cure(
    server: Host,
    client: Host,
    symptom: str,
    inputs: dict[str, Any],
    trial: dict[str, Any],
    rules: list[str],
    settings: dict[str, str],
    away: list[str],
) -> None:
    server.converge(**inputs)
    for host, commands in ((server, rules), (client, away)):
        for command in commands:
            host.shell.check_output(f"iptables {command}")
    if settings:
        configure(server.shell, **settings)
    before = server.rules()
    code, lines = check(server.lab, server.name, ftp_verify=tried(server, **trial), **inputs)
    said = "\n".join(lines)
    for part in words(symptom):
        assert part in said
    limited = "ftp_mode" in inputs
    assert code == (0 if limited else 2)
    assert lines[-1] == f"{1 if limited else 0} of 1 host is well."
    assert server.rules() == before


def test_well_host_and_its_page(server: Host, tmp_path: Path) -> None:
    server.converge()
    page = tmp_path / "report.html"
    code, lines = check(server.lab, server.name, page, ftp_verify=tried(server, download="five-megabytes"))
    assert code == 0
    assert lines[1].split()[1:] == [
        "as",
        "asked",
        "assigned",
        "none",
        "passes",
        "not",
        "tried",
        "passes",
        "not",
        "tried",
    ]
    assert lines[-1] == "1 of 1 host is well."
    text = page.read_text(encoding="utf-8")
    for line in server.lines("FTP-DATA-IN"):
        assert line.partition(" -m comment")[0] in text


def test_host_without_the_role(server: Host) -> None:
    code, lines = check(server.lab, server.name, ftp_verify=tried(server))
    assert code == 2
    for part in words("Everything hangs, or"):
        assert any(part in line for line in lines)


@pytest.mark.parametrize(
    "variables",
    [
        {"ansible_docker_user": "nobody-is-called-so"},
        {"ansible_docker_user": "nobody", "ansible_become": False},
        {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1},
    ],
    ids=["no such user", "not root", "no connection"],
)
def test_host_that_cannot_be_looked_at(server: Host, variables: dict[str, Any]) -> None:
    code, lines = check(server.lab, server.name, **variables)
    assert code == 2
    assert any("this host cannot be looked at: " in line for line in lines), lines


def test_role_tries_what_it_has_made(server: Host) -> None:
    # Strings, as --extra-vars has them.
    strings = {"ftp_control_ports": "21", "ftp_ip_versions": "ipv4", "ftp_tls": "false"}
    run = server.role(ftp_mode="passive", ftp_verify=tried(server, closed="yes", to=server.name), **strings)
    probes = next(task for task in run.tasks if "Try FTP" in task["task"]["name"])["hosts"][server.name]["probes"]
    assert [(probe["mode"], probe["expected"], probe["connected"]) for probe in probes] == [
        ("passive", "pass", True),
        ("active", "block", False),
    ]


@pytest.mark.parametrize(
    "verify",
    [{}, {"from": "nobody-is-called-so"}, {"from": ""}, {"to": "198.51.100.9"}],
    ids=["none", "unknown", "empty", "itself"],
)
def test_nothing_changes_where_nobody_can_try(server: Host, verify: dict[str, str]) -> None:
    before = server.rules()
    run = server.attempt(ftp_verify={"timeout": 2, **verify})
    assert "ftp_verify: from must be a host of the inventory, or, on a client, to the" in run.error
    assert f'got from: "{verify.get("from", "")}"' in run.error
    assert server.rules() == before


def test_what_could_not_be_tried_stays(server: Host, tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("away ansible_connection=ssh ansible_host=127.0.0.1 ansible_port=1", encoding="utf-8")
    verify = {**tried(server, rescue="rollback"), "from": "away"}
    run = server.attempt("--inventory", str(hosts), ftp_verify=verify)
    assert (
        "FTP could not be tried, so it is not known whether it passes; what this run has changed stays: " in run.error
    )
    assert "away cannot be reached: " in run.error
    assert "is rolled back" not in run.error
    assert JUMP in server.lines("INPUT")


def test_role_rolls_back_what_does_not_pass(server: Host) -> None:
    server.converge()
    before = server.rules()
    closed = {"ftp_allowed_addresses": ["203.0.113.0/24"]}
    run = server.attempt(ftp_verify=tried(server, rescue="rollback"), **closed)
    assert "FTP was tried and does not pass: passive over IPv4 to " in run.error
    assert "is rolled back: they are as they were before it" in run.error
    assert server.rules() == before
    run = server.attempt(ftp_verify=tried(server), **closed)
    assert "FTP was tried and does not pass: " in run.error
    assert server.rules() != before


@pytest.mark.parametrize("name", ["from", "report"])
def test_old_names_of_extra_variables_are_an_error(lab: Lab, name: str) -> None:
    done = lab.ansible("ansible-playbook", "hostfw.conntrack.ftp_check", **{name: "x"})
    assert done.returncode == 2
    assert "from and report are called ftp_check_from and ftp_check_report; got " in done.stdout + done.stderr
    assert "Look at the rules" not in done.stdout
