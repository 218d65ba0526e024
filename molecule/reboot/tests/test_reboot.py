"""The role on Debian's kernels with modules, before and after reboots."""

from __future__ import annotations

import re
from concurrent.futures import Future

from machines import HELPER, REFUSING, Life


def tables(rules: str) -> list[tuple[list[str], list[str]]]:
    """Return the lines of each table: in their order, but those about the role's chains, which are sorted.

    A table that holds nothing is as good as none. Tables of nftables are one text each.
    """
    if not rules.startswith("*"):
        return [(sorted(re.split(r"^(?=table )", rules.strip() + "\n", flags=re.MULTILINE)), [])]
    found = []
    for table in rules.split("COMMIT\n")[:-1]:
        lines = table.splitlines()
        own = [line for line in lines if line.startswith((":FTP-", "-A FTP-"))]
        rest = [line for line in lines if line not in own]
        if own or not all(line.endswith(" ACCEPT") and line[0] == ":" for line in rest[1:]):
            found.append((rest, sorted(own)))
    return sorted(found)


def of_others(rules: str) -> list[tuple[list[str], list[str]]]:
    """Return the tables without what is the role's."""
    if not rules.startswith("*"):
        text = re.sub(r"^table \S+ hostfw-FTP {\n.*?^}(?:\n|\Z)", "", rules, flags=re.MULTILINE | re.DOTALL)
        text = re.sub(
            r"\n?^\tchain (FTP-|\S+_policy_hostfw-)\S+ {\n.*?^\t}\n", "", text, flags=re.MULTILINE | re.DOTALL
        )
        return tables("".join(line for line in text.splitlines(keepends=True) if "hostfw" not in line))
    lines = [line for line in rules.splitlines(keepends=True) if "FTP" not in line and "HOSTFW" not in line]
    return tables("".join(lines))


def test_before_the_role_nothing_passes_and_the_module_is_not_loaded(life: Life) -> None:
    assert life["before"].passed == []
    assert not life["before"].helper
    assert life["loadable"]


def test_role_loads_the_module(life: Life) -> None:
    results = life["role"].result("Load the FTP helpers")["results"]
    assert [(result["item"], result["changed"]) for result in results] == [(HELPER, True)]
    assert life["converged"].helper


def test_everything_passes_after_the_role(life: Life) -> None:
    assert [reason for reason in life["converged"].transfers.values() if reason] == []
    assert of_others(life["converged"].rules) == tables(life["before"].rules)


def test_second_run_changes_nothing(life: Life) -> None:
    assert life["second run"].changed == 0
    assert len(life["second run"].modules) == 1


def test_everything_passes_after_a_reboot(life: Life) -> None:
    assert [reason for reason in life["rebooted"].transfers.values() if reason] == []


def test_rules_and_modules_are_as_before_the_reboot(life: Life) -> None:
    converged, rebooted = life["converged"], life["rebooted"]
    assert tables(rebooted.rules) == tables(converged.rules)
    assert rebooted.sets == converged.sets
    assert rebooted.files == converged.files
    assert rebooted.modules == converged.modules


def test_rules_are_there_before_anyone_logs_in(life: Life) -> None:
    assert life["boot"].state == "running"
    assert 0 < life["boot"].restored < life["boot"].login


def test_run_after_the_reboot_changes_nothing(life: Life) -> None:
    assert life["third run"].changed == 0
    assert len(life["third run"].modules) == 1


def test_absent_and_a_reboot_leave_nothing(life: Life) -> None:
    before, left = life["before"], life["left"]
    assert left.rules == before.rules
    assert left.sets == before.sets
    assert left.files == before.files
    assert not left.helper
    assert left.passed == []
    assert life["last boot"].state == "running"


def test_saved_rules_load_after_absent_and_name_their_sets(lives: dict[str, Future[Life]]) -> None:
    (life,) = (future.result() for name, future in lives.items() if name.endswith("bookworm"))
    warnings = life["absent after a save"].result("Compare the host with what is asked for")["warnings"]
    assert sum("rules.v4 names the ipset FTP-LIVE-IPV4" in warning for warning in warnings) == 1
    assert life["boot after a save"].state == "running"
    booted = life["booted after a save"]
    assert booted.sets == life["converged"].sets
    assert of_others(booted.rules) == tables(life["before"].rules)


def test_match_that_the_kernel_cannot_load_is_named_before_anything_changes(lives: dict[str, Future[Life]]) -> None:
    (name,) = REFUSING
    refusal = lives[name].result()["refusal"]
    assert refusal.run.changed == 0
    assert "the kernel lacks what the rules need of iptables, match helper (module xt_helper)" in refusal.run.error
    assert tables(refusal.after.rules) == tables(refusal.before.rules)
    assert refusal.after.sets == refusal.before.sets
    assert refusal.after.files == refusal.before.files
