"""ftp_check's page in a browser: by light and by dark, wide and as narrow as a phone."""

from __future__ import annotations

import json
import re
import subprocess
import zlib
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from lab.hosts import Lab
from lab.verdict import check, tried

# What a script in the page finds out; the contrast is that of WCAG 2, of each text with what is behind it.
LOOK = """
<script>
document.querySelectorAll("details").forEach(node => node.open = true);
const numbers = colour => colour.match(/[0-9.]+/g).map(Number);
const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
  .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const behind = node => {
  const found = numbers(getComputedStyle(node).backgroundColor);
  return found.length > 3 && found[3] === 0 ? behind(node.parentElement) : found;
};
const texts = [...document.body.querySelectorAll("*")].filter(node => node.tagName !== "SCRIPT"
  && node.getClientRects().length && [...node.childNodes].some(each => each.nodeType === 3 && each.data.trim()));
const contrast = node => {
  const both = [light(numbers(getComputedStyle(node).color)), light(behind(node))].sort((a, b) => b - a);
  return (both[0] + 0.05) / (both[1] + 0.05);
};
document.title = JSON.stringify({
  width: innerWidth,
  needs: document.documentElement.scrollWidth,
  contrast: Math.min(...texts.map(contrast)),
  smallest: Math.min(...texts.map(node => parseFloat(getComputedStyle(node).fontSize))),
  texts: texts.map(node => node.innerText),
  outside: texts.filter(node => !node.closest("thead")).filter(node => {
    const box = node.getBoundingClientRect();
    return box.left < 0 || box.right > innerWidth + 1;
  }).map(node => node.innerText),
});
</script>
"""
RENDERER = [
    "chromium-headless-shell",
    "--no-sandbox",
    "--disable-gpu",
    "--hide-scrollbars",
    "--force-device-scale-factor=1",
]
THEMES = {"dark": 0, "light": 1}


@pytest.fixture(scope="module")
def page(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of two hosts: one where FTP passes, and one where something is the matter."""
    folder = tmp_path_factory.mktemp("page")
    server, router = lab.host("server"), lab.host("router")
    for host in (server, router):
        host.shell.check_output("ip link set eth0 up")
    server.role()
    code, _lines = check(
        lab, f"{server.name},{router.name}", folder / "report.html", ftp_verify=tried(server, upload="upload")
    )
    assert code == 2
    return folder / "report.html"


def look(page: Path, theme: str, width: int) -> tuple[dict[str, Any], bytes]:
    """Open the page in the browser; return what the script finds, and a screenshot."""
    (page.parent / "look.html").write_text(
        page.read_text(encoding="utf-8").replace("</body>", f"{LOOK}</body>"), "utf-8"
    )
    container = ["docker", "run", "--rm", "--network", "none", "--volume", f"{page.parent}:/pages"]
    shown = [f"--blink-settings=preferredColorScheme={THEMES[theme]}", f"--window-size={width},1200"]
    command = [*container, "hostfw-conntrack:browser", *RENDERER, *shown]
    picture = page.parent / f"{theme}-{width}.png"
    done = subprocess.run(
        [*command, "--dump-dom", "file:///pages/look.html"], capture_output=True, text=True, check=True, timeout=120
    )
    subprocess.run(
        [*command, f"--screenshot=/pages/{picture.name}", "file:///pages/report.html"],
        capture_output=True,
        check=True,
        timeout=120,
    )
    title = re.search(r"<title>(.*?)</title>", done.stdout, re.DOTALL)
    assert title
    return json.loads(unescape(title.group(1))), picture.read_bytes()


def corner(png: bytes) -> tuple[int, ...]:
    """Return the colour of the first pixel, which no filter of PNG alters."""
    found, position = b"", 8
    while position < len(png):
        length, kind = int.from_bytes(png[position : position + 4], "big"), png[position + 4 : position + 8]
        if kind == b"IDAT":
            found += png[position + 8 : position + 8 + length]
        position += 12 + length
    return tuple(zlib.decompress(found)[1:4])


@pytest.mark.parametrize("width", [1200, 390])
@pytest.mark.parametrize("theme", THEMES)
def test_page_can_be_read(page: Path, theme: str, width: int) -> None:
    seen, picture = look(page, theme, width)
    assert seen["width"] == width
    assert seen["needs"] <= width
    assert seen["outside"] == []
    assert seen["contrast"] >= 4.5
    assert seen["smallest"] >= 12
    text = "\n".join(seen["texts"])
    for words in (
        "1 of 2 hosts are well.",
        "check-server",
        "check-router",
        "Cure:",
        "passes",
        "not as asked",
        "data endpoint",
    ):
        assert words in text
    assert "control connection to port 21: client opens" in text
    assert int.from_bytes(picture[16:20], "big") == width
    assert (sum(corner(picture)) > 700) is (theme == "light")
    assert (sum(corner(picture)) < 100) is (theme == "dark")
    assert len(picture) > 20_000
