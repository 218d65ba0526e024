"""ufw."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lab.sockets import listener, reaches
from program import CLIENT, LAB, UNIT, Program

# Incoming and outgoing connections are denied, but for ssh.
ENABLE = (
    "ufw --force reset",
    "ufw default deny outgoing",
    "ufw allow 22/tcp",
    "ufw --force enable",
    "systemctl enable --now ufw",
)
DEFAULTS = "/etc/default/ufw"


@pytest.fixture
def ufw() -> Iterator[Program]:
    """A host on which ufw alone denies everything, both ways."""
    found = Program("ufw", LAB.host("ufw"), units=("ufw",))
    found.run(f"sed -i s/^MANAGE_BUILTINS=.*/MANAGE_BUILTINS=no/ {DEFAULTS}", *ENABLE)
    found.others = found.rules(ours=False)
    yield found
    found.run("ufw --force disable")
    found.clean()


def works(ufw: Program, opened: int, closed: int) -> None:
    """Check that ufw's own rules hold."""
    for port, ip_version in ((port, ip_version) for port in (opened, closed) for ip_version in (4, 6)):
        with listener(ufw.host.shell, port):
            assert reaches(CLIENT, ufw.host.shell, ip_version, port) == (port == opened)


def test_ftp_passes_whatever_ufw_does(ufw: Program) -> None:
    ufw.blocked("ufw enable")
    ufw.run("ufw allow 21/tcp")
    ufw.verdict("The rule of ufw allow 21/tcp is there, and transfers hang")
    ufw.run("ufw delete allow 21/tcp")
    ufw.role()
    ufw.passes("role")
    works(ufw, 22, 8080)
    assert ufw.host.role().changed == 0
    ufw.run("ufw reload")
    ufw.passes("ufw reload")
    works(ufw, 22, 8080)
    ufw.run("systemctl restart ufw")
    ufw.passes("systemctl restart ufw")
    ufw.run("ufw allow 8080/tcp")
    ufw.others = ufw.rules(ours=False)
    assert len([line for line in ufw.others if "--dport 8080" in line]) == 2
    ufw.passes("ufw allow 8080/tcp")
    works(ufw, 8080, 8081)
    ufw.run("ufw disable", "ufw --force enable")
    ufw.passes("ufw disable, ufw enable")
    works(ufw, 8080, 8081)
    assert ufw.host.role().changed == 0
    ufw.host.role(ftp_state="absent")
    assert not ufw.rules(ours=True)
    assert ufw.rules(ours=False) == ufw.others
    ufw.blocked("role, absent")


def test_ftp_is_back_after_ufw_has_flushed_all(ufw: Program) -> None:
    ufw.run(f"sed -i s/^MANAGE_BUILTINS=.*/MANAGE_BUILTINS=yes/ {DEFAULTS}")
    ufw.role()
    ufw.run("systemctl restart ufw")
    ufw.passes("systemctl restart ufw, with MANAGE_BUILTINS")
    # systemd does not know of this.
    ufw.run("ufw reload")
    ufw.blocked("ufw reload, with MANAGE_BUILTINS")
    ufw.run(f"systemctl restart {UNIT}")
    ufw.passes("ufw reload, with MANAGE_BUILTINS, our unit restarted")
    ufw.run(f"systemctl disable --now {UNIT}", "systemctl restart ufw")
    ufw.blocked("systemctl restart ufw, with MANAGE_BUILTINS, without our unit")
