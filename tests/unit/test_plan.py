"""The plan, as golden folders: inputs and rules in, plan out.

A folder holds inputs.yml (what differs from the defaults), before.ipv4 and before.ipv6
(what iptables-save and ip6tables-save print; an empty host without them) and plan.txt.
With before in inputs.yml, those files are the ones of the case that it names.
UPDATE_GOLDEN=1 writes plan.txt anew; read the difference before you commit it.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp import _desired, _options
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables import _rule, _ruleset
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables._rule import Rule
from ansible_collections.hostfw.conntrack.plugins.module_utils._plan import _plan
from ansible_collections.hostfw.conntrack.tests.unit.test_options import DEFAULTS

GOLDEN = Path(__file__).parent / "golden"
CASES = sorted(path.name for path in GOLDEN.iterdir())
INTERFACES = ["lo", "eth0", "eth1"]


def rulesets(case: str) -> dict[str, _ruleset.Ruleset]:
    """Read the rules of a case, which may be those of another one."""
    found = {}
    folder = GOLDEN / read(case).get("before", case)
    for ip_version in _options.IP_VERSIONS:
        path = folder / f"before.{ip_version}"
        found[ip_version] = _ruleset.parse(path.read_text(encoding="utf-8") if path.exists() else "", _desired.TABLES)
    return found


def read(case: str) -> dict[str, Any]:
    """Read what a case says of itself."""
    return yaml.safe_load((GOLDEN / case / "inputs.yml").read_text(encoding="utf-8")) or {}


def inputs_of(case: str) -> dict[str, Any]:
    """Return the inputs of a case."""
    return {name: value for name, value in read(case).items() if name != "before"}


def planned(case: str) -> _plan.Plan:
    """Return the plan of a case."""
    inputs = inputs_of(case)
    together = inputs.pop("ip_versions_together", True)
    sets = inputs.pop("ipsets", {})
    options = _options.parse({**DEFAULTS, **inputs}, INTERFACES, ["eth0"])
    return _plan.plan(_desired.of(options), rulesets(case), sets, together=together)


def commands(items: list[dict[str, Any]]) -> list[str]:
    """Return commands with what they read."""
    return [
        line for item in items for line in (" ".join(item["argv"]), *map("  {}".format, item["stdin"].splitlines()))
    ]


def printed(plan: _plan.Plan) -> str:
    """Return a plan with one line an item, in the order in which it is carried out."""
    lines = commands(plan.prepare)
    for item in plan.helper_rules + plan.rules:
        names = [field.name for field in dataclasses.fields(Rule)]
        fields = {name: item[name] for name in names if name in item}
        if "destination_ports" in item:
            fields["destination_port"] = ",".join(item["destination_ports"])
        line = Rule(**fields, live_set=item.get("match_set"), live_end=item.get("match_set_flags")).line()
        if item.get("action") == "insert":
            line = line.replace(f"-A {item['chain']}", f"-I {item['chain']} {item['rule_num']}")
        lines.append(f"{item['ip_version']}: -t {item['table']} {line}")
    lines += commands(plan.finish)
    lines += [f"conflict: {conflict}" for conflict in plan.conflicts]
    return "".join(f"{line}\n" for line in lines) or "nothing to do\n"


@pytest.mark.parametrize("case", CASES)
def test_plan(case: str) -> None:
    found = printed(planned(case))
    path = GOLDEN / case / "plan.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(found, encoding="utf-8")
    assert found == path.read_text(encoding="utf-8")


def test_items_are_labelled_in_words() -> None:
    plan = planned("fresh-addresses-of-one-version")
    assert [item["label"] for item in plan.helper_rules + plan.rules] == [
        "FTP-HELPER: control connection to port 21: gets the ftp helper (192.0.2.0/24)",
        "FTP-IN: data connections of the ftp helper (192.0.2.0/24)",
        "FTP-OUT: data connections of the ftp helper (192.0.2.0/24)",
        "FTP-IN: control connection to port 21: client opens (192.0.2.0/24)",
        "FTP-OUT: control connection to port 21: server answers (192.0.2.0/24)",
        "FTP-DATA-IN: passive data connection to ports 1024-65535: client opens (IPv4)",
        "FTP-DATA-OUT: passive data connection to ports 1024-65535: server answers (IPv4)",
        "FTP-IN: ICMP errors (path MTU) (IPv4)",
        "PREROUTING: FTP on eth0 (IPv4)",
        "INPUT: FTP on eth0 (IPv4)",
        "OUTPUT: FTP on eth0 (IPv4)",
    ]


def test_public_address_adds_nothing_to_ftps() -> None:
    inputs = {**DEFAULTS, "tls": True, "passive_ports": "50000:50099"}
    plans = [
        printed(
            _plan.plan(
                _desired.of(_options.parse({**inputs, **more}, INTERFACES, ["eth0"])),
                rulesets("fresh-tls"),
                {},
                together=True,
            )
        )
        for more in ({}, {"public_address": "203.0.113.7"})
    ]
    assert plans[0] == plans[1]


def test_diff_shows_what_moves() -> None:
    diff = planned("jump-behind-a-new-drop").diff.splitlines()
    matches = "-i eth0 -m connmark ! --mark 0x0/0x30000000"
    jump = f'-A INPUT {matches} -m comment --comment "hostfw.conntrack: FTP on eth0" -j FTP-IN'
    assert [line for line in diff if line[0] in "+-"] == [
        "--- iptables-save before",
        "+++ iptables-save after",
        f"+{jump}",
        f"-{jump}",
    ]
    assert " -A INPUT -i eth0 -j DROP" in diff


@pytest.mark.parametrize("case", CASES)
def test_diff_is_as_difflib_makes_it(case: str) -> None:
    plan = planned(case)
    expected = ""
    for ip_version, after in plan.after.items():
        program, before = f"{_rule.PROGRAMS[ip_version]}-save", rulesets(case)[ip_version]
        tables = [_plan._print(ruleset) for ruleset in (before, after)]  # noqa: SLF001
        lines = difflib.unified_diff(*tables, f"{program} before", f"{program} after")
        expected += "".join(f"{line.rstrip()}\n" for line in lines)
    assert plan.diff == expected


def test_nothing_to_do_has_no_diff() -> None:
    assert planned("converged").diff == ""


@pytest.mark.parametrize("case", CASES)
def test_undo_gives_back_what_there_was(case: str) -> None:
    before = rulesets(case)
    inputs = inputs_of(case)
    prefix = inputs.get("chain_prefix", "FTP")
    sets = inputs.get("ipsets", {})
    plan = planned(case)
    was = _plan.snapshot(prefix, before, sets)
    now = {**sets, **dict.fromkeys(plan.sets, "hash:ip inet")}
    back = _plan.undo(prefix, was, plan.after or before, now)
    assert _plan.snapshot(prefix, back.after or before, sets) == was
    assert bool(back.finish) == plan.changed
    assert not _plan.undo(prefix, was, before, sets).changed
    for ip_version, ruleset in (back.after or before).items():
        for table, chains in before[ip_version].tables.items():
            assert {name: lines for name, lines in ruleset.tables[table].items() if name in chains} == chains


@pytest.mark.parametrize(
    ("rule", "below", "changed", "passes"),
    [
        ("-A INPUT -p tcp -m tcp --dport 80 -j ACCEPT", 1, False, True),
        # As at boot, where the rule beside it was gone.
        ("-A INPUT -s 192.0.2.66/32 -j DROP", 1, True, True),
        ("-A INPUT -i eth0 -j DROP", 0, True, False),
    ],
)
def test_jump_that_foreign_rules_have_pushed_is_moved(rule: str, below: int, changed: bool, passes: bool) -> None:
    options = _options.parse(DEFAULTS, INTERFACES, ["eth0"])
    current = _plan.plan(_desired.of(options), rulesets("position-before-a-last-drop"), {}, together=True).after
    jump = next(line for line in current["ipv4"].chain("filter", "INPUT") if line.endswith("-j FTP-IN"))
    lines = current["ipv4"].tables["filter"]["INPUT"]
    lines.insert(lines.index(jump) + below, rule)
    plan = _plan.plan(_desired.of(options), current, {}, together=True)
    assert (plan.changed, plan.placing) == (changed, passes)
    after = plan.after["ipv4"].chain("filter", "INPUT")
    assert (after.index(jump) > after.index(rule)) is (changed and passes)


def test_where_no_place_holds_jumps_come_first_and_the_next_run_moves_them() -> None:
    options = _options.parse(DEFAULTS, INTERFACES, ["eth0"])
    current = {"ipv4": rulesets("position-before-a-last-drop")["ipv4"]}
    current["ipv4"].tables["filter"]["INPUT"].insert(0, "-A INPUT -s 192.0.2.66/32 -j DROP")
    plan = _plan.plan(_desired.of(options), current, {}, together=True, first=True)
    lines = [line for item in plan.finish for line in item["stdin"].splitlines()]
    assert [line.split()[:3] for line in lines if line.endswith("-j FTP-IN")] == [["-I", "INPUT", "1"]]
    again = _plan.plan(_desired.of(options), plan.after, {}, together=True, first=True)
    assert not again.changed
    later = _plan.plan(_desired.of(options), plan.after, {}, together=True)
    assert (later.changed, later.placing) == (True, True)


# Several ports, FTPS and the like make no more of them.
@pytest.mark.parametrize(
    ("inputs", "way_in", "way_out"),
    [
        ({}, 4, 3),
        ({"control_ports": ["21", "990", "2121"]}, 4, 3),
        ({"tls": True, "passive_ports": "50000:50099", "control_ports": ["21", "990"]}, 4, 3),
        ({"allowed_addresses": ["192.0.2.0/24", "198.51.100.7", "2001:db8::/32"], "mode": "passive"}, 4, 3),
        ({"side": "client"}, 3, 4),
        # On a gateway, both pass FORWARD, and what it sends itself may be an ICMP error.
        ({"side": "gateway", "interface": ["eth0"], "out_interface": ["eth1"]}, 5, 2),
    ],
    ids=str,
)
@pytest.mark.parametrize("ip_version", _options.IP_VERSIONS)
def test_packets_of_other_services_pass_few_rules(
    inputs: dict[str, Any], way_in: int, way_out: int, ip_version: str
) -> None:
    options = _options.parse({**DEFAULTS, **inputs}, INTERFACES, ["eth0"])
    jumps = _desired.of(options).rules[ip_version].jumps
    # Each asks for something that only packets of FTP have, so that others pass the jump alone.
    assert all(jump.connmark or jump.destination_port or jump.source_port or jump.port for jump in jumps)
    assert len([jump for jump in jumps if jump.chain in ("PREROUTING", "INPUT", "FORWARD")]) == way_in
    assert len([jump for jump in jumps if jump.chain == "OUTPUT"]) == way_out
