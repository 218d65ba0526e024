"""Rules in iptables-nft and in iptables-legacy at once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product

import pytest
from lab.hosts import PROGRAMS
from program import LAB, Program

RULE = "INPUT --source 192.0.2.66 --jump DROP"


@pytest.fixture(params=["nft", "legacy"])
def variants(request: pytest.FixtureRequest) -> Iterator[tuple[Program, str]]:
    """A host whose iptables is one of the variants, and the name of the other variant's program."""
    found = Program(f"iptables-{request.param}", LAB.host("host"))
    other = {"nft": "iptables-legacy", "legacy": "iptables-nft"}[request.param]
    for program in PROGRAMS:
        found.run(f"update-alternatives --set {program} /usr/sbin/{program}-{request.param}")
    # Its tables are there, and empty.
    found.run(f"{other} --list-rules", f"{other} --append {RULE}", f"{other} --delete {RULE}")
    yield found, other
    for variant, program in product(("legacy", "nft"), PROGRAMS):
        found.run(f"{program}-{variant} --flush", f"update-alternatives --set {program} /usr/sbin/{program}-{variant}")
    found.clean()


def warnings(program: Program) -> list[str]:
    """Return the plan's warnings that name the variants."""
    done = LAB.ansible("ansible", program.host.name, "--module-name", "hostfw.conntrack.ftp_plan")
    done.check_returncode()
    found = re.findall(r"\[WARNING\]: (.*?)(?=\[WARNING\]|$)", " ".join(done.stderr.split()))
    return [warning for warning in found if "iptables-legacy" in warning or "iptables-nft" in warning]


def test_rules_of_the_other_variant_are_warned_of(variants: tuple[Program, str]) -> None:
    host, other = variants
    assert not warnings(host), "for empty tables"
    host.run(f"{other} --append {RULE}")
    found = warnings(host)
    assert len(found) == 1
    assert "iptables-legacy" in found[0]
    assert "iptables-nft" in found[0]
