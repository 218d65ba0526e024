"""The role, run on a test host with any settings."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ansible_collections
import testinfra

PROJECT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
# The tests compare the rules of a host with those that the collection's code wants.
ansible_collections.__path__.append(str(PROJECT / ".cache/ansible_collections"))
CONVERGE = PROJECT / "molecule/shared/converge.yml"
ROLE = PROJECT / "roles/ftp"
SCENARIO = os.environ["MOLECULE_SCENARIO_NAME"]
INVENTORY = os.environ["MOLECULE_INVENTORY_FILE"]
FIREWALLS = CONVERGE.parent / "files"
OTHERS = [(FIREWALLS / f"firewall.{ip_version}").read_text(encoding="utf-8") for ip_version in ("ipv4", "ipv6")]
MARKED = "-m connmark ! --mark 0x0/0x30000000"
JUMP = f'-A INPUT -i eth0 {MARKED} -m comment --comment "hostfw.conntrack: FTP on eth0" -j FTP-IN'
PROGRAMS = ("iptables", "ip6tables")
# Since ansible-core 2.21, results tell only on demand which module ran.
ENVIRONMENT = {**os.environ, "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_INJECT_INVOCATION": "true"}
# What Molecule's inventory says of its hosts, for programs that have none.
VARIABLES = {"ansible_connection": "community.docker.docker", "ansible_python_interpreter": "/usr/bin/python3"}


def molecule(command: str) -> None:
    """Run one step of the scenario, quietly unless it fails."""
    done = subprocess.run(
        ["molecule", command, "--scenario-name", SCENARIO],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        sys.exit(f"{done.stdout}\nmolecule {command} failed")


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

    def __init__(self, name: str, shell: str = "") -> None:
        """Find it by its name in the inventory; its shell is a URL of testinfra's, or that of a container."""
        self.name = name
        self._left: dict[tuple[str, str], list[str]] = {}
        self.shell: Any = testinfra.get_host(shell or f"docker://{name}")

    def role(self, *options: str, **inputs: object) -> Run:
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

    def command(self, **inputs: object) -> list[str]:
        """Return the command that runs the role with some inputs set."""
        variables = json.dumps({"converge_hosts": self.name, **inputs})
        return ["ansible-playbook", str(CONVERGE), "--inventory", INVENTORY, "--extra-vars", variables]

    def attempt(self, *options: str, **inputs: object) -> Run:
        """Run the role with some inputs set."""
        environment = {**ENVIRONMENT, "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json"}
        # Of its own: an ssh of another thread makes the one they share non-blocking, which Ansible refuses.
        done = subprocess.run(
            [*self.command(**inputs), *options],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )
        assert done.stdout.lstrip().startswith("{"), done.stdout + done.stderr
        report = json.loads(done.stdout)
        tasks = report["plays"][0]["tasks"]
        errors = [host["msg"] for task in tasks for host in task["hosts"].values() if host.get("failed")]
        return Run(report["stats"][self.name], "; ".join(errors), tasks)

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
