"""Four others change rules all the time, on each variant of iptables, while the role runs: it gets through."""

from __future__ import annotations

import difflib
import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from lab.desired import desired, parts
from lab.hosts import FOREIGN, JUMP, LOOK, PROGRAMS, Host, Run

# Seconds for which the lock of iptables-legacy is held, and seconds in between; iptables-nft has no lock.
HOLD = {"server": ("0", "0"), "legacy": ("5", "5")}
# From nothing, again, changed, and to nothing.
STEPS: tuple[dict[str, Any], ...] = (
    {},
    {},
    {"control_ports": ["21", "2121"], "mode": "passive", "allowed_addresses": ["198.51.100.0/24", "2001:db8::/64"]},
    {"state": "absent"},
)
DROP = "-A INPUT -j DROP"
# For how long one run may wait for others, on a busy machine.
SECONDS = 300


@dataclass
class Contention:
    """What became of the runs on a server, and of the foreign rules."""

    name: str
    alone: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    unplanned: list[str] = field(default_factory=list)
    misplaced: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    contenders: dict[str, Any] = field(default_factory=dict)

    @property
    def failed(self) -> list[str]:
        """The errors of the runs that failed."""
        return [run.error for run in self.runs if run.stats["failures"]]

    @property
    def caught(self) -> list[str]:
        """What failed in a task whose work the role then did again."""
        return [error for run in self.runs for error in errors(run)]


def errors(run: Run) -> list[str]:
    """Return what failed in a run, item by item."""
    return [
        " ".join([task["task"]["name"], item.get("stderr") or item["msg"]]).strip()
        for task in run.tasks
        for host in task["hosts"].values()
        if host.get("failed")
        for item in host.get("results", [host])
        if item.get("failed")
    ]


@contextmanager
def contenders(host: Host, report: dict[str, Any]) -> Iterator[None]:
    """Let others change rules in the meantime."""
    arguments = HOLD[host.name.rpartition("-")[2]]
    process = host.program(Path(__file__).parent / "contenders.py", *arguments)
    try:
        yield
    finally:
        report.update(json.loads(process.communicate("\n")[0]))


def differences(before: list[str], after: list[str]) -> list[str]:
    """Return what distinguishes two lists of lines."""
    return [line for line in difflib.ndiff(before, after) if not line.startswith((" ", "?"))]


def step(host: Host, inputs: dict[str, Any], seconds: list[float]) -> Run:
    """Run the role."""
    start = time.monotonic()
    run = host.attempt(**{f"ftp_{name}": value for name, value in inputs.items()})
    seconds.append(time.monotonic() - start)
    return run


def load_with_drop(host: Host) -> None:
    """Load the site's firewall, whose last rule drops: the jump's number changes with every rule put above."""
    host.load(FOREIGN)
    for program in PROGRAMS:
        host.shell.check_output(f"{program} -A INPUT -j DROP")


def misplaced(host: Host) -> list[str]:
    """Return the bans that the jump should stand behind, and does not: FTP would pass them by."""
    found = []
    for program in PROGRAMS:
        lines = host.lines("INPUT", program=program)
        behind = lines[lines.index(JUMP) + 1 :] if JUMP in lines else [DROP]
        found += [f"{program}: {line}" for line in behind if line.endswith("-j DROP") and line != DROP]
    return found


def contend(host: Host) -> Contention:
    """Take every step alone, and then among others."""
    found = Contention(host.name)
    load_with_drop(host)
    for inputs in STEPS:
        assert not step(host, inputs, found.alone).error
    _none, before = parts(host.rules())
    with contenders(host, found.contenders):
        for inputs in STEPS:
            found.runs.append(step(host, inputs, found.seconds))
            found.misplaced += misplaced(host)
            found.unplanned += differences(desired(inputs), parts(host.rules())[0])
    found.foreign += differences(before, parts(host.rules())[1])
    return found


@pytest.fixture(scope="module")
def contentions(servers: list[Host], figures: list[str]) -> list[Contention]:
    """Both servers, at the same time."""
    with ThreadPoolExecutor() as pool:
        contentions = list(pool.map(contend, servers))
    for found in contentions:
        others = found.contenders
        looks = [sum(name.endswith(LOOK) for name in run.modules) for run in found.runs]
        figures.append(
            f"{found.name}: from nothing, again, changed, to nothing in {words(found.alone)} s alone, and in "
            f"{words(found.seconds)} s with {words(looks)} looks at the host while others added {others['added']} "
            f"rules, deleted {others['deleted']} and held the lock for {others['held']:.0f} s: "
            f"{len(found.failed)} runs failed, {len(found.caught)} errors were caught, "
            f"{len(found.misplaced)} bans passed by, {len(found.foreign)} changed, "
            f"{len(others['failed'])} changes of others failed"
        )
        figures += found.caught + others["failed"]
    return contentions


def words(numbers: Sequence[float]) -> str:
    """Return numbers."""
    return ", ".join(f"{number:.0f}" for number in numbers)


def placing(run: Run) -> bool:
    """Tell whether a run has ended with its jumps before all rules."""
    looks = [task["hosts"] for task in run.tasks if task["task"]["name"].endswith(LOOK)]
    last = next(iter(looks[-1].values()))
    return bool(last["placing"] and not last["converged"])


def test_no_run_fails(contentions: list[Contention]) -> None:
    assert [found.failed for found in contentions] == [[], []]


def test_each_run_leaves_what_is_asked_for(contentions: list[Contention]) -> None:
    assert [found.unplanned for found in contentions] == [[], []]
    for found in contentions:
        first, again, *others = found.runs
        # In its third pass, a run puts its jumps before all rules: FTP passes, and the next run moves them.
        assert bool(again.changed) is placing(first)
        assert all(run.changed for run in (first, *others))


def test_jump_stays_behind_the_bans_of_others(contentions: list[Contention]) -> None:
    assert [found.misplaced for found in contentions] == [[], []]


def test_jump_stays_behind_bans_that_come_meanwhile(servers: list[Host]) -> None:
    host = servers[0]
    host.role(ftp_state="absent")
    load_with_drop(host)
    wait = "until iptables -S FTP-IN && ip6tables -S FTP-IN; do sleep 0.1; done"
    put = "${ban%%:*} -I INPUT 1 -s ${ban#*:}$number -j DROP"
    put = f"for ban in iptables:192.0.2. ip6tables:2001:db8::; do for number in 1 2 3 4 5; do {put}; done; done"
    with ThreadPoolExecutor() as pool:
        others = pool.submit(host.shell.check_output, f"{wait}; {put}")
        host.role()
        others.result()
    assert misplaced(host) == []


def test_waiting_is_bounded(contentions: list[Contention]) -> None:
    assert max(seconds for found in contentions for seconds in found.seconds) < SECONDS


def test_others_and_their_changes_are_not_disturbed(contentions: list[Contention]) -> None:
    assert [found.foreign for found in contentions] == [[], []]
    assert [found.contenders["failed"] for found in contentions] == [[], []]
    assert all(found.contenders[what] for found in contentions for what in ("added", "deleted"))
