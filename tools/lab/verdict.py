"""What ftp_check says of test hosts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ansible_collections.hostfw.conntrack.plugins.plugin_utils._diagnosis import OF_HOSTS, OF_TRIALS

from lab.ftp import address
from lab.hosts import Host, Lab


def tried(host: Host, **more: object) -> dict[str, object]:
    """Return how FTP to a host is tried."""
    return {"from": f"{host.lab.scenario}-client", "to": address(host.shell, 4), "timeout": 2, **more}


def check(lab: Lab, limit: str, page: Path | None = None, **variables: Any) -> tuple[int, list[str]]:
    """Run ftp_check; return its exit code, and the lines of the table and what is below it."""
    values = {**variables, **({"ftp_check_report": str(page)} if page else {})}
    done = lab.ansible("ansible-playbook", "hostfw.conntrack.ftp_check", "--limit", limit, **values)
    _before, _task, shown = done.stdout.partition("TASK [Show the table]")
    start = shown.index("{\n")
    lines, _end = json.JSONDecoder().raw_decode(shown[start:])
    assert not [line for line in done.stdout.splitlines() if line.startswith("changed:") and "localhost" not in line]
    return done.returncode, lines["msg"]


def words(symptom: str) -> list[str]:
    """Return the cause and the cure of a symptom."""
    known = [each for each in (*OF_HOSTS, *OF_TRIALS) if each.symptom.endswith(symptom) or symptom in each.symptom]
    exact = [each for each in known if each.symptom == symptom] or known
    assert len(exact) == 1
    return [exact[0].cause, exact[0].cure]
