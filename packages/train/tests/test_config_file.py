"""Files of options: what is wrong in them is told with the file and the line, at once."""

import pytest

from rondeau.train import cli
from rondeau.train._config_file import check_config_file

OPTIONS = "expected a YAML file of options, one a line, such as 'lr: 0.01'"
SWEEPS = "a file with ranges or choices, such as 'lr: {log: [1e-4, 1e-2]}', is for `rondeau sweep`"
ONE = f"expected one value, got %s; {SWEEPS}"
BOMB = "a: &a [x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)  # fmt: skip

WRONG = {
    "hiden_size: 3\n": "line 1: there is no option 'hiden_size'; did you mean hidden_size?",
    "lr: 0.1\nconfig: other.yaml\n": "line 2: there is no option 'config'",
    "lr: 0.1\n\nlr: 0.2\n": "line 3: the option lr is there twice; leave one of them out",
    "lr: 0.1\nseed: [3\n": f"line 2: seed: {ONE % 'a list'}",
    'seed: 1\nlr: "0.1\n': "line 3: found unexpected end of stream",
    "\tlr: 3": "line 1: found character '\\t' that cannot start any token",
    "lr: 0.1\n\x1b[31mseed: 3\n": "line 2: a file of options holds no U+001B",
    "only words": f"line 1: {OPTIONS}",
    "": f"line 1: {OPTIONS}",
    "- 1\n- 2\n": f"line 1: {OPTIONS}",
    "lr: {a: 1}\n": f"line 1: lr: {ONE % 'a mapping'}",
    "max_iters: 3\n": "line 1: there is no option 'max_iters'; did you mean max_steps?",
    "lr: 0.1\n---\nlr: 0.2\n": f"line 2: {OPTIONS}",
    "seed: 1\nlr: !!python/object/apply:os.system [ls]\n": f"line 2: {OPTIONS}",
    "seed: &s 1\nlr: *s\n": f"line 2: {OPTIONS}",
    BOMB: f"line 1: a: {ONE % 'a list'}",
    "[" * 100_000: f"line 1: {OPTIONS}",
}


@pytest.mark.parametrize("content", WRONG, ids=range(len(WRONG)))
def test_what_is_no_file_of_options(content, tmp_path, capsys):
    path = tmp_path / "mine.yaml"
    path.write_text(content, encoding="utf-8")
    assert cli.main(["train", f"--config={path}", f"--output={tmp_path / 'run'}"]) == 2
    assert capsys.readouterr().err == f"rondeau train: {path}, {WRONG[content]}\n".replace("\\t", "\\t")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"lr: 0.1 # \xff\n", "is not UTF-8: byte 0xff at offset 10"),
        (b"#" * 2_000_000, "is not a file of options: it has more than 1,048,576 bytes"),
    ],
    ids=["encoding", "size"],
)
def test_bytes_that_are_none(content, message, tmp_path, capsys):
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    assert cli.main(["train", "--config", str(path)]) == 2
    assert capsys.readouterr().err == f"rondeau train: {path} {message}\n"


def test_files_that_cannot_be_read(tmp_path, capsys):
    for path in (tmp_path, tmp_path / "nowhere.yaml"):
        assert cli.main(["train", "--config", str(path)]) == 2
        assert capsys.readouterr().err.startswith(f"rondeau train: cannot read the options: {path}: ")
    assert cli.main(["train", "corpus.txt", "--config"]) == 2
    assert capsys.readouterr().err == "rondeau train: --config: expected one argument\n"


@pytest.mark.parametrize(
    "content", ["{lr: 0.1, seed: 3}", "\ufefflr: 0.1\r\nseed: null\r\n", "# mine\nseed: 'x'\n"]
)
def test_other_ways_to_write_options(content, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_bytes(content.encode())
    check_config_file(path, {"lr", "seed"})
