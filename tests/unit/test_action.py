"""What the controller does to run ftp_plan."""

from __future__ import annotations

import gc
from typing import Any

import pytest
from ansible.plugins.action.normal import ActionModule as Normal
from ansible_collections.hostfw.conntrack.plugins.action.ftp_plan import ActionModule


@pytest.mark.parametrize("collects", [True, False])
@pytest.mark.parametrize("fails", [False, True])
def test_no_garbage_is_looked_for_while_the_module_is_built_and_run(
    monkeypatch: pytest.MonkeyPatch, collects: bool, fails: bool
) -> None:
    seen: list[object] = []

    def run(_self: object, tmp: object, task_vars: dict[str, Any]) -> dict[str, Any]:
        seen.append((gc.isenabled(), tmp, task_vars))
        if fails:
            raise OSError
        return {"changed": False}

    monkeypatch.setattr(Normal, "run", run)
    action = ActionModule.__new__(ActionModule)
    before = gc.isenabled()
    (gc.enable if collects else gc.disable)()
    try:
        if fails:
            with pytest.raises(OSError):
                action.run(None, {"a": 1})
        else:
            assert action.run(None, {"a": 1}) == {"changed": False}
        assert gc.isenabled() is collects
    finally:
        (gc.enable if before else gc.disable)()
    assert seen == [(False, None, {"a": 1})]
