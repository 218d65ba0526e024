"""What docs/migration.md has a host do before foreign rules are deleted, run as it stands there."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest
from lab import PROJECT
from lab.hosts import FOREIGN
from program import LAB, Program

DOCUMENT = (PROJECT / "docs/migration.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```console\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
TAKE_BACK, STOP = (next(block for block in BLOCKS if word in block) for word in ("systemd-run", "systemctl stop"))
# How long it waits here; systemd is up to a minute late, unless it is told not to be.
SECONDS = 5
SOON = f"--on-active={SECONDS} --timer-property=AccuracySec=1s"


@pytest.fixture
def host() -> Iterator[Program]:
    """A host with a site's firewall and the role."""
    found = Program("migration", LAB.host("host"))
    found.host.load(FOREIGN)
    found.role()
    found.others = found.rules(ours=False)
    yield found
    found.clean()


@pytest.mark.parametrize("stopped", [False, True])
def test_deleted_rule_comes_back_by_itself_unless_the_timer_is_stopped(host: Program, stopped: bool) -> None:
    host.run(TAKE_BACK.replace("--on-active=5min", SOON), "iptables -D INPUT 3")
    assert len(host.rules(ours=False)) == len(host.others) - 1
    if stopped:
        host.run(STOP)
    time.sleep(SECONDS + 3)
    assert len(host.rules(ours=False)) == len(host.others) - stopped
    if not stopped:
        host.passes("take-back")
