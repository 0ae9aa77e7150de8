"""The rules of the mono-repo: open namespace, imports along the arrows, one version, one set of dependencies."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("kernels", "tensor", "nn", "export", "data", "train")

# Who may import whom: train -> export -> nn -> tensor -> kernels, and train -> data.
ARROWS = {
    "kernels": set(),
    "tensor": {"kernels"},
    "nn": {"kernels", "tensor"},
    "export": {"kernels", "tensor", "nn"},
    "data": set(),
    "train": {"kernels", "tensor", "nn", "export", "data"},
}


def sources(package):
    return sorted((ROOT / "packages" / package / "src").rglob("*.py"))


def imported_modules(path):
    """Every absolute module name that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def requirement_name(requirement):
    return re.match(r"[A-Za-z0-9._-]+", requirement).group().lower()


def project(path):
    return tomllib.loads(path.read_text(encoding="utf-8"))["project"]


def test_namespace_stays_open():
    found = list(ROOT.glob("packages/*/src/rondeau/__init__.py"))
    assert found == [], "rondeau is an implicit namespace package; these files would close it"
    shared = [
        path.relative_to(ROOT / "packages").as_posix() for path in ROOT.glob("packages/*/src/rondeau/*.py")
    ]
    assert shared == ["train/src/rondeau/__main__.py"], (
        "a file of the namespace itself belongs to one distribution"
    )


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_follow_the_arrows(package):
    allowed = ARROWS[package] | {package}
    for path in sources(package):
        for name in imported_modules(path):
            if name.startswith("rondeau."):
                assert name.split(".")[1] in allowed, f"{path.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize("package", PACKAGES)
def test_no_package_imports_torch(package):
    for path in sources(package):
        assert not any(name.split(".")[0] == "torch" for name in imported_modules(path)), path


CUPY = {"kernels/runtime/devices.py", "data/_pinned.py"}
NUMBA_CUDA = {"kernels/cuda/compiler.py", "kernels/cuda/intrinsics.py"}


def imported_libraries_of_the_device(source):
    """Yield what a module imports of CuPy and numba-cuda, by name too: ``import_module("cupy")``."""
    tree = ast.parse(source)
    called = (node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args)
    for node in called:
        named = getattr(node.func, "attr", getattr(node.func, "id", None)) in ("import_module", "__import__")
        if named and isinstance(node.args[0], ast.Constant):
            yield node.args[0].value
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_of(library, name):
    wanted = {
        "cupy": "cupy|cupyx|cupy_backends",
        "numba-cuda": r"numba\.cuda|numba_cuda|_numba_cuda_redirector",
    }
    return re.fullmatch(rf"({wanted[library]})(\..*)?", name) is not None


@pytest.mark.parametrize(("library", "allowed"), [("cupy", CUPY), ("numba-cuda", NUMBA_CUDA)])
def test_a_library_of_the_device_is_imported_in_one_place(library, allowed):
    found = set()
    for package in PACKAGES:
        for path in sources(package):
            names = imported_libraries_of_the_device(path.read_text(encoding="utf-8"))
            if any(is_of(library, name) for name in names):
                found.add(path.as_posix().rpartition("/rondeau/")[2])
    assert found == allowed


@pytest.mark.parametrize(
    ("library", "source"),
    [
        ("cupy", "def f():\n    import cupy as xp"),
        ("cupy", "from cupyx.scipy import special"),
        ("cupy", "import importlib\nimportlib.import_module('cupy.cuda')"),
        ("numba-cuda", "from numba import cuda"),
        ("numba-cuda", "import numba.cuda.extending"),
    ],
)
def test_an_import_of_a_library_of_the_device_would_be_found(library, source):
    assert any(is_of(library, name) for name in imported_libraries_of_the_device(source))


@pytest.mark.parametrize("package", PACKAGES)
def test_no_package_imports_private_modules_of_another(package):
    for path in sources(package):
        for name in imported_modules(path):
            of_another = name.startswith("rondeau.") and name.split(".")[1] != package
            assert not (of_another and re.search(r"\._[a-z]", name)), (
                f"{path.relative_to(ROOT)} imports {name}"
            )


@pytest.mark.parametrize("package", PACKAGES)
def test_third_party_imports_are_declared(package):
    declared = project(ROOT / "packages" / package / "pyproject.toml")
    extras = [r for group in declared.get("optional-dependencies", {}).values() for r in group]
    names = {requirement_name(r) for r in declared["dependencies"] + extras}
    # llvmlite comes with numba, yaml with jsonargparse; cupy is looked for at run time.
    names |= {"llvmlite"} if "numba" in names else set()
    names |= {"yaml"} if "jsonargparse" in names else set()
    names |= {"sklearn"} if "scikit-learn" in names else set()
    names |= {"cupy"} if package == "kernels" else set()
    for path in sources(package):
        for name in imported_modules(path):
            top = name.split(".")[0]
            if top not in sys.stdlib_module_names and top != "rondeau":
                assert top.lower() in names, f"{path.relative_to(ROOT)} imports {top}: undeclared"


def test_one_version():
    versions = {p: import_module(f"rondeau.{p}").__version__ for p in PACKAGES}
    assert len(set(versions.values())) == 1, versions
    for package in PACKAGES:
        for requirement in project(ROOT / "packages" / package / "pyproject.toml")["dependencies"]:
            if requirement.startswith("rondeau-"):
                assert requirement.endswith(f"=={versions[package]}"), f"{package}: {requirement}"


def test_root_dependencies_are_the_union_of_the_packages():
    union = {
        requirement
        for package in PACKAGES
        for requirement in project(ROOT / "packages" / package / "pyproject.toml")["dependencies"]
        if not requirement.startswith("rondeau-")
    }
    assert set(project(ROOT / "pyproject.toml")["dependencies"]) == union


def test_root_offers_every_extra_of_the_packages():
    root = project(ROOT / "pyproject.toml")["optional-dependencies"]
    for package in PACKAGES:
        extras = project(ROOT / "packages" / package / "pyproject.toml").get("optional-dependencies", {})
        for name, requirements in extras.items():
            assert root[name] == requirements, f"{package}[{name}]"


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_exist(package):
    module = import_module(f"rondeau.{package}")
    assert "__all__" in vars(module), f"rondeau.{package} re-exports by __all__"
    assert [n for n in module.__all__ if not hasattr(module, n)] == []


def modules_of_daily_use():
    reference = (ROOT / "docs" / "reference" / "index.md").read_text(encoding="utf-8")
    daily, _ = reference.split("## Inside")
    return re.findall(r"^ +(rondeau\.[\w.]+)$", daily, re.MULTILINE)


@pytest.mark.parametrize("name", modules_of_daily_use())
def test_dir_shows_public_names_alone(name):
    module = import_module(name)
    assert {n for n in dir(module) if not n.startswith("_")} == set(module.__all__)


CHANGES = {
    *("write_text", "write_bytes", "truncate", "ftruncate", "fsync", "touch"),
    *("mkdir", "makedirs", "unlink", "rmdir", "rmtree"),
}


def changes_a_file(call):
    """Whether a call looks as if it changed files: by its name, as one of os, or as an open for more than reading."""
    name = getattr(call.func, "attr", getattr(call.func, "id", None))
    if name == "open":
        modes = [
            a.value
            for a in (*call.args[:2], *(k.value for k in call.keywords))
            if isinstance(a, ast.Constant)
        ]
        return any(
            isinstance(mode, str) and re.fullmatch("[rwaxbt+]*[wax+][rwaxbt+]*", mode) for mode in modes
        )
    of_os = getattr(getattr(call.func, "value", None), "id", None) == "os"
    return name in CHANGES or (of_os and name in ("replace", "rename", "remove", "write"))


def test_files_are_changed_through_one_module():
    """The storm lets each file call of that module fail, or end the process."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in (*sources("tensor"), *sources("nn"), *sources("train"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and changes_a_file(node)
    ]
    assert {where.partition(":")[0].rpartition("/")[2] for where in found} == {"durable.py"}, found


def test_importing_everything_neither_compiles_nor_imports_heavy_extras():
    code = (
        "import sys, importlib, pkgutil, rondeau\n"
        "for module in pkgutil.walk_packages(rondeau.__path__, 'rondeau.'):\n"
        "    uses_sklearn = '.estimators._' in module.name or module.name.endswith('._scikit_metrics')\n"
        "    is_extra = uses_sklearn or '._sweep' in module.name\n"
        "    if not is_extra and not module.name.endswith('__main__'):\n"
        "        importlib.import_module(module.name)\n"
        "assert {'rondeau.train._trainer', 'rondeau.tensor._ops.arithmetic'} <= set(sys.modules)\n"
        "heavy = {'torch', 'matplotlib', 'tokenizers', 'sklearn', 'optuna', 'pooch', 'tensorboardX',\n"
        "         'onnx', 'onnxruntime', 'distributed', 'zstandard'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "from numba.core.dispatcher import Dispatcher\n"
        "import gc\n"
        "compiled = [d for d in gc.get_objects() if isinstance(d, Dispatcher) and d.overloads\n"
        "            and d.py_func.__module__.startswith('rondeau')]\n"
        "assert not compiled, compiled\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@pytest.mark.parametrize("package", ["kernels", "tensor", "nn"])
def test_wrong_arguments_raise_the_classes_that_programs_written_for_torch_catch(package):
    for path in sources(package):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = node.func if isinstance(node, ast.Call) else None
            assert getattr(called, "id", None) not in ("ValueError", "TypeError"), (
                f"{path.relative_to(ROOT)}:{node.lineno}: use the classes of rondeau.kernels.errors"
            )


@pytest.mark.parametrize("package", PACKAGES)
def test_warnings_point_at_the_line_that_called_the_library(package):
    for path in sources(package):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and ast.unparse(node) == "warnings.warn":
                assert path.name == "caller.py", f"{path.relative_to(ROOT)}:{node.lineno}: use warn_caller"


KERNELS = ROOT / "packages/kernels/src/rondeau/kernels"


def module_of(path):
    parts = path.relative_to(path.parents[[p.name for p in path.parents].index("src")]).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_by(path, known):
    """The modules among `known` that a file imports, in functions and for type checking too."""
    module = module_of(path)
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            home = ".".join([*above, *([node.module] if node.module else [])])
            names = [f"{home}.{alias.name}" for alias in node.names] + [home]
        else:
            continue
        yield from (name for name in names if name in known and name != module)


@pytest.mark.parametrize("package", ["kernels", "nn"])
def test_no_module_imports_itself_by_way_of_others(package):
    paths = {module_of(path): path for path in sources(package)}
    # What a package's __init__ re-exports is no dependency of the modules in it.
    known = {name for name, path in paths.items() if path.name != "__init__.py"}
    graph = {name: set(imported_by(paths[name], known)) for name in known}
    while leaves := [name for name, needed in graph.items() if not needed]:
        for name in leaves:
            del graph[name]
        graph = {name: needed - set(leaves) for name, needed in graph.items()}
    assert graph == {}, f"these import each other: {sorted(graph)}"


TARGETS = ("rondeau.kernels.cpu", "rondeau.kernels.cuda")


def test_the_language_and_the_recurrent_core_know_neither_numba_nor_a_target():
    for room in ("cell", "recurrent"):
        for path in (KERNELS / room).rglob("*.py"):
            for name in imported_modules(path):
                where = f"{path.relative_to(ROOT)} imports {name}"
                assert name.split(".")[0] not in ("numba", "llvmlite"), where
                assert path.name == "target.py" or not name.startswith(TARGETS), where


def test_a_target_is_named_by_the_module_that_chooses_one_alone():
    for package in PACKAGES:
        for path in sources(package):
            in_a_target = path.is_relative_to(KERNELS / "cpu") or path.is_relative_to(KERNELS / "cuda")
            if in_a_target or path == KERNELS / "recurrent/target.py":
                continue
            named = [name for name in imported_modules(path) if name.startswith(TARGETS)]
            assert named == [], f"{path.relative_to(ROOT)} names a target"


COMPILERS = {"compiling", "linking", "signatures"}
OF_RECORDS = {"_asdict", "_fields", "_make", "_replace"}


def launches(source):
    """What a module does that only the package of kernels may do: compile kernels, or launch them."""
    tree = ast.parse(source)
    rooms = set()  # the names by which the module knows those of the package
    for node in ast.walk(tree):
        for alias in node.names if isinstance(node, ast.Import | ast.ImportFrom) else ():
            home = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            name = f"{home}{alias.name}"
            if name.split(".")[0] in ("numba", "llvmlite"):
                yield f"line {node.lineno} imports {name}"
            if not name.startswith("rondeau.kernels."):
                continue
            rooms.add(alias.asname or alias.name.split(".")[0])
            last = name.split(".")[-1]
            if COMPILERS & set(name.split(".")) or last == "launch" or (last[0] == "_" and last[1] != "_"):
                yield f"line {node.lineno} imports {name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", None) in rooms:
            private = node.attr.startswith("_") and node.attr not in OF_RECORDS
            if private or node.attr == "launch":
                yield f"line {node.lineno} uses {ast.unparse(node)}"


@pytest.mark.parametrize("package", ["tensor", "nn", "data", "train"])
def test_kernels_are_launched_by_their_own_package_alone(package):
    for path in sources(package):
        found = list(launches(path.read_text(encoding="utf-8")))
        assert found == [], f"{path.relative_to(ROOT)}: {found}; call a function of rondeau.kernels.ops"


@pytest.mark.parametrize(
    "source",
    [
        "import numba",
        "from numba import njit",
        "def f():\n    from rondeau.kernels.runtime.compiling import cached_njit",
        "from rondeau.kernels.runtime import signatures",
        "from rondeau.kernels.runtime.threads import launch",
        "from rondeau.kernels.runtime import threads\nthreads.launch(print)",
        "from rondeau.kernels.runtime import threads as t\nlaunch = t.launch",
        "from rondeau.kernels.ops.layer_norm import _forward",
        "from rondeau.kernels.ops import layer_norm as kernels\nkernels._forward[dtype](x)",
    ],
)
def test_a_launch_in_another_package_would_be_found(source):
    assert len(list(launches(source))) == 1


MANY_ARGUMENTS = {
    "compute_tile": "an LLVM intrinsic, which takes no records",
    "_ConvolutionLayer.__init__": "PyTorch's signature",
    "Recurrent.__init__": "the cell, and then PyTorch's signature of a recurrent layer",
    "RNN.__init__": "PyTorch's signature",
}
"""Functions that may take more than ten positional arguments, and why."""


def functions(tree, inside=""):
    """Yield all functions of a module with their qualified names."""
    for node in ast.iter_child_nodes(tree):
        name = getattr(node, "name", "<lambda>" if isinstance(node, ast.Lambda) else "")
        qualified = f"{inside}.{name}" if inside and name else name or inside
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield qualified, node
        yield from functions(node, qualified)


def positional(function):
    """The positional parameters that a caller gives; Numba itself gives its intrinsics a first one."""
    names = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]
    return names[1:] if names[:1] in (["self"], ["cls"], ["typingctx"]) else names


def test_nothing_takes_more_than_ten_positional_arguments():
    found = {}
    for package in PACKAGES:
        for path in sources(package):
            for name, node in functions(ast.parse(path.read_text(encoding="utf-8"))):
                if len(positional(node)) > 10:
                    found[name] = path.name
    assert found.keys() == MANY_ARGUMENTS.keys(), found  # what has been mended leaves the list


TAKES_TYPES = re.compile("compile|jit|vectorize|signature|_type|types|void")
TYPES_IN_LETTERS = re.compile(r"void.*|[biIufcn\d\[\](),:* ]+")


def signatures_in_letters(source):
    """Strings that a module gives to what takes types, by its name: such as ``compile(kernel, "iII 3 b")``."""
    for node in ast.walk(ast.parse(source)):
        function = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
        if TAKES_TYPES.search(function):
            yield from (
                f"line {node.lineno}: {argument.value!r}"
                for argument in node.args
                if isinstance(argument, ast.Constant)
                and isinstance(argument.value, str)
                and TYPES_IN_LETTERS.fullmatch(argument.value)
            )


def test_no_signature_is_a_string_of_letters():
    for path in sources("kernels"):
        found = list(signatures_in_letters(path.read_text(encoding="utf-8")))
        assert found == [], f"{path.relative_to(ROOT)}: {found}; use types, and records for many arrays"


@pytest.mark.parametrize(
    "source",
    [
        'self._compile(_forward, "iII 333333 b")',
        'njit("void(f8[:])")',
        'k.compile("(f8,)")',
        'types_of("iI")',
    ],
)
def test_a_signature_in_letters_would_be_found(source):
    assert len(list(signatures_in_letters(source))) == 1
