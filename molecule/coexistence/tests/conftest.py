"""The figures, at the end of the output."""

from __future__ import annotations

import pytest
from program import FIGURES


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures."""
    heading = ("program", "event", "transfers that passed", "foreign rules changed")
    lines = [heading, *FIGURES]
    widths = [max(map(len, column)) for column in zip(*lines)]
    terminalreporter.section("figures")
    for line in lines:
        terminalreporter.write_line("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())
