"""Defaults, argument specs, the module's options and the README say the same."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.hostfw.conntrack.plugins.module_utils._ftp import _desired, _options
from ansible_collections.hostfw.conntrack.plugins.module_utils._plan import _boot
from ansible_collections.hostfw.conntrack.plugins.modules import ftp_plan, ftp_probe
from ansible_collections.hostfw.conntrack.tests.unit.test_options import DEFAULTS, parse
from ansible_collections.hostfw.conntrack.tests.unit.test_plan import CASES, planned

PROJECT = Path(__file__).resolve().parents[2]
ROLE = PROJECT / "roles/ftp"


def load(path: Path) -> Any:
    """Read a YAML file."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


defaults = load(ROLE / "defaults/main.yml")
specs = load(ROLE / "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
options = yaml.safe_load(ftp_plan.DOCUMENTATION)["options"]
probe_options = yaml.safe_load(ftp_probe.DOCUMENTATION)["options"]
probe = load(ROLE / "tasks/probe.yml")[0]["hostfw.conntrack.ftp_probe"]
plan = load(ROLE / "tasks/plan.yml")[0]["hostfw.conntrack.ftp_plan"]
readme = (PROJECT / "README.md").read_text(encoding="utf-8")


def test_argument_specs_have_the_defaults() -> None:
    assert repr({name: spec["default"] for name, spec in specs.items()}) == repr(defaults)


def test_defaults_are_of_the_types_and_among_the_choices() -> None:
    for name, spec in specs.items():
        default = defaults[name]
        assert type(default).__name__ == spec["type"], name
        elements = default if isinstance(default, list) else []
        assert {type(element).__name__ for element in elements} <= {spec.get("elements")}, name
        assert default in spec.get("choices", [default]), name


def test_module_has_the_inputs_with_their_types_choices_and_defaults() -> None:
    module = {f"ftp_{name}": option for name, option in options.items() if name != "role"}
    assert list(module) == [name for name in specs if name != "ftp_verify"]
    for name, option in module.items():
        spec = specs[name]
        for key in ("type", "elements", "default"):
            assert repr(option.get(key)) == repr(spec.get(key)), (name, key)
        assert list(option.get("choices", ())) == spec.get("choices", []), name


def test_verification_has_the_options_of_the_probe() -> None:
    own = ("from", "to", "closed", "rescue")
    for name, spec in specs["ftp_verify"]["options"].items():
        assert name in own or probe_options[name]["type"] == spec["type"], name
        assert name in own or f"ftp_verify.{name}" in str(probe), name


def test_role_hands_every_input_to_the_module() -> None:
    handed = {name: value for name, value in plan.items() if name != "role"}
    assert handed == {name: f"{{{{ ftp_{name} }}}}" for name in DEFAULTS}
    assert list(plan["role"]) == list(options["role"]["suboptions"])


def test_run_on_a_converged_host_loads_no_filters_and_no_tests() -> None:
    (task,) = load(ROLE / "tasks/plan.yml")
    del task["name"]
    used = repr([task, *([each.get("when") for each in load(ROLE / "tasks/main.yml")])])
    assert "ftp_allowed_addresses" in used
    assert re.findall(r"\|| is ", used) == []


def test_choices_are_those_that_the_code_allows() -> None:
    assert {name: spec["choices"] for name, spec in specs.items() if "choices" in spec} == {
        "ftp_side": list(_options.SIDES),
        "ftp_mode": list(_options.MODES),
        "ftp_position": list(_options.POSITIONS),
        "ftp_state": list(_options.STATES),
    }


def test_readme_has_every_input_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `(ftp_\w+)` \| `([^`]+)`", readme, re.MULTILINE))
    assert repr({name: yaml.safe_load(default) for name, default in rows.items()}) == repr(defaults)


def test_readme_has_the_choices_and_no_others() -> None:
    rows = dict(re.findall(r"^\| `(ftp_\w+)` \| (.*)", readme, re.MULTILINE))
    for name, spec in specs.items():
        if "choices" in spec:
            assert set(re.findall("`([^`]+)`", rows[name])) == set(spec["choices"]), name


def test_document_lists_the_rules() -> None:
    text = (PROJECT / "docs/rules.md").read_text(encoding="utf-8")
    rules = _desired.of(parse(passive_ports="50000:50999")).rules["ipv4"]
    lines = []
    for table in _desired.TABLES:
        lines.append(f"*{table}")
        parts = (rules.jumps, rules.inside, rules.guard)
        lines += [replace(rule, comment=None).line() for part in parts for rule in part if rule.table == table]
    assert text.partition("```\n")[2].partition("```")[0].splitlines() == lines


def test_readme_shows_the_playbook_at_once() -> None:
    assert any("role: hostfw.conntrack.ftp" in line for line in readme.splitlines()[:20])


def tasks(found: Any) -> list[dict[str, Any]]:
    """Return tasks, and those within blocks."""
    nested = [inner for task in found for key in ("block", "rescue", "always") for inner in tasks(task.get(key, []))]
    return [*found, *nested]


def test_nothing_of_the_role_runs_on_the_controller() -> None:
    found = [task for path in (ROLE / "tasks").glob("*.yml") for task in tasks(load(path))]
    assert [task["delegate_to"] for task in found if "delegate_to" in task] == ["{{ __ftp_from }}"]
    assert not [task for task in found if {"local_action", "run_once", "connection"} & set(task)]


def test_trial_takes_few_hosts_at_a_time_and_needs_no_root() -> None:
    (trial,) = load(ROLE / "tasks/probe.yml")
    assert (trial["become"], trial["throttle"], trial["ignore_unreachable"]) == (False, 5, True)


def test_ftp_check_waits_for_all_hosts_and_reads_no_bare_variable_of_an_inventory() -> None:
    (play,) = load(PROJECT / "playbooks/ftp_check.yml")
    assert play["strategy"] == "ansible.builtin.linear"
    # Not in the play's own vars, where ansible-core before 2.19 refuses a keyword of Python.
    assert play["vars_files"] == ["files/ftp_check.yml"]
    assert load(PROJECT / "playbooks/files/ftp_check.yml") == {"from": "", "report": ""}
    files = [*ROLE.glob("*/*.yml"), PROJECT / "playbooks/ftp_check.yml"]
    expressions = [found for path in files for found in re.findall(r"{{.*?}}", path.read_text(encoding="utf-8"))]
    bare = [text for text in expressions if re.search(r"(?<![\w.'])(from|report)(?![\w'])", text)]
    assert bare == ["{{ from | to_json }}", "{{ report | to_json }}"]


def test_strings_that_stand_for_booleans_are_made_booleans() -> None:
    booleans = [f"ftp_{name}" for name, option in options.items() if option["type"] == "bool"]
    booleans += [
        f"__ftp_verify.{name}" for name, spec in specs["ftp_verify"]["options"].items() if spec["type"] == "bool"
    ]
    for path in ROLE.glob("*/*.yml"):
        for text in re.findall(r"{{(.*?)}}", path.read_text(encoding="utf-8")):
            for name in booleans:
                handed_on = text.strip() in (name, f"{name} | default(omit)")
                assert not re.search(rf"\b{name}\b", text) or handed_on or "| bool" in text, (path.name, text)


def test_one_task_of_ftp_check_runs_on_the_controller_for_all_hosts() -> None:
    (play,) = load(PROJECT / "playbooks/ftp_check.yml")
    there = [task for task in tasks(play["tasks"]) if task.get("delegate_to") == "localhost"]
    assert [task.get("run_once") for task in there] == [True]


def test_role_hands_every_argument_of_a_planned_rule_to_its_module() -> None:
    handed = {
        module: set(task[module])
        for task in tasks(load(ROLE / "tasks/steps.yml"))
        for module in ("ansible.builtin.iptables", "hostfw.conntrack.helper_rule")
        if module in task
    }
    for case in CASES:
        plan_of_case = planned(case)
        for module, items in zip(handed, (plan_of_case.helper_rules, plan_of_case.rules)):
            for item in items:
                assert set(item) - {"label"} <= handed[module], (case, item)
    assert list(handed) == ["hostfw.conntrack.helper_rule", "ansible.builtin.iptables"]


def test_role_claims_the_systems_that_it_was_run_on() -> None:
    platforms = load(ROLE / "meta/main.yml")["galaxy_info"]["platforms"]
    suites = re.findall(r"name: reboot-(\w+)", (PROJECT / "molecule/reboot/molecule.yml").read_text())
    assert platforms == [{"name": "Debian", "versions": list(dict.fromkeys(suites))}]


def test_documents_name_the_services_after_which_rules_come_back() -> None:
    packages = {
        "iptables": "iptables-services",
        "ip6tables": "iptables-services",
        "shorewall6": "shorewall",
        "lfd": "csf",
        "firewall": "firewall.service",
    }
    names = [unit.removesuffix(".service") for unit in _boot.OTHERS.split()]
    described = " ".join(specs["ftp_restore_after"]["description"])
    for text in (described, (PROJECT / "docs/operations.md").read_text(encoding="utf-8")):
        assert [name for name in names if packages.get(name, name) not in text] == []


def test_nothing_shows_a_helper_that_the_kernel_is_to_lose() -> None:
    pages = [*PROJECT.glob("*.md"), *PROJECT.glob("docs/*.md"), *PROJECT.glob("plugins/**/*.py"), *ROLE.glob("**/*.*")]
    shown = re.compile(r"\b(irc|pptp)\b", re.IGNORECASE)
    assert [path.name for path in pages if shown.search(path.read_text(encoding="utf-8"))] == []


def test_attacks_that_the_document_names_are_made() -> None:
    rows = re.findall(r"^\|.*\|(.*)\|$", (PROJECT / "docs/security.md").read_text(encoding="utf-8"), re.MULTILINE)
    names = [name for row in rows for name in re.findall(r"`([a-z0-9_]+)`", row)]
    made = "".join(path.read_text(encoding="utf-8") for path in PROJECT.glob("molecule/*/tests/*.py"))
    assert names
    assert [name for name in names if not re.search(rf"\b{name}\b", made)] == []


def test_links_lead_somewhere() -> None:
    pages = [*PROJECT.glob("*.md"), *(PROJECT / "docs").glob("*.md"), ROLE / "README.md"]
    links = {
        (page.name, link): page.parent / link
        for page in pages
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    }
    assert links
    assert [name for name, path in links.items() if not path.exists()] == []
