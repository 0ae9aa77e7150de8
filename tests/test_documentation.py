"""What the reference lists has a docstring and an example, and what the pages link to is there."""

import importlib
import inspect
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = re.findall(
    r"^   (rondeau\.[a-z_.]+)$", (ROOT / "docs/reference/index.md").read_text(encoding="utf-8"), re.MULTILINE
)


def public(module):
    """Return the public classes and functions of a module: submodules and constants have no docstring of their own."""
    home = importlib.import_module(module)
    members = {name: getattr(home, name) for name in home.__all__}
    return {name: member for name, member in members.items() if callable(member)}


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_has_a_docstring_and_an_example(module):
    if module in ("rondeau.train.estimators", "rondeau.train.metrics"):
        pytest.importorskip("sklearn", reason="needs the extra sklearn")
    assert importlib.import_module(module).__doc__
    members = public(module)
    assert {name for name, member in members.items() if not member.__doc__} == set()
    without = {name for name, member in members.items() if ">>>" not in inspect.getdoc(member)}
    assert without == set(), "give each an example that runs as a doctest"


def test_public_modules_that_packages_name_are_in_the_reference():
    named = set()
    for module in MODULES:
        home = importlib.import_module(module)
        named |= {
            getattr(home, name).__name__ for name in home.__all__ if inspect.ismodule(getattr(home, name))
        }
    assert named <= set(MODULES)


@pytest.mark.parametrize(
    "page", sorted(ROOT.glob("docs/*.md")) + sorted(ROOT.glob("docs/[eht]*/*.md")), ids=str
)
def test_pages_link_to_gallery_pages_that_exist(page):
    labels = re.findall(r"sphx_glr_generated_gallery_(\w+?)_(\d\d_\w+\.py)", page.read_text(encoding="utf-8"))
    missing = [
        f"{section}/{file}"
        for section, file in labels
        if not (ROOT / "docs/gallery" / section / file).is_file()
    ]
    assert missing == []


def test_a_page_that_calls_what_is_not_public_runs():
    page = (ROOT / "docs/explanation/gpu_kernels.md").read_text(encoding="utf-8")
    cells = re.findall(r"^```\{code-cell\} ipython3\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    assert cells
    exec("\n".join(cells), {})


def test_every_gallery_page_is_on_the_map_of_the_texts():
    mapped = (ROOT / "docs/texts.md").read_text(encoding="utf-8")
    files = [path.relative_to(ROOT / "docs/gallery") for path in ROOT.glob("docs/gallery/*/[0-9]*.py")]
    missing = [
        str(file) for file in files if f"sphx_glr_generated_gallery_{file.parent}_{file.name}`" not in mapped
    ]
    assert missing == [], "docs/texts.md should link to them beside the chapters they belong to"


@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/gallery/*/[0-9]*.py")), ids=lambda page: page.stem)
def test_a_page_says_where_its_data_are_from_once_it_has_them(page):
    # Before, a data set can only say that it may be downloaded, and does not know that this will fail.
    code = page.read_text(encoding="utf-8")
    loaded = code.find("stand_in=True")
    if loaded >= 0:
        assert "datasets.describe(" in code
        asked = [code.find(question) for question in ("datasets.describe(", "datasets.is_real(")]
        assert min(place for place in asked if place >= 0) > loaded


def test_the_table_of_short_texts_is_what_the_command_chooses():
    from rondeau.train._options import TrainingOptions
    from rondeau.train._sizes import fit_sizes

    page = (ROOT / "docs/how_to/command_line.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (?:from )?([\d,]+) \| (\d+) \| (\d+) \| (\d+) \|$", page, re.MULTILINE)
    assert len(rows) == 6
    for length, *sizes in rows:
        assert fit_sizes(TrainingOptions(), int(length.replace(",", "")), "character") == tuple(
            map(int, sizes)
        )
