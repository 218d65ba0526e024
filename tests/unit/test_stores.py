"""Rules that other programs have saved, with ours among them, through runs of the role, saves and reboots."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp import _desired, _options
from ansible_collections.hostfw.conntrack.plugins.module_utils._host import _stores
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables import _ruleset
from ansible_collections.hostfw.conntrack.plugins.module_utils._plan import _boot, _plan
from ansible_collections.hostfw.conntrack.tests.unit.test_boot import printed
from ansible_collections.hostfw.conntrack.tests.unit.test_options import DEFAULTS

FTPS = {"tls": True, "passive_ports": "50000:50099"}
RULES = {"ipv4": "etc/iptables/rules.v4", "ipv6": "etc/iptables/rules.v6"}
SITE = "*filter\n:INPUT DROP [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT DROP [0:0]\n-A INPUT -i lo -j ACCEPT\nCOMMIT\n"


def options(**inputs: Any) -> _options.Options:
    """Return the options of some inputs."""
    return _options.parse({**DEFAULTS, **inputs}, ["lo", "eth0"], [])


def set_names(rules: tuple[str, ...]) -> frozenset[str]:
    """Return the names of the sets that rules name."""
    return frozenset(re.findall(r" --(?:match|add)-set (\S+)", "".join(rules)))


@dataclass(frozen=True)
class Host:
    """A host whose rules netfilter-persistent saves, and loads at boot.

    - rules, saved: of each IP version, as iptables-save prints them
    - sets: the names of its ipsets
    - files: those of the role, with their texts
    """

    rules: tuple[str, ...] = (SITE, SITE)
    saved: tuple[str, ...] = (SITE, SITE)
    sets: frozenset[str] = frozenset()
    files: frozenset[tuple[str, str]] = frozenset()

    @property
    def current(self) -> dict[str, _ruleset.Ruleset]:
        """The rules of each IP version."""
        return {key: _ruleset.parse(text, (*_desired.TABLES, "nat")) for key, text in zip(RULES, self.rules)}

    @property
    def stores(self) -> dict[str, list[str]]:
        """What is saved."""
        return {path: text.splitlines() for path, text in zip(RULES.values(), self.saved)}

    @property
    def key(self) -> tuple[object, ...]:
        """What decides on the future: which sets are named where, and are there."""
        return set_names(self.rules), set_names(self.saved), self.sets, frozenset(path for path, _text in self.files)

    def role(self, systemd: bool, **inputs: Any) -> Host:
        """Return the host after a run of the role."""
        asked = options(**inputs)
        kept = _stores.sets(asked.prefix, self.stores)
        sets = dict.fromkeys(self.sets, "hash:ip inet") | {name: "hash:ip inet6" for name in self.sets if "6" in name}
        plan = _plan.plan(_desired.of(asked), self.current, sets, together=True, kept=kept)
        files = _boot.files(_desired.of(asked), plan, [], systemd=systemd, plugins=True, kept=kept)
        destroyed = {item["argv"][-1] for item in plan.finish if "destroy" in item["argv"]}
        return replace(
            self,
            rules=tuple(printed(ruleset) for ruleset in plan.after.values()),
            sets=frozenset((self.sets | set(plan.sets)) - destroyed),
            files=frozenset(files.items()),
        )

    def boot(self, systemd: bool) -> Host:
        """Return the host after a reboot."""
        files = dict(self.files)
        loads = any(
            "restore sets" in text and path.startswith(_boot.UNITS if systemd else _boot.PLUGINS)
            for path, text in files.items()
        )
        sets = frozenset(re.findall(r"create (\S+)", files.get("etc/hostfw-conntrack/FTP/ipset", "")) if loads else [])
        for saved in self.saved:
            assert set_names((saved,)) <= sets, "the host's own firewall does not load"
        return replace(self, rules=self.saved, sets=sets)

    def after(self, event: str, systemd: bool) -> Host:
        """Return the host after an event."""
        if event == "reboot":
            return self.boot(systemd)
        if event == "save":
            return replace(self, saved=self.rules)
        return self.role(systemd, **RUNS[event])


# Over IPv4 alone, as both IP versions are alike.
PASSIVE = {"mode": "passive", "ip_versions": ["ipv4"]}
RUNS: dict[str, dict[str, Any]] = {
    "FTP": PASSIVE,
    "FTPS": {**FTPS, **PASSIVE},
    "FTPS until the next reboot": {**FTPS, **PASSIVE, "persistent": False},
    "absent": {**PASSIVE, "state": "absent"},
}


@pytest.mark.parametrize("systemd", [True, False])
def test_no_order_of_runs_saves_and_reboots_leaves_a_host_without_its_firewall(systemd: bool) -> None:
    ways: dict[tuple[object, ...], tuple[str, ...]] = {Host().key: ()}
    waiting = [Host()]
    while waiting:
        host = waiting.pop(0)
        for event in (*RUNS, "save", "reboot"):
            way = (*ways[host.key], event)
            try:
                found = host.after(event, systemd)
            except AssertionError as error:
                pytest.fail(f"{', '.join(way)}: {error}")
            if found.key not in ways:
                ways[found.key] = way
                waiting.append(found)
    assert len(ways) > len(RUNS)


@pytest.mark.parametrize("systemd", [True, False])
def test_nothing_is_left_when_the_rules_are_saved_anew(systemd: bool) -> None:
    host = Host().after("FTPS", systemd).after("save", systemd).after("absent", systemd)
    assert host.sets == {"FTP-LIVE-IPV4"}
    assert _stores.warnings(_desired.of(options(state="absent")), host.stores) != []
    host = host.after("reboot", systemd).after("absent", systemd).after("save", systemd).after("absent", systemd)
    assert (host.sets, host.files) == (frozenset(), frozenset())
    assert _stores.warnings(_desired.of(options(state="absent")), host.stores) == []


JUMP = '-A INPUT -i eth0 -m comment --comment "hostfw.conntrack: FTP on eth0" -j FTP-IN'
INSIDE = '-A FTP-IN -p tcp -m comment --comment "hostfw.conntrack: control connection" -j ACCEPT'
LIVE = (
    '-A FTP-CONTROL -p tcp -m comment --comment "hostfw.conntrack: x" -j SET --add-set FTP-LIVE-IPV4 src --exist',
    '-A FTP-IN -m set --match-set FTP-LIVE-IPV4 src -m comment --comment "hostfw.conntrack: x" -j ACCEPT',
)


def back(path: str, line: str, anew: str) -> str:
    """Return the warning of saved rules of ours."""
    return f"/{path} holds rules of this role, and brings them back at boot: {line}; save the rules anew: {anew}"


def kept(path: str, anew: str) -> str:
    """Return the warning of saved rules that name a set."""
    return (
        f"/{path} names the ipset FTP-LIVE-IPV4, which is not asked for any more, and loads no rule at all at boot "
        f"without it, so the role keeps it; save the rules anew, and run the role again: {anew}"
    )


SAVE = "netfilter-persistent save"
V4, V6 = RULES.values()


@pytest.mark.parametrize(
    ("saved", "inputs", "expected"),
    [
        ({}, {"state": "absent"}, []),
        ({V4: "-A INPUT -j DROP"}, {"state": "absent"}, []),
        ({V4: JUMP}, {}, []),
        ({V4: JUMP, V6: f"[1:60] {INSIDE}"}, {"state": "absent"}, [back(V4, JUMP, SAVE), back(V6, INSIDE, SAVE)]),
        (
            {"etc/sysconfig/iptables": JUMP, "etc/sysconfig/ip6tables": JUMP},
            {"state": "absent"},
            [
                back("etc/sysconfig/iptables", JUMP, "service iptables save"),
                back("etc/sysconfig/ip6tables", JUMP, "service ip6tables save"),
            ],
        ),
        # Of another instance, of others, and a comment
        ({V4: JUMP.replace("FTP-IN", "BACKUP-IN")}, {"state": "absent"}, []),
        ({V4: JUMP.replace("hostfw.conntrack: ", "")}, {"state": "absent"}, []),
        ({V4: f"# {JUMP}"}, {"state": "absent"}, []),
        ({V4: LIVE[1]}, FTPS, []),
        ({V4: LIVE[1]}, {}, [kept(V4, SAVE)]),
        ({V4: "\n".join(LIVE)}, {"state": "absent"}, [back(V4, LIVE[0], SAVE), kept(V4, SAVE)]),
        (
            {"etc/iptables/ipsets": "create FTP-LIVE-IPV4 hash:ip family inet"},
            {"state": "absent"},
            [
                (
                    "/etc/iptables/ipsets brings back the ipset FTP-LIVE-IPV4 at boot, which is not asked for any "
                    f"more; save the sets anew: {SAVE}"
                )
            ],
        ),
        ({"etc/iptables/ipsets": "create FTP-LIVE-IPV4 hash:ip family inet"}, FTPS, []),
        ({"etc/iptables/ipsets": "create FTP-LIVE-IPV4X hash:ip family inet"}, {}, []),
    ],
)
def test_what_is_saved_and_not_asked_for_any_more(
    tmp_path: Path, saved: dict[str, str], inputs: dict[str, Any], expected: list[str]
) -> None:
    for path, text in saved.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(f"*filter\n{text}\nCOMMIT\n", encoding="utf-8")
    assert _stores.warnings(_desired.of(options(**inputs)), _stores.read(str(tmp_path))) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (LIVE[0], ["FTP-LIVE-IPV4"]),
        (f"[3:180] {LIVE[1]}", ["FTP-LIVE-IPV4"]),
        ("-A INPUT -m set ! --match-set FTP-LIVE-IPV6 src -j DROP", ["FTP-LIVE-IPV6"]),
        ("-A INPUT -m set --match-set BACKUP-LIVE-IPV4 src -j DROP", []),
    ],
)
def test_sets_that_saved_rules_name(line: str, expected: list[str]) -> None:
    assert _stores.sets("FTP", {V4: [line]}) == expected
    assert _stores.sets("FTP", {"etc/iptables/ipsets": [line]}) == []


def test_what_is_taken_back_leaves_the_set_that_saved_rules_name() -> None:
    host = Host().role(True, **FTPS)
    was = _plan.snapshot("FTP", Host().current, {})
    sets = {"FTP-LIVE-IPV4": "hash:ip inet", "FTP-LIVE-IPV6": "hash:ip inet6"}
    finish = _plan.undo("FTP", was, host.current, sets, kept=["FTP-LIVE-IPV4"]).finish
    assert [item["argv"][1:] for item in finish if item["argv"][0] == "ipset"] == [["destroy", "FTP-LIVE-IPV6"]]


@pytest.mark.parametrize("path", ["etc/nftables.conf", "etc/sysconfig/nftables.conf"])
def test_rules_of_nftables_that_come_back_are_named(path: str) -> None:
    rule = 'iifname "eth0" tcp dport 21 counter packets 5 bytes 300 jump FTP-IN comment "hostfw.conntrack: FTP on eth0"'
    for text, state, expected in (
        (f"\t\t{rule}", "absent", [rule]),
        (f"\t\t{rule}", "present", []),
        (f"\t\t{rule.replace('FTP-IN', 'OTHER-IN')}", "absent", []),
        ("\t\ttcp dport 22 accept", "absent", []),
    ):
        stores = {path: ["table inet filter {", "\tchain input {", text, "\t}", "}"]}
        found = _stores.warnings(_desired.of(options(state=state)), stores)
        assert [finding.facts["rule"] for finding in found] == expected
        assert all(finding.facts["command"].endswith(f"> /{path}") for finding in found)
