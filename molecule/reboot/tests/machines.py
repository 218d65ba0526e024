"""What is seen of a virtual machine before the role, after it, after a reboot, and after its end, and of an image."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.ftp import BLOCKED_SECONDS, WAYS, Site, transfers
from lab.hosts import Host, Lab, Run
from lab.kinds import listed
from testinfra.utils.ansible_runner import AnsibleRunner

SSH_CONFIG = f"{os.environ['MOLECULE_EPHEMERAL_DIRECTORY']}/ssh_config"
CONSOLE = f"{os.environ['MOLECULE_EPHEMERAL_DIRECTORY']}/{{}}.console"
ADDRESSES = {4: "198.51.100.1", 6: "2001:db8::1"}
HELPER = "nf_conntrack_ftp"
# What netfilter-persistent loads at boot.
SAVED = "/etc/iptables"
UNIT = "hostfw-conntrack-FTP.service"
LAB = Lab()
inventory = AnsibleRunner(LAB.inventory)
HOSTS = sorted(inventory.get_hosts("servers"))
# Those that have had the role before their first boot.
IMAGES = [name for name in HOSTS if name.endswith("-image")]
NAMES = [name for name in HOSTS if name not in IMAGES]
# Those without iptables.
NATIVE = [name for name in HOSTS if name.removesuffix("-image").endswith(("-nftables", "-firewalld"))]
# The machine on which the kernel refuses a rule of iptables.
REFUSING = sorted(NAMES, key=lambda name: name not in NATIVE)[-1:]
# Emulated processors are slow, and so is the machine below them where others use it.
SECONDS = 120
BOOT_SECONDS = 1200


@dataclass(frozen=True)
class Seen:
    """The rules, ipsets, modules and configuration files of a machine, and why each transfer failed.

    The modules are those that something uses: tools load others only to look.
    """

    rules: str
    sets: str
    modules: list[str]
    helper: bool
    files: str
    transfers: dict[str, str | None]

    @property
    def passed(self) -> list[str]:
        """The transfers that passed."""
        return [name for name, reason in self.transfers.items() if reason is None]

    @property
    def score(self) -> str:
        """How many transfers passed."""
        return f"{len(self.passed)} of {len(self.transfers)}"


@dataclass(frozen=True)
class Boot:
    """When the role's unit had restored the rules and when somebody logged in first, in seconds since the boot."""

    state: str
    restored: float
    login: float


@dataclass(frozen=True)
class Refusal:
    """A run that the kernel refuses a rule, with the machine before and after it."""

    before: Seen
    run: Run
    after: Seen


class Client:
    """The client's network namespace on a machine."""

    def __init__(self, shell: Any) -> None:
        self.shell = shell

    def check_output(self, script: str) -> str:
        """Run a script in it."""
        return str(self.shell.check_output("ip netns exec client sh -c %s", script))


class Machine(Host):
    """A virtual machine with a server, and a client in a network namespace."""

    def __init__(self, name: str) -> None:
        super().__init__(LAB, name, f"ssh://{name}?ssh_config={SSH_CONFIG}&timeout=60")
        self.client = Client(self.shell)
        tls = (False, True) if inventory.get_variables(name).get("ftp_tls") else (False,)
        self.sites = {"FTPS" if each else "FTP": Site(ADDRESSES, tls=each) for each in tls}

    def see(self, *, seconds: int = SECONDS, ways: tuple[Any, ...] = WAYS) -> Seen:
        """Look at the machine, and try transfers."""
        loaded = self.shell.check_output("lsmod").splitlines()[1:]
        found: dict[str, str | None] = {}
        for protocol, site in self.sites.items():
            keys = [(way, "download") for way in ways]
            reasons = transfers(self.client, self.shell, keys, seconds, site) if keys else {}
            found.update({f"{protocol} {way}": reason for (way, _operation), reason in reasons.items()})
        return Seen(
            rules=self.rules(),
            sets="" if self.name in NATIVE else self.shell.check_output("ipset list -name"),
            modules=sorted(line.split()[0] for line in loaded if line.split()[2] != "0"),
            helper=any(line.split()[0] == HELPER for line in loaded),
            files=self.shell.check_output("find /etc -printf '%p %y %m %s %l\\n' | sort"),
            transfers=found,
        )

    def rules(self) -> str:
        """Return all rules, counters aside."""
        if self.name not in NATIVE:
            return super().rules()
        return listed(self.shell)

    def boot_id(self) -> str:
        """Return the number of this boot, by a connection of its own; empty where the machine is not up."""
        command = ["ssh", "-F", SSH_CONFIG, "-o", "ControlPath=none", self.name, "cat /proc/sys/kernel/random/boot_id"]
        try:
            return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False).stdout
        except subprocess.TimeoutExpired:
            return ""

    def reboot(self) -> Boot:
        """Reboot the machine, and log in when all units have started."""
        before, boots = self.boot_id(), self.boots()
        # Not as a child of this session, which ends before it.
        self.shell.check_output("systemd-run --quiet --no-block sh -c 'sleep 1; systemctl reboot'")
        subprocess.run(["ssh", "-F", SSH_CONFIG, "-O", "exit", self.name], capture_output=True, check=True)
        end = time.monotonic() + BOOT_SECONDS
        while self.boots() == boots or (now := self.boot_id()) in ("", before):
            printed = self.console()[-2000:]
            assert time.monotonic() < end, f"{self.name} has not booted within {BOOT_SECONDS} s:\n{printed}"
            time.sleep(1)
        assert now
        return self.booted()

    def booted(self) -> Boot:
        """Log in when all units have started."""
        state = self.shell.run("systemctl is-system-running --wait").stdout.strip()
        restored = self.shell.check_output(f"systemctl show --property ActiveEnterTimestampMonotonic {UNIT}")
        logins = self.shell.check_output("journalctl --boot --output short-monotonic | grep 'Accepted publickey'")
        login = re.search(r"\[ *([0-9.]+)\]", logins)
        assert login
        return Boot(state, int(restored.partition("=")[2]) / 1e6, float(login.group(1)))

    def console(self) -> str:
        """Return what the machine has printed."""
        return Path(CONSOLE.format(self.name)).read_text(encoding="utf-8", errors="replace")

    def boots(self) -> int:
        """Return how often all units have started."""
        return len(re.findall(r"Reached target .*Multi-User System", self.console()))

    def refuse(self) -> Refusal:
        """Run the role where the kernel cannot load a match that the rules need."""
        self.shell.check_output("echo install xt_helper /bin/false > /etc/modprobe.d/refuse.conf")
        before = self.see(ways=())
        return Refusal(before, self.attempt(), self.see(ways=()))


class Life(dict[str, Any]):
    """What was seen of a machine, by the name of the stage."""

    error: Exception | None = None

    def __missing__(self, stage: str) -> Any:
        """Say why the machine did not get so far."""
        raise AssertionError(f"not reached: {stage}") from self.error


def stages(machine: Machine) -> Iterator[tuple[str, Any]]:
    """Lead a machine from stage to stage."""
    if machine.name in IMAGES:
        yield "boot", machine.booted()
        yield "booted", machine.see()
        yield "role", machine.role()
        return
    yield "kernel", machine.shell.check_output("uname -r")
    yield "loadable", machine.shell.run(f"modprobe --dry-run {HELPER}").rc == 0
    yield "before", machine.see(seconds=BLOCKED_SECONDS)
    yield "role", machine.role()
    yield "converged", machine.see()
    yield "second run", machine.role()
    yield "boot", machine.reboot()
    yield "rebooted", machine.see()
    yield "third run", machine.role()
    if "FTPS" in machine.sites:
        machine.shell.check_output(f"cp -a {SAVED} /root && netfilter-persistent save")
        yield "absent after a save", machine.role(ftp_state="absent")
        yield "boot after a save", machine.reboot()
        yield "booted after a save", machine.see(ways=())
        machine.shell.check_output("cp -a /root/iptables /etc")
    yield "absent", machine.role(ftp_state="absent")
    yield "last boot", machine.reboot()
    yield "left", machine.see(seconds=BLOCKED_SECONDS)
    if machine.name in REFUSING:
        yield "refusal", machine.refuse()


def live(name: str) -> Life:
    """Lead the machine of a name through all stages, as far as it gets."""
    life = Life()
    try:
        for stage, seen in stages(Machine(name)):
            life[stage] = seen
    except Exception as error:  # noqa: BLE001
        life.error = error  # for the tests of the stages that are missing
    return life
