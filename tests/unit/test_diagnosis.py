"""Why FTP does not pass, told from what was seen of a host."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.hostfw.conntrack.plugins.module_utils._diagnosis._causes import Cause
from ansible_collections.hostfw.conntrack.plugins.module_utils._diagnosis._findings import Finding
from ansible_collections.hostfw.conntrack.plugins.plugin_utils import _diagnosis
from ansible_collections.hostfw.conntrack.plugins.plugin_utils._diagnosis import OF_HOSTS, OF_TRIALS, Case

PROJECT = Path(__file__).resolve().parents[2]
CONVERGED = {
    "converged": True,
    "passive_ports": {"ports": "50000:50099"},
    "public_address": "none",
    "addresses": ["127.0.0.1", "192.0.2.1"],
}
PUBLIC = "203.0.113.7:50001"
WORDS = (
    "FTP on eth0",
    "control connection to port 21: gets the ftp helper",
    "control connection to port 21: client opens",
    "control connection to port 21: server answers",
    "data connections of the ftp helper",
    "active data connection from port 20: server opens",
    "active data connection from port 20: client answers",
    "passive data connection to ports 50000-50099: client opens",
)


def info(packets: dict[str, int], **more: Any) -> dict[str, Any]:
    """Return what ftp_info returned, with the packets of the rules whose words contain a key."""
    rules = [
        {
            "ip_version": "ipv4",
            "words": words,
            "packets": next((count for part, count in packets.items() if part in words), 0),
        }
        for words in WORDS
    ]
    return {"rules": rules, "tools": [], "unit": True, **more}


OWN = Cause("the-probes-own", "The probe's own cause.", "The probe's own cure.")


def probe(stage: str, mode: str = "passive", **more: Any) -> dict[str, Any]:
    """Return a trial that was to pass, and stopped."""
    return {
        "mode": mode,
        "ip_version": "ipv4",
        "expected": "pass",
        "passed": False,
        "stage": stage,
        "reply": "",
        "endpoint": "192.0.2.1:50001",
        **asdict(OWN),
        **more,
    }


def stopped(conflict: Finding) -> dict[str, Any]:
    """Return what the plan says that cannot be carried out."""
    return {"msg": str(conflict), "conflicts": [conflict.report()]}


HELPED = {"gets the": 2, "port 21: client opens": 9, "port 21: server answers": 9, "FTP on": 12}
HOSTS: list[tuple[str, Case]] = [
    ("by its backend iptables", Case({}, stopped(Finding("firewalld-drops", how="")))),
    ("Firewalld runs, and FTP hangs", Case({}, {"converged": False}, info({}, tools=["firewalld"]))),
    (
        "before the kernel knows the connection",
        Case({}, stopped(Finding("nftables-drops-early", chain="in", family="inet", table="site", priority=-200))),
    ),
    ("neither loaded nor built in", Case({}, stopped(Finding("helper-missing", module="nf_conntrack_ftp", reason="")))),
    ("ufw allow 21/tcp", Case({}, {"converged": False}, info({}, tools=["ufw"]))),
    ("since docker is installed", Case({}, {"converged": False}, info({}, tools=["docker"]))),
    ("Everything hangs", Case({}, {"converged": False}, info({}))),
    ("until the next reboot", Case({}, CONVERGED, info({}, unit=False))),
]
TRIALS: list[tuple[str, dict[str, Any], dict[str, int], dict[str, Any], bool]] = [
    ("from some networks or from all", {}, {}, probe("connect"), False),
    ("although the host answers other services", {}, {"FTP on": 3}, probe("connect"), False),
    ("login takes a minute", {}, HELPED, probe("greeting"), False),
    ("works until TLS", {}, HELPED, probe("data connection"), True),
    ("500 or 550 in answer", {}, HELPED, probe("data connection", reply="550 Permission denied."), False),
    ("active works", {"mode": "active"}, HELPED, probe("data connection"), False),
    ("passive works", {"mode": "passive"}, HELPED, probe("data connection", "active"), False),
    ("not the server's public one", {}, HELPED, probe("data connection", announced_elsewhere=True), False),
    ("the public address of a cloud", {"side": "server"}, HELPED, probe("data connection", endpoint=PUBLIC), False),
    ("several lines", {}, HELPED, probe("data connection", reply="227-Entering 227 Passive (192,0,2,1,195,81)"), False),
    ("a port out of the usual", {}, HELPED, probe("data connection", endpoint="192.0.2.1:60000"), False),
    ("It hangs after 227 Entering Passive Mode", {}, {**HELPED, "gets the": 0}, probe("data connection"), False),
    (
        "ProFTPD or runs without privileges",
        {"data_port": "auto"},
        {**HELPED, "data connections of": 4},
        probe("data connection", "active"),
        False,
    ),
    (
        "425 Can't open data connection",
        {},
        {**HELPED, "data connections of": 4, "server opens": 4},
        probe("data connection", "active"),
        False,
    ),
    ("downloads stall", {}, HELPED, probe("transfer"), False),
]


def finding(symptom: str) -> Cause:
    """Return the answer to a symptom."""
    known = [each for each in (*OF_HOSTS, *OF_TRIALS) if each.symptom.endswith(symptom) or symptom in each.symptom]
    exact = [each for each in known if each.symptom == symptom] or known
    assert len(exact) == 1, [each.symptom for each in exact]
    return exact[0].told()


@pytest.mark.parametrize(("symptom", "case"), HOSTS, ids=[symptom for symptom, _case in HOSTS])
def test_what_is_seen_of_a_host(symptom: str, case: Case) -> None:
    assert _diagnosis.findings([case]) == [finding(symptom)]


@pytest.mark.parametrize(
    ("symptom", "inputs", "packets", "trial", "tls"), TRIALS, ids=[symptom for symptom, *_rest in TRIALS]
)
def test_what_is_seen_of_a_trial(
    symptom: str, inputs: dict[str, Any], packets: dict[str, int], trial: dict[str, Any], tls: bool
) -> None:
    case = Case(inputs, CONVERGED, info({}), info(packets), trial, tls)
    assert _diagnosis.findings([case]) == [finding(symptom)]


def test_every_diagnosis_is_tried() -> None:
    tried = {finding(symptom) for symptom, *_rest in (*HOSTS, *TRIALS)}
    assert tried == {each.told() for each in (*OF_HOSTS, *OF_TRIALS)}


def test_trial_that_passes_has_no_finding() -> None:
    assert not _diagnosis.findings([Case({}, CONVERGED, info({}), info(HELPED), probe("", passed=True))])


def test_what_is_not_known_is_told_in_the_words_of_the_probe() -> None:
    case = Case({}, CONVERGED, info({}), info(HELPED), probe("resolve"))
    assert _diagnosis.findings([case]) == [OWN]


@pytest.mark.parametrize(
    ("inputs", "plan", "endpoint", "reply"),
    [
        ({"side": "client"}, CONVERGED, PUBLIC, ""),
        ({"side": "server"}, {**CONVERGED, "public_address": "203.0.113.7"}, PUBLIC, ""),
        ({"side": "server"}, {**CONVERGED, "addresses": ["203.0.113.7"]}, PUBLIC, ""),
        ({"side": "server"}, {**CONVERGED, "addresses": []}, PUBLIC, ""),
        ({"side": "server"}, CONVERGED, "[2001:db8::1]:50001", ""),
        ({"side": "server"}, CONVERGED, "192.0.2.1:50001", "227 Entering Passive Mode (192,0,2,1,195,81)"),
    ],
)
def test_address_and_answer_that_are_in_order(
    inputs: dict[str, Any], plan: dict[str, Any], endpoint: str, reply: str
) -> None:
    trial = probe("data connection", endpoint=endpoint, reply=reply)
    case = Case(inputs, plan, info({}), info(HELPED), trial)
    assert _diagnosis.findings([case]) == [OWN]


def test_mode_that_passes_and_must_not_is_a_finding() -> None:
    case = Case({"mode": "passive"}, CONVERGED, info({}), info(HELPED), probe("", "active", expected="block"))
    assert _diagnosis.findings([case])[0].cause == "active mode passes, which ftp_mode does not allow"


def test_error_of_the_role_is_told() -> None:
    assert _diagnosis.findings([Case({}, {"msg": "ftp_mode: must be ..."})])[0].cause == (
        "the role stops: ftp_mode: must be ..."
    )


def test_troubleshooting_says_the_same() -> None:
    text = " ".join((PROJECT / "docs/troubleshooting.md").read_text(encoding="utf-8").split())
    for each in (*OF_HOSTS, *OF_TRIALS):
        section = (
            f"### {each.symptom} `{each.id}` **Look at:** {each.look} **Cause:** {each.cause} **Cure:** {each.cure} #"
        )
        assert section in text, each.symptom
