"""The hosts of a scenario, and the role run on them with any settings."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import testinfra

from lab import PROJECT

SHARED = PROJECT / "molecule/shared"
CONVERGE = SHARED / "converge.yml"
# The site's firewall.
FOREIGN = [(SHARED / f"files/firewall.{ip_version}").read_text(encoding="utf-8") for ip_version in ("ipv4", "ipv6")]
# No firewall; the rules of table nat by which Docker resolves the names of hosts can stay.
OPEN = ["".join(f"*{table}\nCOMMIT\n" for table in ("raw", "mangle", "filter"))] * 2
NO_NAT = "*nat\nCOMMIT\n"
MARKED = "-m connmark ! --mark 0x0/0x30000000"
JUMP = f'-A INPUT -i eth0 {MARKED} -m comment --comment "hostfw.conntrack: FTP on eth0" -j FTP-IN'
PROGRAMS = ("iptables", "ip6tables")
# The task that runs ftp_plan.
LOOK = "Compare the host with what is asked for"
# What a run that fails says, where it leaves nothing behind.
ROLLED_BACK = "is rolled back: they are as they were before it"
PROGRAM = dict(zip((4, 6), PROGRAMS))
ENVIRONMENT = {
    **os.environ,
    "ANSIBLE_FORCE_COLOR": "0",
    # Since ansible-core 2.21, results tell only on demand which module ran.
    "ANSIBLE_INJECT_INVOCATION": "true",
    "ANSIBLE_PIPELINING": "true",
}
# What Molecule's inventory says of its hosts, for inventories that have no more than names.
VARIABLES = {"ansible_connection": "community.docker.docker", "ansible_python_interpreter": "/usr/bin/python3"}


def run(command: list[str], stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program of Ansible."""
    return subprocess.run(
        command,
        input=stdin,  # of its own: an ssh of another thread makes one that they share non-blocking
        capture_output=True,
        text=True,
        env={**ENVIRONMENT, **environment},
        check=False,
    )


class Lab:
    """The test hosts of a scenario."""

    def __init__(self, scenario: str = "", *hosts: str) -> None:
        """Find the hosts by the scenario's name and their own; without, those that Molecule is about to verify."""
        self.scenario = scenario or os.environ["MOLECULE_SCENARIO_NAME"]
        names = "".join(f"{scenario}-{host}," for host in hosts)
        self.inventory = names or os.environ["MOLECULE_INVENTORY_FILE"]
        self.variables = VARIABLES if names else {}

    def host(self, name: str) -> Host:
        """Return a host by its name without the scenario's."""
        return Host(self, f"{self.scenario}-{name}")

    @contextmanager
    def made(self) -> Iterator[None]:
        """Have the hosts made and prepared in the meantime, unless another run has them."""
        done = subprocess.run(["docker", "ps", "--format", "{{.Names}}"], stdout=subprocess.PIPE, text=True, check=True)
        there = " ".join(sorted(set(done.stdout.split()) & set(self.inventory.split(","))))
        if there:
            sys.exit(f"Another run has the test hosts {there}. If none has, remove them: docker rm --force {there}")
        self.molecule("destroy")
        try:
            self.molecule("create")
            self.molecule("prepare")
            yield
        finally:
            self.molecule("destroy")

    def molecule(self, command: str) -> None:
        """Run one step of the scenario, quietly unless it fails."""
        done = subprocess.run(
            ["molecule", command, "--scenario-name", self.scenario],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            sys.exit(f"{done.stdout}\nmolecule {command} failed")

    def command(self, *words: str, **variables: object) -> list[str]:
        """Return the command that runs a program of Ansible with the inventory and with extra variables."""
        return [*words, "--inventory", self.inventory, "--extra-vars", json.dumps({**self.variables, **variables})]

    def ansible(self, *words: str, stdin: str = "", **variables: object) -> subprocess.CompletedProcess[str]:
        """Run a program of Ansible with the inventory."""
        return run(self.command(*words, **variables), stdin)


@dataclass(frozen=True)
class Run:
    """What a run of the role came to."""

    stats: dict[str, int]
    error: str
    tasks: list[dict[str, Any]]

    @property
    def changed(self) -> int:
        """How many tasks changed the host."""
        return self.stats["changed"]

    @property
    def modules(self) -> list[str]:
        """The tasks that ran a module on the host, once for each item."""
        return [
            task["task"]["name"]
            for task in self.tasks
            for host in task["hosts"].values()
            for result in host.get("results", [host])
            if "invocation" in result and not result.get("skipped") and "validate_args_context" not in result
        ]

    def result(self, name: str) -> dict[str, Any]:
        """Return the result of the first task with a name."""
        task = next(task for task in self.tasks if task["task"]["name"].endswith(name))
        return dict(next(iter(task["hosts"].values())))


class Host:
    """A test host to which the role can be applied."""

    def __init__(self, lab: Lab, name: str, shell: str = "") -> None:
        """Find it by its name in the inventory; its shell is a URL of testinfra's, or that of a container."""
        self.lab = lab
        self.name = name
        self._left: dict[tuple[str, str], list[str]] = {}
        self.shell: Any = testinfra.get_host(shell or f"docker://{name}")

    def role(self, *options: str, **inputs: Any) -> Run:
        """Run the role with some inputs set, and expect it to succeed."""
        run = self.attempt(*options, **inputs)
        assert not run.error, run.error
        return run

    def converge(self, **inputs: object) -> None:
        """Have the rules that the role leaves behind; with the same inputs and rules before, it runs once."""
        key = self.rules(), json.dumps(inputs, sort_keys=True)
        if key in self._left:
            self.load(self._left[key])
        else:
            self.role(**inputs)
            self._left[key] = self.save()

    def command(self, *options: str, play: Path = CONVERGE, **inputs: object) -> list[str]:
        """Return the command that runs the role, by a playbook, with some inputs set."""
        variables = {"converge_hosts": self.name, **inputs}
        return self.lab.command("ansible-playbook", str(play), *options, **variables)

    def attempt(self, *options: str, play: Path = CONVERGE, **inputs: object) -> Run:
        """Run the role, by a playbook, with some inputs set."""
        done = run(self.command(*options, play=play, **inputs), ANSIBLE_STDOUT_CALLBACK="ansible.posix.json")
        assert done.stdout.lstrip().startswith("{"), done.stdout + done.stderr
        report = json.loads(done.stdout)
        tasks = report["plays"][0]["tasks"]
        ended = [host for task in tasks for host in task["hosts"].values() if host.get("failed")]
        items = [item for host in ended for item in host.get("results", [host]) if item.get("failed")]
        errors = [item.get("stderr") or item["msg"] for item in items]
        return Run(report["stats"][self.name], "; ".join(errors), tasks)

    def program(self, path: Path, *arguments: str, more: str = "") -> subprocess.Popen[str]:
        """Start a Python program on the host, which can be talked to."""
        text = path.read_text(encoding="utf-8") + more
        return subprocess.Popen(
            ["docker", "exec", "--interactive", self.name, "python3", "-c", text, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def open(self) -> None:
        """Remove all rules and sets."""
        self.load([rules + NO_NAT for rules in OPEN])
        # The kernel lets go of a set some time after the last rule that uses it.
        self.shell.check_output("until ipset destroy; do sleep 0.1; done")

    def rules(self) -> str:
        """Return everything that iptables-save and ip6tables-save print, counters aside."""
        saved = "".join(self.shell.check_output(f"{program}-save") + "\n" for program in PROGRAMS)
        saved = re.sub(r"^(:.*) \[.*", r"\1", saved, flags=re.MULTILINE)
        return "".join(f"{line}\n" for line in saved.splitlines() if line and not line.startswith("#"))

    def lines(self, chain: str, table: str = "filter", program: str = "iptables") -> list[str]:
        """Return the rules of a chain."""
        printed = str(self.shell.check_output(f"{program} --table {table} --list-rules {chain}"))
        return [line for line in printed.splitlines() if line.startswith("-A")]

    def save(self) -> list[str]:
        """Return the rules, for load()."""
        return [str(self.shell.check_output(f"{program}-save")) for program in PROGRAMS]

    def load(self, saved: list[str]) -> None:
        """Replace all rules."""
        for program, rules in zip(PROGRAMS, saved):
            self.shell.check_output(f"printf '%s\\n' {shlex.quote(rules)} | {program}-restore")
