"""Images that the role was run in: what their first boot brings."""

from __future__ import annotations

from machines import Life


def test_everything_passes_at_the_first_boot(image: Life) -> None:
    assert [reason for reason in image["booted"].transfers.values() if reason] == []
    assert image["booted"].helper


def test_rules_are_there_before_anyone_logs_in(image: Life) -> None:
    assert image["boot"].state == "running"
    assert 0 < image["boot"].restored < image["boot"].login


def test_role_on_the_booted_host_changes_nothing(image: Life) -> None:
    assert image["role"].changed == 0
    assert len(image["role"].modules) == 1
