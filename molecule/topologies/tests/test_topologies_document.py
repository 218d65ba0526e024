"""The page of what passed; it comes after the tests of that."""

from __future__ import annotations

import os

from passed import DOCUMENT, document


def test_docs_topologies_md_is_what_is_found() -> None:
    before = DOCUMENT.read_text(encoding="utf-8")
    found = document(before)
    print(found)
    if os.environ.get("UPDATE_GOLDEN"):
        DOCUMENT.write_text(found, encoding="utf-8")
    else:
        assert found == before
