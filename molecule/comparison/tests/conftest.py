"""The attacks are those of the scenario attacks."""

from __future__ import annotations

import sys

from lab import PROJECT

sys.path.append(str(PROJECT / "molecule/attacks/tests"))
