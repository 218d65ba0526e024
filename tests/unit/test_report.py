"""The table and the page about hosts."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.hostfw.conntrack.plugins.filter.ftp_report import ftp_report
from ansible_collections.hostfw.conntrack.plugins.plugin_utils import _report

RULE = {
    "ip_version": "ipv4",
    "table": "raw",
    "chain": "FTP-HELPER",
    "words": "control connection to port 21: gets the ftp helper",
    "rule": "-A FTP-HELPER -p tcp -m tcp --dport 21 -j CT --helper ftp",
    "packets": 4,
    "bytes": 240,
}
INFO = {
    "kernel": "6.1.0",
    "helper": {"ready": True, "missing": "", "assigned": 4},
    "tools": ["ufw"],
    "unit": True,
    "rules": [RULE],
}
PROBE = {
    "mode": "passive",
    "ip_version": "ipv4",
    "expected": "pass",
    "passed": True,
    "stage": None,
    "reply": "226 Transfer complete.",
    "seconds": 0.0625,
    "bytes": 1024,
    "address": "192.0.2.1",
    "endpoint": "192.0.2.1:50001",
    "id": None,
    "cause": None,
    "cure": None,
}
STOPS = {
    **PROBE,
    "mode": "active",
    "passed": False,
    "stage": "connect",
    "id": "why",
    "cause": "<Why>.",
    "cure": "Do & see.",
}
WELL: dict[str, Any] = {
    "plan": {"converged": True},
    "before": INFO,
    "after": INFO,
    "probe": {"probes": [PROBE]},
    "from": "client1",
}
HOSTS: dict[str, Any] = {
    "one": WELL,
    "two": {**WELL, "plan": {"converged": True, "warnings": ["a <warning>"]}, "probe": {"probes": [PROBE, STOPS]}},
    "three": {"plan": {"unreachable": True, "msg": "timed out"}},
}
VOID = {"meta", "br", "input"}


class Balanced(HTMLParser):
    """Sees that every element that opens closes, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        """Note an element."""
        del attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Close it."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Note the words."""
        self.words.append(data)


def test_table() -> None:
    lines = ftp_report(HOSTS)["table"]
    assert [re.split(r"  +", line) for line in lines[:4]] == [
        [
            "host",
            "rules",
            "helper",
            "others",
            "passive IPv4",
            "passive IPv6",
            "active IPv4",
            "active IPv6",
        ],
        ["two", "as asked", "assigned", "ufw", "passes", "not tried", "stops: connect", "not tried"],
        ["three", "unknown", "unknown", "none", "not tried", "not tried", "not tried", "not tried"],
        ["one", "as asked", "assigned", "ufw", "passes", "not tried", "not tried", "not tried"],
    ]
    assert lines[-1] == "1 of 3 hosts are well."
    assert any(line.startswith("two: ") for line in lines)
    assert "three: this host cannot be looked at: timed out" in lines


def test_hosts_with_which_something_is_the_matter() -> None:
    assert ftp_report(HOSTS)["ill"] == ["two", "three"]
    assert ftp_report({"one": WELL})["ill"] == []


def test_page_is_whole_and_needs_nothing_else() -> None:
    page = ftp_report(HOSTS, "2026-11-23 06:00")["page"]
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    words = " ".join(parser.words)
    for part in ("1 of 3 hosts are well.", "2026-11-23 06:00", "a <warning>", RULE["rule"], "192.0.2.1:50001"):
        assert part in words
    # Its own script has no attributes.
    assert not re.search(r"https?://|<script[^>]|<link|\bsrc=|@import|innerHTML", page)
    assert "<script" not in ftp_report({"one": WELL})["page"]


def test_same_cause_is_told_once_with_the_hosts_that_share_it() -> None:
    names = [f"web{number}" for number in range(200)]
    hosts = {**HOSTS, **dict.fromkeys(names, HOSTS["three"])}
    lines = ftp_report(hosts)["table"]
    told = [line for line in lines if "this host cannot be looked at: timed out" in line]
    assert told == [f"201 hosts, three, {', '.join(names)}: this host cannot be looked at: timed out"]
    hosts["web7"] = {"plan": {"unreachable": True, "msg": "web7: no route"}}
    told = [line for line in ftp_report(hosts)["table"] if "this host cannot be looked at: " in line]
    assert told[1] == "web7: this host cannot be looked at: web7: no route"
    cure = "  see that Ansible can log in and become root"
    assert ftp_report(hosts)["table"].count(cure) == 1
    # What most hosts share is first.
    assert lines.index(cure) < next(number for number, line in enumerate(lines) if line.startswith("two: "))


def test_report_for_programs_has_ids_and_what_has_changed_since() -> None:
    now = json.loads(json.dumps(ftp_report(HOSTS, "today")["data"]))
    assert {name: host["well"] for name, host in now["hosts"].items()} == {"one": True, "two": False, "three": False}
    assert [each["id"] for each in now["hosts"]["three"]["findings"]] == ["host-unseen"]
    assert [each["outcome"] for each in now["hosts"]["two"]["probes"]] == ["passes", "stops: connect"]
    later = ftp_report({"one": HOSTS["two"], "three": WELL, "four": WELL}, "tomorrow", now)
    since = later["table"][-4:]
    assert since[0] == "Since today:"
    assert since[1].startswith("  one: new: ")
    assert since[2:] == [
        "  three: gone: this host cannot be looked at: timed out",
        "  four: was not looked at then",
    ]
    assert "three: gone: this host cannot" in later["page"]
    assert ftp_report(HOSTS, "tomorrow", now)["table"][-1] == "  nothing has changed"


@pytest.mark.parametrize(
    "earlier", [{"version": 2}, {"version": 1, "time": "", "hosts": {"one": 1}}, {"version": 1, "hosts": {}}]
)
def test_what_is_no_earlier_report_is_refused(earlier: dict[str, Any]) -> None:
    words = "^ftp_report: earlier must be a report of ftp_check in JSON, version 1$"
    with pytest.raises(AnsibleFilterError, match=words):
        ftp_report(HOSTS, "", earlier)


def test_leftovers_are_advice_below_what_is_the_matter() -> None:
    left = {"id": "helper-automatic-gone", "facts": {"path": "/etc/sysctl.conf"}, "message": "/etc/sysctl.conf has <1>"}
    well = {**WELL, "before": {**INFO, "leftovers": [left]}}
    report = ftp_report({"one": well, "two": well, "three": HOSTS["three"]})
    assert report["ill"] == ["three"]
    assert report["table"][-5:] == [
        "",
        _report.ADVICE,
        "2 hosts, one, two: /etc/sysctl.conf has <1>",
        "",
        "2 of 3 hosts are well.",
    ]
    assert report["page"].count("<li>/etc/sysctl.conf has &lt;1&gt;</li>") == 2
    assert {name: host["leftovers"] for name, host in report["data"]["hosts"].items()} == {
        "one": [left],
        "two": [left],
        "three": [],
    }
    assert not any("Left over" in line for line in ftp_report(HOSTS)["table"])
    assert "Left over" not in ftp_report(HOSTS)["page"]


def test_what_is_not_a_mapping_is_refused() -> None:
    with pytest.raises(AnsibleFilterError, match=r"^ftp_report: hosts must be a mapping of hosts, got list$"):
        ftp_report([])  # type: ignore[arg-type]
    with pytest.raises(AnsibleFilterError, match=r"^ftp_report: earlier must be a mapping, got list$"):
        ftp_report({}, "", [1])  # type: ignore[arg-type]


def test_host_that_cannot_try_is_no_proof_and_no_well_host() -> None:
    away = {"unreachable": True, "msg": "Connection refused"}
    report = ftp_report({"one": {**WELL, "probe": away}})
    assert report["ill"] == ["one"]
    assert report["table"][-4:-2] == [
        "one: FTP could not be tried from client1: Connection refused",
        "  see that Ansible can log in to client1, and that ftp_verify is right",
    ]


@pytest.mark.parametrize(
    ("expected", "passed", "words"),
    [
        ("pass", True, "passes"),
        ("pass", False, "stops: connect"),
        ("block", True, "closed, as asked"),
        ("block", False, "passes, must not"),
    ],
)
def test_what_became_of_a_trial(expected: str, passed: bool, words: str) -> None:
    assert _report.outcome({"expected": expected, "passed": passed, "stage": "connect"}) == words
