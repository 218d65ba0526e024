"""Until the page of what passed is written by make topologies, there is nothing to compare."""

from __future__ import annotations

import os

from passed import DOCUMENT

collect_ignore = [] if DOCUMENT.exists() or os.environ.get("UPDATE_GOLDEN") else ["test_topologies_document.py"]
