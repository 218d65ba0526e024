"""The virtual machines, each led through its stages, two at a time, and a table of what was seen."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from lab.tables import aligned
from machines import HOSTS, IMAGES, NAMES, Life, live

FUTURES: dict[str, Future[Life]] = {}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests of images, or all others, in a run that has no such machine."""
    without = [path for path, names in (("test_images.py", IMAGES), ("test_reboot.py", NAMES)) if not names]
    left = [item for item in items if item.path.name in without]
    config.hook.pytest_deselected(items=left)
    items[:] = [item for item in items if item not in left]


@pytest.fixture(scope="session")
def lives() -> Iterator[dict[str, Future[Life]]]:
    """What becomes of each machine."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        FUTURES.update({name: pool.submit(live, name) for name in HOSTS})
        yield FUTURES


@pytest.fixture(scope="session", params=NAMES)
def life(request: pytest.FixtureRequest, lives: dict[str, Future[Life]]) -> Life:
    """What was seen of one machine."""
    return lives[request.param].result()


@pytest.fixture(scope="session", params=IMAGES)
def image(request: pytest.FixtureRequest, lives: dict[str, Future[Life]]) -> Life:
    """What was seen of a machine that has had the role before its first boot."""
    return lives[request.param].result()


HEADINGS = (
    "kernel",
    "module before",
    "transfers before",
    "after role",
    "after reboot",
    "rules changed by reboot",
    "rules at (s)",
    "first login (s)",
    "after absent and reboot",
)


def row(name: str, life: Life) -> list[str]:
    """Return the cells of a machine."""
    stages = ("before", "converged", "rebooted", "left", "boot")
    if any(stage not in life for stage in stages):
        return [f"{name}: {life.error}"]
    before, converged, rebooted, left, boot = (life[stage] for stage in stages)
    changed = set(converged.rules.splitlines()) ^ set(rebooted.rules.splitlines())
    gone = left.rules == before.rules and left.files == before.files and not left.helper
    return [
        life["kernel"],
        "loaded" if before.helper else "absent",
        before.score,
        converged.score,
        rebooted.score,
        str(len(changed)),
        f"{boot.restored:.1f}",
        f"{boot.login:.1f}",
        f"{left.score}, {'nothing' if gone else 'something'} left",
    ]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table."""
    terminalreporter.section("reboots")
    for line in aligned([HEADINGS, *(row(name, future.result()) for name, future in FUTURES.items() if name in NAMES)]):
        terminalreporter.write_line(line)
