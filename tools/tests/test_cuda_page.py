"""The page of the plan is what the tool writes, and measurements find their places on it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tools import cuda_page
from tools.cuda_check import speed
from tools.cuda_check.bars import Measurements
from tools.cuda_check.report import Report, Row
from tools.cuda_check.workloads import Workload

PAGE = cuda_page.PAGE.read_text(encoding="utf-8")
AGAIN = "write the page again: python -m tools.cuda_page"


def part(page: str, name: str) -> str:
    """Return what is between the marks of a name."""
    found = re.search(rf"<!-- {name}: .*? -->\n(.*?)<!-- end of {name} -->", page, re.DOTALL)
    assert found is not None
    return found[1]


def cells(page: str, name: str, *row: object) -> dict[str, str]:
    """Return the row of a table that begins with some cells, by the heads of the columns."""
    head, _, *rows = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in part(page, name).strip().splitlines()
    ]
    (found,) = [line for line in rows if line[: len(row)] == [*map(str, row)]]
    return dict(zip(head, found, strict=True))


def test_the_page_is_what_the_tool_writes() -> None:
    assert cuda_page.filled(PAGE, Measurements(cuda_page.MEASUREMENTS)) == PAGE, AGAIN


def test_without_measurements_it_says_so_and_names_the_command(tmp_path: Path) -> None:
    page = cuda_page.filled(PAGE, Measurements(tmp_path / "none.json"))
    assert "**Nothing on this page has been measured yet**" in part(page, "state")
    assert "`make bench-cuda`" in part(page, "state")
    row = cells(page, "times", "lstm", 512, 32, "forward")
    assert {name: number for name, number in row.items() if name.endswith("m.")} == {
        "float32, m.": "", "TF32, m.": "", "bfloat16, m.": ""
    }  # fmt: skip


def test_measurements_stand_beside_the_predictions(tmp_path: Path) -> None:
    """A file as `tools.cuda_check` writes it."""
    report = Report({"GPU": "NVIDIA H200"}, tmp_path / "cuda.json")
    for library, size, precision, both in (
        ("rondeau", ("LSTM", 512, 32, 1024), "highest", 8.0),
        ("rondeau", ("LSTM", 512, 32, 256), "highest", 9.0),  # other steps, which the page does not show
        ("rondeau", ("GRU", 256, 16, 1024), "high", 4.0),
        ("torch", ("LSTM", 512, 32, 1024), "highest", 20.0),
    ):
        figures = {"forward": both / 4, "both": both, "issued": 0.5}
        if library == "rondeau":
            figures |= {"forward kernel": both / 4 - 0.5, "backward kernel": both / 2}
        report.add(speed._row(library, {"workload": Workload(*size, precision), "figures": figures}, 1.0))
    report.add(Row("cells", "lstm", "right", "", 1.0))
    path = tmp_path / "page.md"
    path.write_text(PAGE, encoding="utf-8")
    cuda_page.written(path, tmp_path / "cuda.json")
    page = path.read_text(encoding="utf-8")

    assert "Nothing" not in part(page, "state")
    assert "GPU NVIDIA H200" in part(page, "state")
    forward, backward = (
        cells(page, "times", "lstm", 512, 32, direction) for direction in ("forward", "backward")
    )
    assert (forward["float32, m."], backward["float32, m."]) == ("**1.50**", "**4.00**")
    assert forward["TF32, m."] == ""
    assert cells(page, "times", "gru", 256, 16, "backward")["TF32, m."] == "**2.00**"
    assert part(page, "times").count("**") == 2 * 4
    layer = cells(page, "layers", "LSTM", 512, 32)
    assert [layer[f"float32, {what}"] for what in ("ours", "PyTorch", "ratio")] == [
        "**8.00**",
        "**20.00**",
        "**2.50**",
    ]
    layer = cells(page, "layers", "GRU", 256, 16)
    assert [layer[f"TF32, {what}"] for what in ("ours", "PyTorch", "ratio")] == ["**4.00**", "", ""]
    assert cells(page, "bars", "every tier and cell against the CPU")["measured"] == "1 of 1"
    # The predictions stay, and so does everything between the parts.
    assert part(page, "needs") == part(PAGE, "needs")
    assert forward["float32, p."] == cells(PAGE, "times", "lstm", 512, 32, "forward")["float32, p."]
    assert cuda_page.filled(page, Measurements(tmp_path / "none.json")) == cuda_page.filled(
        PAGE, Measurements(tmp_path / "none.json")
    )


def test_a_page_without_the_marks_is_an_error() -> None:
    page = PAGE.replace("<!-- end of times -->", "")
    with pytest.raises(ValueError, match=r"the marks of 'times' once, it has them 0 times"):
        cuda_page.filled(page, Measurements(cuda_page.MEASUREMENTS))
