import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tools.precision import __main__ as command
from tools.precision.followed import followed
from tools.precision.programs import PROGRAMS, digits

from rondeau import data
from rondeau.data.datasets import Mnist
from rondeau.kernels.product.tiles import MULTIPLIES_PAIRS

needs_bfloat16 = pytest.mark.skipif(not MULTIPLIES_PAIRS, reason="the processor does not multiply bfloat16")


def rows(tmp_path: Path, *arguments: str) -> list[dict[str, Any]]:
    """Run the command and return the rows that it keeps."""
    file = tmp_path / "rows.json"
    command.main([*arguments, "--json", str(file)])
    recorded = json.loads(file.read_text())
    assert str(tmp_path) not in recorded["command"]
    assert recorded["machine"]["processor"]
    kept: list[dict[str, Any]] = recorded["rows"]
    return kept


@needs_bfloat16
def test_products_are_off_by_bfloat16_and_sums_by_float32(tmp_path: Path) -> None:
    found = {row["of"]: row for row in rows(tmp_path, "gradients", "--layers", "Linear", "--hidden", "8")}
    assert list(found) == ["input", "weight", "bias"]
    assert max(row["highest"] for row in found.values()) < 1e-5
    assert found["bias"]["medium"] == found["bias"]["highest"]
    for name in ("input", "weight"):  # both operands are off by 2**-9 at most, and by half of it as a rule
        assert 1e-4 < found[name]["medium"] < 2**-8


@needs_bfloat16
def test_a_training_is_followed_at_its_own_weights() -> None:
    tokens = np.random.default_rng(0).integers(0, 5, 4000)
    found = followed(data.TokenStream(tokens, 5), "gru", 8, 3)
    assert found["loss"] == pytest.approx(np.log(5), abs=0.2)
    assert 0 < found["mean_difference"] <= found["largest_difference"] < 1e-3
    assert 1e-4 < found["mean_error"] <= found["largest_error"] < 0.05
    assert found["largest_angle"] <= np.degrees(np.arcsin(found["largest_error"])) * 1.001


@needs_bfloat16
def test_a_program_is_trained_from_every_seed_at_both_precisions(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text(
        "\n".join(a + b for a in "bdfgklmnrst" for b in ("ada", "ina", "olo"))
    )
    flags = ["--programs", "makemore, mlp", "adding problem, GRU", "--seeds", "0", "1", "--shorten", "400"]
    for row in rows(tmp_path, "learning", str(tmp_path), *flags):
        highest, medium = row["highest"], row["medium"]
        assert len(set(highest)) == len(set(medium)) == 2
        assert row["spread"] == pytest.approx(abs(highest[0] - highest[1]))
        assert row["difference"] == pytest.approx(np.mean(medium) - np.mean(highest))
        assert 0 < abs(row["difference"]) < row["spread"]


def test_the_other_programs_end_with_a_share(tmp_path: Path) -> None:
    folder = tmp_path / "names_by_language"
    folder.mkdir()
    for language, ending in {"Czech": "ova", "Italian": "ini"}.items():
        (folder / f"{language}.txt").write_text(
            "\n".join(f"{a}{b}{ending}" for a in "BKMNRST" for b in "aeiou")
        )
    (surnames,) = (program for name, program in PROGRAMS.items() if name.startswith("surnames"))
    assert surnames.end(tmp_path, 0, 2) > 0.9
    labels = np.arange(320) % 10
    images = np.zeros((320, 28, 28), np.uint8)
    images[np.arange(320), :, 2 * labels] = 255  # a digit is a bright column
    for network in digits.NETWORKS:
        assert 0.5 < digits.accuracy(Mnist(images, labels, images, labels), network, 0, 30) <= 1


def test_a_processor_without_the_instruction_measures_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "MULTIPLIES_PAIRS", False)
    with pytest.raises(SystemExit, match=re.escape('"medium" computes as "highest" does')):
        command.main(["gradients"])
