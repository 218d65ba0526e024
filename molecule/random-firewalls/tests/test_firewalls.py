"""Behind random firewalls, FTP passes as asked, or the plan names the rule that stops it; nothing else changes."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

from generator import firewall
from sites import Found, NativeSite, Site

SEED = os.environ.get("FIREWALLS_SEED", "1")
COUNT = int(os.environ.get("FIREWALLS_COUNT", "450"))


SITES = ("nft-1", "legacy-1", "native-1", "nft-2", "legacy-2", "native-2")


def look(name: str, numbers: range) -> list[Found]:
    """Look at firewalls, one after the other."""
    found = (NativeSite if name.startswith("native") else Site)(name)
    return [found.look(firewall(f"{SEED}-{number}")) for number in numbers]


def test_ftp_passes_behind_random_firewalls(figures: list[str]) -> None:
    with ThreadPoolExecutor() as pool:
        parts = [pool.submit(look, site, range(start, COUNT, len(SITES))) for start, site in enumerate(SITES)]
        found = [one for part in parts for one in part.result()]
    counts = {outcome: sum(one.outcome == outcome for one in found) for outcome in ("passed", "warned", "failed")}
    words = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
    figures.append(f"random firewalls: {len(found)} tried, {words} (seed {SEED})")
    failures = [
        f"seed {one.firewall.seed}, {one.firewall.inputs}: {one.why}\n{one.tried}"
        for one in found
        if one.outcome == "failed"
    ]
    assert not failures, "\n".join(failures)
    assert counts["passed"] > COUNT / 3
