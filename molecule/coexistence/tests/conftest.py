"""The figures, at the end of the output."""

from __future__ import annotations

import pytest
from lab.tables import aligned
from program import FIGURES


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures."""
    terminalreporter.section("figures")
    heading = ("program", "event", "transfers that passed", "foreign rules changed")
    for line in aligned([heading, *FIGURES]):
        terminalreporter.write_line(line)
