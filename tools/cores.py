"""The versions of ansible-core that the collection supports, each in a virtual environment of its own."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
# ansible-core: the package ansible that brings it, with its collections, and the Pythons on which that runs.
CORES = {
    "2.16": ("9", ("3.10", "3.11", "3.12")),
    "2.17": ("10", ("3.10", "3.11", "3.12")),
    "2.18": ("11", ("3.11", "3.12", "3.13")),
    "2.19": ("12", ("3.11", "3.12", "3.13")),
    "2.20": ("13", ("3.12", "3.13", "3.14")),
    "2.21": ("14", ("3.12", "3.13", "3.14")),
}


def pythons() -> dict[str, Path]:
    """Return the Pythons of this machine by their versions, those of pyenv too, of which its shims run only some."""
    folders = [Path(folder) for folder in os.get_exec_path() if not folder.endswith("shims")]
    folders = [folder for folder in folders if not (folder.parent / "pyvenv.cfg").exists()]
    folders += Path("~/.pyenv/versions").expanduser().glob("*/bin")
    found: dict[str, Path] = {}
    for folder in folders:
        for path in folder.glob("python3.*"):
            version = path.name.removeprefix("python")
            if re.fullmatch(r"3\.\d+", version):
                found.setdefault(version, path)
    return found


def environment(core: str, python: str) -> Path:
    """Return the programs of an ansible-core, after having installed it once, with its package ansible."""
    folder = PROJECT / f".cache/cores/{core}-python{python}"
    if not (folder / "ready").exists():
        subprocess.run([pythons()[python], "-m", "venv", "--clear", folder], check=True)
        package = f"ansible=={CORES[core][0]}.*"
        subprocess.run([folder / "bin/pip", "install", "--quiet", "--no-compile", package], check=True)
        (folder / "ready").touch()
    return folder / "bin"
