"""Programs on the test hosts whose functions are called from here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lab.hosts import Host

# Stands below the functions of a program: makes the calls that come in as lines of JSON, and answers each with a line.
SERVE = """

import json, sys

for line in sys.stdin:
    name, arguments = json.loads(line)
    try:
        answer = {"result": globals()[name](*arguments)}
    except Exception as error:
        answer = {"error": repr(error)}
    print(json.dumps(answer), flush=True)
"""


class Agent:
    """A program on a test host, which ends with the input."""

    def __init__(self, host: Host, program: Path) -> None:
        self.host = host
        self.process = host.program(program, more=SERVE)

    def call(self, function: str, *arguments: object) -> Any:
        """Call one of the program's functions."""
        self.start(function, *arguments)
        return self.finish()

    def start(self, function: str, *arguments: object) -> None:
        """Start a call, so that another host can work in the meantime."""
        assert self.process.stdin
        self.process.stdin.write(json.dumps([function, arguments]) + "\n")
        self.process.stdin.flush()

    def finish(self) -> Any:
        """Return what became of the call that was started."""
        assert self.process.stdout
        answer = json.loads(self.process.stdout.readline())
        assert "error" not in answer, f"on {self.host.name}: {answer['error']}"
        return answer["result"]

    def stop(self) -> None:
        """End it."""
        self.process.communicate()
