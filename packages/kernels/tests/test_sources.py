"""From which files a kernel's code can come: an edit of any of them, and of no other, changes its key."""

import ast
import importlib
import sys
from pathlib import Path

import pytest

import rondeau.kernels
from rondeau.kernels.runtime import sources

PACKAGE = Path(rondeau.kernels.__file__).parent


def imports_of_kernels(tree):
    """Yield what a module imports of the library's for more than type checking, wherever it does."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "an import by a relative name"
            if node.module.startswith("rondeau"):
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("rondeau"))
        else:
            yield from imports_of_kernels(node)


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.relative_to(PACKAGE).as_posix()
)
def test_every_import_is_seen(path):
    text = path.read_text(encoding="utf-8")
    assert set(imports_of_kernels(ast.parse(text))) <= set(sources.imported_names(text))


def test_imports_are_read_in_every_form():
    text = """
from rondeau.a import (
    one,
    two as other,
)
from rondeau.b import three  # a comment
import rondeau.c
if TYPE_CHECKING:
    from rondeau.d import Four
"""
    found = set(sources.imported_names(text))
    assert {"rondeau.a.one", "rondeau.a.two", "rondeau.b.three", "rondeau.c"} <= found
    assert not any(name.startswith("rondeau.d") for name in found)


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """Three modules under the library's name, of which the first imports the second, and that the third."""
    texts = {
        "first": "from rondeau.second_of_test import (\n    value,\n)\n",
        "second": "from rondeau import third_of_test\n\nvalue = third_of_test.value\n",
        "third": "value = 1\n",
    }
    paths = {}
    for name, text in texts.items():
        paths[name] = tmp_path / f"{name}_of_test.py"
        paths[name].write_text(text)
    monkeypatch.setattr(rondeau, "__path__", [*rondeau.__path__, str(tmp_path)])
    importlib.invalidate_caches()
    importlib.import_module("rondeau.first_of_test")
    yield paths
    for name in texts:
        sys.modules.pop(f"rondeau.{name}_of_test", None)
        vars(rondeau).pop(f"{name}_of_test", None)


def digests():
    sources.digest_of_sources.cache_clear()
    return {
        name: sources.digest_of_sources(f"rondeau.{name}_of_test") for name in ("first", "second", "third")
    }


@pytest.mark.parametrize(
    ("edited", "change"), [("first", {"first"}), ("third", {"first", "second", "third"})]
)
def test_an_edit_changes_the_digest_of_all_that_import_it(modules, edited, change):
    before = digests()
    modules[edited].write_text(modules[edited].read_text() + "# edited\n")
    after = digests()
    assert {name for name in before if before[name] != after[name]} == change


def test_a_product_does_not_depend_on_the_recurrent_layers_nor_a_driver_on_its_door():
    def files(module):
        importlib.import_module(module)
        return {name.removeprefix("rondeau.kernels.") for name in sources._files_of(module)}

    product, drivers = files("rondeau.kernels.product.product"), files("rondeau.kernels.cpu.drivers")
    assert (
        {"product.microkernel", "product.tiles", "product.transpose", "runtime.compiling"}
        <= product
        <= drivers
    )
    assert not any(name.startswith(("cell", "cpu", "recurrent")) for name in product)
    assert {"cpu.blocks", "cpu.block_products", "cpu.phase_call", "cpu.storage"} <= drivers
    assert {name for name in drivers if name.startswith("recurrent.")} == {"recurrent.steps"}
    assert not any(name.startswith(("sequence", "stepper", "optimisers")) for name in drivers)


def test_a_function_of_no_module_depends_on_every_file():
    everything = {path.as_posix() for path in PACKAGE.rglob("*.py")}
    read = []

    class Watched(type(Path())):
        def read_bytes(self):
            read.append(self.as_posix())
            return super().read_bytes()

    sources.digest_of_sources.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "Path", Watched)
        sources.digest_of_sources("generated")
    assert set(read) == everything
