"""The drawings are what docs/draw makes now, and hold the role's rules, each once and no other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp import _desired
from ansible_collections.hostfw.conntrack.plugins.module_utils._iptables._rule import Rule
from ansible_collections.hostfw.conntrack.tests.unit.test_options import parse

DOCS = Path(__file__).resolve().parents[2] / "docs"
IMAGES = DOCS / "images"
GATEWAY = {"side": "gateway", "interface": ["eth1"], "out_interface": ["eth0"]}
ALL_RULES: list[tuple[str, dict[str, Any]]] = [("server", {}), ("client", {"side": "client"}), ("gateway", GATEWAY)]
OPENING_RULES: list[tuple[str, dict[str, Any]]] = [
    ("both", {}),
    ("active", {"side": "client", "mode": "active"}),
    ("passive", {"mode": "passive"}),
]


def drawn(name: str) -> list[str]:
    """Return the rules in a drawing."""
    texts = ET.parse(IMAGES / f"{name}.svg").iterfind(".//{*}text[@class='rule']")  # noqa: S314, our own file
    return sorted(" ".join("".join(text.itertext()).split()) for text in texts)


def test_drawings_are_made_from_the_rules_of_now() -> None:
    loader = SourceFileLoader("draw", str(DOCS / "draw"))
    draw = module_from_spec(spec_from_loader("draw", loader))
    loader.exec_module(draw)
    assert {path.name: path.read_text(encoding="utf-8") for path in IMAGES.iterdir()} == draw.drawings()


def lines(rules: Iterable[Rule]) -> list[str]:
    """Return the rules as the drawings have them, for IPv4."""
    return sorted(replace(rule, comment=None).line().replace("ipv6-icmp", "icmp") for rule in rules)


@pytest.mark.parametrize("ip_version", ["ipv4", "ipv6"])
@pytest.mark.parametrize(("name", "inputs"), ALL_RULES)
def test_drawing_of_a_side_has_every_rule_once_and_no_other(name: str, inputs: dict[str, Any], ip_version: str) -> None:
    assert drawn(name) == lines(_desired.of(parse(**inputs)).rules[ip_version].all)


@pytest.mark.parametrize(("name", "inputs"), OPENING_RULES)
def test_drawing_of_a_mode_has_every_rule_that_opens_once_and_no_other(name: str, inputs: dict[str, Any]) -> None:
    desired = _desired.of(parse(**inputs)).rules["ipv4"]
    rules = [rule for rule in desired.inside + desired.guard if rule.protocol != "icmp"]
    opening = [rule for rule in rules if rule.jump == "CT" or {"NEW", "RELATED"} & set(rule.ctstate)]
    entering = [rule for rule in rules if rule.jump in {rule.chain for rule in opening}]
    assert drawn(name) == lines(opening + entering)
