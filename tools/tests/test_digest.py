"""The digests of recurrent layers: they repeat, and a bit that moves is found."""

from pathlib import Path

import pytest
from tools import digest


def test_digests_repeat_and_differences_are_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drawn = ["--configurations", "3", "--seed", "1"]
    assert digest.main(drawn) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len({line.split()[0] for line in lines}) == 3
    before = tmp_path / "before.txt"
    before.write_text("\n".join(lines), encoding="utf-8")
    assert digest.main([*drawn, "--compare", str(before)]) == 0
    assert "3 of 3 configurations agree in every bit" in capsys.readouterr().out
    lines[1] = f"{'0' * 16} {lines[1].partition(' ')[2]}"
    before.write_text("\n".join(lines), encoding="utf-8")
    assert digest.main([*drawn, "--compare", str(before)]) == 1
    assert "differs at 1" in capsys.readouterr().out
