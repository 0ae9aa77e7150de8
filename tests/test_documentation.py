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

# Without an example yet. The list only gets shorter: a name that has an example must leave it.
WITHOUT_EXAMPLE = {
    "rondeau.kernels.buffers": {"empty_cache", "free_bytes"},
    "rondeau.kernels.philox": {"random_word"},
    "rondeau.kernels.product": {"num_panels", "pack", "pack_panels", "product_rows"},
    "rondeau.kernels.sequence": {
        "Gradients",
        "Needs",
        "Regularisers",
        "Result",
        "Settings",
        "Weights",
        "backward",
        "complete_settings",
    },
    "rondeau.kernels.threads": {"get_num_threads", "launch", "start_pool"},
    "rondeau.nn": {"CellError", "load_safetensors"},
    "rondeau.tensor": {"get_num_threads"},  # of rondeau.kernels.threads
    "rondeau.train": {
        "Callback",
        "CheckpointError",
        "DivergedError",
        "Progress",
        "Recorder",
        "RunError",
        "RunFolder",
        "Snapshot",
        "generate",
    },
    "rondeau.train.lr_scheduler": {"LRScheduler"},
    "rondeau.train.optim": {"Optimizer"},
}


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
    listed = WITHOUT_EXAMPLE.get(module, set())
    assert without - listed == set(), "give each an example that runs as a doctest"
    assert listed - without == set(), "these have an example now: take them off the list"


def test_the_list_names_modules_of_the_reference():
    assert set(WITHOUT_EXAMPLE) <= set(MODULES)


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


def test_every_gallery_page_is_on_the_map_of_the_texts():
    mapped = (ROOT / "docs/texts.md").read_text(encoding="utf-8")
    files = [path.relative_to(ROOT / "docs/gallery") for path in ROOT.glob("docs/gallery/*/[0-9]*.py")]
    missing = [
        str(file) for file in files if f"sphx_glr_generated_gallery_{file.parent}_{file.name}`" not in mapped
    ]
    assert missing == [], "docs/texts.md should link to them beside the chapters they belong to"
