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


def test_cells_with_inputs_and_noise_come_last_and_may_be_new(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = ["--configurations", "4", "--seed", "2"]
    assert digest.main(drawn) == 0
    *plain, reading = capsys.readouterr().out.splitlines()
    assert not any("inputs=" in line for line in plain)
    assert "cell=cfc" in reading
    assert "inputs={'input dt': " in reading
    before = tmp_path / "before.txt"
    before.write_text("\n".join(plain), encoding="utf-8")
    assert digest.main([*drawn, "--compare", str(before)]) == 0
    assert "4 of 4 configurations agree in every bit; 1 are not in the file" in capsys.readouterr().out
    before.write_text("", encoding="utf-8")
    assert digest.main([*drawn, "--compare", str(before)]) == 1
