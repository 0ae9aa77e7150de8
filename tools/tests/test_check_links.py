import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[1] / "check_links.py"

HOME = """<a href="guide/first.html#start">a place</a> <a href="guide/">a folder</a> <a href="#top">here</a>
<h1 id="top">Home</h1> <img src="curve%20one.png"> <a href="https://elsewhere.invalid/x">elsewhere</a>
<a href="//elsewhere.invalid/x">elsewhere</a> <a href="#">nowhere</a>"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site of three pages and a picture, whose links are whole."""
    (tmp_path / "guide").mkdir()
    (tmp_path / "index.html").write_text(HOME)
    (tmp_path / "curve one.png").write_bytes(b"")
    (tmp_path / "guide/index.html").write_text('<a href="../index.html">home</a>')
    (tmp_path / "guide/first.html").write_text('<p id="start">begin</p>')
    return tmp_path


def check(site: Path) -> tuple[int, str]:
    """Run the tool."""
    done = subprocess.run([sys.executable, str(TOOL), str(site)], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


def test_a_whole_site_passes(site: Path) -> None:
    assert check(site) == (0, "0 broken links\n")


@pytest.mark.parametrize("link", ["gone.html", "guide/first.html#end", "#bottom", "gone.png"])
def test_a_link_that_leads_nowhere_is_told_with_its_page(site: Path, link: str) -> None:
    (site / "guide/second.html").write_text("")
    (site / "index.html").write_text(f'{HOME} <a href="{link}">broken</a>')
    assert check(site) == (1, f"{link}: on index.html\n1 broken links\n")


def test_a_template_that_a_theme_copies_is_no_page(site: Path) -> None:
    (site / "_static").mkdir()
    (site / "_static/macros.html").write_text("<link href=\"{{ pathto('theme.css') }}\">")
    assert check(site) == (0, "0 broken links\n")


def test_what_is_no_site_is_refused(tmp_path: Path) -> None:
    status, output = check(tmp_path)
    assert status == 2
    assert "holds no index.html; build the site first" in output
