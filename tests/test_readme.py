"""What the README shows runs."""

import re
from pathlib import Path

README = Path(__file__).resolve().parents[1] / "README.md"


def test_the_example_runs(capsys):
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert sum(bool(line.strip()) for line in example.splitlines()) <= 15
    namespace = {}
    # The step's source is shown in errors, so the example compiles under a name of its own.
    exec(compile(example, "README.md", "exec"), namespace)
    assert namespace["output"].shape == (35, 32, 256)
    assert "(35, 32, 256)" in capsys.readouterr().out


def test_the_packages_it_maps_are_there():
    root = README.parent
    mapped = set(
        re.findall(r"^    ((?:packages/)?[a-z_]+) {2,}\S", README.read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert mapped >= {f"packages/{path.parent.name}" for path in root.glob("packages/*/pyproject.toml")}
    assert [folder for folder in mapped if not (root / folder).is_dir()] == []
