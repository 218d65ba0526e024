"""The play is killed at any moment: nothing opens that no settings allow, and the next run completes the work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from lab.agent import Agent
from lab.desired import desired
from lab.hosts import Host
from runs import Play, load
from sites import HOLES, Site

# How many runs are killed, by who filters.
KILLS = {"iptables": 12, "nftables": 6, "firewalld": 6}
# Between which the role goes to and fro; passive sessions to port 21 pass in both.
SETTINGS: dict[str, dict[str, Any]] = {
    "A": {"ftp_mode": "passive"},
    "B": {
        "ftp_mode": "both",
        "ftp_control_ports": ["21", "2121"],
        "ftp_tls": True,
        "ftp_passive_ports": "50000:50099",
        "ftp_allowed_addresses": ["198.51.100.0/24", "2001:db8::/64"],
    },
}
OTHER = {"A": "B", "B": "A"}
# Something answers on them, and neither settings open them.
CLOSED = (80, 990, 8080, 34567)

# Stands in for a program; at its n-th call with certain arguments, it carries out the first tables, which are all of
# nftables', and then holds.
HOLD = """#!/bin/sh
case "$*" in
  {what}) ;;
  *) exec /root/real/{program} "$@" ;;
esac
calls=$(($(cat /run/calls) + 1))
echo $calls >/run/calls
if [ $calls = {call} ]; then
  {tables}
  touch /run/held
  exec sleep 600
fi
exec /root/real/{program} "$@"
"""
TABLES = {0: "true", 1: 'sed /^COMMIT/q | /root/real/{program} "$@"'}


@dataclass(frozen=True)
class Held:
    """Where a program is held: at which of its calls, after how many tables; what is killed then; which calls count."""

    program: str
    call: int
    tables: int
    victims: str
    what: str = "*"


HELD = {
    "resilience-server": [
        Held("iptables-restore", 1, 1, "all"),
        Held("ip6tables-restore", 2, 0, "all"),
        Held("iptables-restore", 2, 1, "program"),
    ],
    "resilience-legacy": [
        Held("ip6tables-restore", 1, 0, "all"),
        Held("iptables-restore", 2, 1, "all"),
        Held("ip6tables-restore", 1, 1, "program"),
    ],
    "resilience-nftables": [Held("nft", 1, tables, victims, "-f*") for tables, victims in ((0, "all"), (1, "program"))],
    "resilience-firewalld": [
        Held("nft", 1, 1, "all", "-f*"),
        Held("firewall-cmd", 1, 0, "all", "--reload"),
        Held("firewall-cmd", 1, 1, "program", "--reload"),
    ],
}


@dataclass
class Crashes:
    """What the crashes on a server came to."""

    server: str
    kills: list[str] = field(default_factory=list)
    defects: list[str] = field(default_factory=list)
    control: int = 0
    report: dict[str, Any] = field(default_factory=dict)


class Victim:
    """A server on which the role is killed."""

    def __init__(self, host: Host, client: Host) -> None:
        self.host = host
        self.client = client
        self.site = Site(host)
        self.found = Crashes(host.name)
        self.site.load()
        self.desired: dict[str, list[str]] = {}
        self.others = self.site.rules()[1]
        self.files: dict[str, set[str]] = {}
        self.runs: dict[str, Play] = {}
        self.settings = "A"

    def crash(self) -> Crashes:
        """Kill the role at all moments."""
        self.host.role(**SETTINGS["A"])
        agent = Agent(self.host, Path(__file__).parent / "agent.py")
        agent.call("answer", CLOSED)
        try:
            self.found.control = self.see_a_hole()
            with load(self.client, self.host, interval=0.2, closed=CLOSED) as running:
                for name in ("B", "A"):
                    self.runs[name] = Play(self.host, SETTINGS[name])
                    self.runs[name].wait()
                    self.files[name] = self.site.stored()
                    # The code says it of iptables' rules; of others, what a run leaves that is not killed.
                    self.desired[name] = desired(SETTINGS[name]) if self.site.kind == "iptables" else self.ours()
                    self.expect(self.desired[name] == self.ours(), f"{name}: {self.runs[name].lines[-1]}")
                for number in range(KILLS[self.site.kind]):
                    self.kill(agent, number)
                for held in HELD[self.host.name]:
                    self.hold(agent, held)
                self.found.report = running.stop()
        finally:
            agent.stop()
        return self.found

    def see_a_hole(self) -> int:
        """Return how many probes get an answer from a port that is open for a moment."""
        with load(self.client, self.host, interval=1, closed=CLOSED) as running:
            self.site.run(HOLES[self.site.kind])
            return len(running.stop()["answered"])

    def kill(self, agent: Agent, number: int) -> None:
        """Kill one run, the controller or what it runs on the host, and complete it by the next one."""
        # At the very end, nothing runs on the host any more.
        fraction = 0.9 * (number + 0.5) / KILLS[self.site.kind]
        target = OTHER[self.settings]
        controller = (number + (self.host.name != "resilience-legacy")) % 2 == 0
        play = Play(self.host, SETTINGS[target])
        play.wait_for(self.runs[target].moment(fraction))
        task = play.task
        if controller:
            struck = play.kill()
            what, became = "controller", "died"
        else:
            names = agent.call("kill", 30, "python3")
            struck = bool(names)
            what = f"module ({', '.join(sorted(set(names)))})"
            play.wait()
            became = self.became(play, target)
        self.expect(agent.call("quiet"), f"{task}: something goes on")
        point = f"{fraction:.0%} of {self.settings} to {target}, {what}, at {task}"
        self.expect(struck, f"{point}: it had ended")
        self.found.kills.append(f"{point}: {became}")
        self.after_crash(point)
        self.complete(target if number // 2 % 2 else self.settings, point)

    def hold(self, agent: Agent, held: Held) -> None:
        """Kill a run at a place that time hardly hits."""
        if self.settings != "A":
            self.complete("A", "before a hold")
        with self.holding(held):
            play = Play(self.host, SETTINGS["B"])
            self.expect(agent.call("held"), f"{held}: not met")
            task = play.task
            if held.victims == "all":
                play.kill()
            agent.call("kill", 30, "sleep", held.victims == "program")
            play.wait()
        self.expect(agent.call("quiet"), f"{task}: something goes on")
        became = "died" if held.victims == "all" else self.became(play, "B")
        place = f"call {held.call} of {held.program} after {held.tables} tables"
        point = f"A to B, {held.victims}, at {task}, {place}"
        self.found.kills.append(f"{point}: {became}")
        self.after_crash(point)
        self.complete("A", point)

    @contextmanager
    def holding(self, held: Held) -> Iterator[None]:
        """Let a program hold."""
        tables = TABLES[held.tables].format(program=held.program)
        script = HOLD.format(call=held.call, program=held.program, tables=tables, what=held.what)
        run = self.host.shell.check_output
        place = run(f"command -v {held.program}").strip()
        run("rm -f /run/held && echo 0 >/run/calls && mkdir -p /root/real")
        run(f"cp -P {place} /root/real/")
        run("printf %s %s >/root/hold && chmod +x /root/hold", "%s", script)
        run(f"ln -sf /root/hold {place}")
        try:
            yield
        finally:
            run(f"cp -P --remove-destination /root/real/{held.program} {place} && rm -f /run/held")

    def became(self, play: Play, target: str) -> str:
        """Return what became of a play whose module was killed."""
        text = "\n".join(line for _when, line in play.lines)
        if play.process.returncode == 0:
            self.expect(self.ours() == self.desired[target], f"success, but not {target}: {text}")
            return "went on"
        if "is rolled back: they are as they" in text:
            self.expect(self.ours() == self.desired[self.settings], f"not rolled back: {text}")
            return "rolled back"
        return "failed"

    def after_crash(self, point: str) -> None:
        """Look at the rules and files that a crash has left."""
        ours, others = self.site.rules()
        one, other = (Counter(rules) for rules in self.desired.values())
        self.expect(others == self.others, f"{point}: foreign rules have changed")
        self.expect(Counter(ours) <= one | other, f"{point}: other rules than those of the settings")
        self.expect(one & other <= Counter(ours), f"{point}: rules missing that all settings have")
        self.expect(self.site.stored() <= set.union(*self.files.values()), f"{point}: a file that is of no settings")

    def complete(self, name: str, point: str) -> None:
        """Run the role to its end, and once more."""
        runs = [self.host.attempt(**SETTINGS[name]) for _run in range(2)]
        errors = [run.error for run in runs if run.error]
        self.expect(not errors, f"{point}: the next run of {name} fails: {errors}")
        self.expect(runs[1].changed == 0, f"{point}: {name} does not converge")
        self.expect(self.site.rules() == (self.desired[name], self.others), f"{point}: not as {name} asks for")
        self.expect(self.site.stored() == self.files[name], f"{point}: files not as {name} asks for")
        self.settings = name

    def ours(self) -> list[str]:
        """Return the rules of the role."""
        return self.site.rules()[0]

    def expect(self, condition: bool, words: str) -> None:
        """Note what is not as it must be, and go on."""
        if not condition:
            self.found.defects.append(words)


@pytest.fixture(scope="module")
def crashes(sites: list[Host], client: Host, figures: list[str]) -> list[Crashes]:
    """All servers, two at a time."""
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda server: Victim(server, client).crash(), sites))
    for crashed in found:
        report = crashed.report
        figures.append(
            f"{crashed.server}: {len(crashed.kills)} runs killed, {len(crashed.defects)} defects; meanwhile "
            f"{report['probes']} probes of closed ports, {len(report['answered'])} answered; "
            f"{report['sessions']} passive sessions, {len(report['failures'])} failed, "
            f"slowest {report['slowest']:.2f} s"
        )
        figures += [f"  {kill}" for kill in crashed.kills]
    return found


def test_killed_run_leaves_no_other_rules_and_the_next_one_converges(crashes: list[Crashes]) -> None:
    assert [crashed.defects for crashed in crashes] == [[]] * len(crashes)


def test_nothing_opens_that_no_settings_allow(crashes: list[Crashes]) -> None:
    assert all(crashed.control > 0 for crashed in crashes), "the probes saw no port that was open"
    assert [crashed.report["answered"] for crashed in crashes] == [[]] * len(crashes)


def test_what_all_settings_allow_always_passes(crashes: list[Crashes]) -> None:
    assert [crashed.report["failures"] for crashed in crashes] == [[]] * len(crashes)
