"""The rule, beside what real iptables prints."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp import _desired, _options
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables import _rule, _ruleset
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables._rule import Clause, Rule
from ansible_collections.hostfw.conntrack.tests.unit.test_options import DEFAULTS

SAVES = sorted((Path(__file__).parent / "saves").glob("*.ipv?"))
INSTANCES = yaml.safe_load((SAVES[0].parent / "instances.yml").read_text(encoding="utf-8"))


def test_all_versions_of_iptables_are_there() -> None:
    assert [path.name for path in SAVES] == [
        f"{version}-{variant}.{ip_version}"
        for version in ("1.8.11", "1.8.7", "1.8.9")
        for variant in ("legacy", "nft")
        for ip_version in ("ipv4", "ipv6")
    ]


@pytest.mark.parametrize("path", SAVES, ids=lambda path: path.name)
def test_rule_renders_as_iptables_prints_it(path: Path) -> None:
    ip_version = path.suffix[1:]
    ruleset = _ruleset.parse(path.read_text(encoding="utf-8"), ["raw", "mangle", "filter"])
    expected: dict[tuple[str, str], list[str]] = {}
    for prefix, inputs in INSTANCES.items():
        options = _options.parse({**DEFAULTS, **inputs, "chain_prefix": prefix}, ["eth0"], [])
        for rule in _desired.of(options).rules[ip_version].all:
            lines = expected.setdefault((rule.table, rule.chain), [])
            if rule.line() not in lines:  # the instances share the guard
                lines.append(rule.line())
    found = {
        (table, chain): lines
        for table, chains in ruleset.tables.items()
        for chain, lines in chains.items()
        if (table, chain) in expected
    }
    assert {key: sorted(lines) for key, lines in found.items()} == {
        key: sorted(lines) for key, lines in expected.items()
    }


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("plain", "plain"),
        ("two words", '"two words"'),
        ('a "quoted" word', '"a \\"quoted\\" word"'),
        ("back\\slash", '"back\\\\slash"'),
        ("", '""'),
    ],
)
def test_word_is_quoted(word: str, expected: str) -> None:
    assert _rule.quote(word) == expected


def test_clauses_of_a_rule() -> None:
    line = (
        '-A INPUT ! -i lo -p tcp -m tcp ! --dport 21 -m comment --comment "-j DROP !" '
        "-m comment --comment ! -j REJECT --reject-with tcp-reset"
    )
    assert list(_rule.clauses(line)) == [
        Clause("-i", ("lo",), negated=True),
        Clause("-p", ("tcp",)),
        Clause("--dport", ("21",), negated=True),
        Clause("--comment", ("-j DROP !",)),
        Clause("--comment", ("!",)),
        Clause("-j", ("REJECT", "--reject-with", "tcp-reset")),
    ]
    assert _rule.comment_of(line) == "-j DROP !"
    assert _rule.target_of(line) == "REJECT"
    assert _rule.target_of("-A INPUT -p tcp") is None


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ("-A X -p tcp -m tcp --dport 21 -m conntrack --ctstate NEW -j ACCEPT", True),
        ("-A X -p tcp -m conntrack --ctstate NEW -m tcp --dport 21 -j ACCEPT", True),
        ("-A X -p tcp -m tcp --dport 22 -m conntrack --ctstate NEW -j ACCEPT", False),
        ("-A X -p tcp -m tcp ! --dport 21 -m conntrack --ctstate NEW -j ACCEPT", False),
        ("-A X -p tcp -m tcp --dport 21 -m conntrack --ctstate NEW -j DROP", False),
        ("-A X -p tcp -m tcp --dport 21 -j ACCEPT", False),
    ],
)
def test_order_of_matches_does_not_matter(other: str, expected: bool) -> None:
    assert _rule.same("-A X -p tcp -m tcp --dport 21 -m conntrack --ctstate NEW -j ACCEPT", other) is expected


def test_arguments_leave_out_what_is_not_set() -> None:
    rule = Rule("raw", "PREROUTING", "CT", protocol="tcp", destination_port="21", helper="ftp")
    assert rule.arguments("both") == {
        "table": "raw",
        "chain": "PREROUTING",
        "jump": "CT",
        "protocol": "tcp",
        "destination_port": "21",
        "helper": "ftp",
        "ip_version": "both",
    }
