"""Control characters of a text are shown on a terminal, never sent to it."""

import errno
import io
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout

import pytest

from rondeau.train import cli
from rondeau.train._showing import visible, write

ESCAPE = "\x1b]0;owned\x07\x1b[31m"
SHOWN = r"\x1b]0;owned\x07\x1b[31m"
QUICK = ["--hidden_size=4", "--batch_size=2", "--num_steps=8", "--max_steps=1"]


def rondeau(*arguments, module="rondeau", **options):
    return subprocess.run(
        [sys.executable, "-m", module, *arguments], stderr=subprocess.PIPE, timeout=300, **options
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A model of control characters, the file it learned them from, whose name holds some too, and what was said."""
    folder = tmp_path_factory.mktemp("run")
    corpus = folder / f"{ESCAPE}.txt"
    corpus.write_text(f"{ESCAPE}a\tb\n" * 40, encoding="utf-8")
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        assert cli.main(["train", str(corpus), *QUICK, f"--output={folder / 'run'}"]) == 0
    return folder / "run", corpus, said.getvalue()


def is_clean(text):
    return not any(
        ord(character) < 32 or 127 <= ord(character) < 160 for character in text if character != "\n"
    )


def test_visible():
    assert visible("".join(map(chr, range(256)))).isprintable() is False  # line ends and tabs remain
    assert is_clean(visible("".join(map(chr, range(256)))).replace("\t", ""))
    assert visible("\x1b[0m\r\x9b\x7f\n\t紅") == r"\x1b[0m\x0d\x9b\x7f" + "\n\t紅"


def test_training_shows_names_and_samples(run):
    assert is_clean(run[2])
    assert f"{SHOWN}.txt: " in run[2]
    assert is_clean((run[0] / "samples.txt").read_text(encoding="utf-8").replace("\t", ""))


def test_generate_shows_on_a_terminal_and_writes_the_text_itself_elsewhere(run, capsys, monkeypatch):
    arguments = ["generate", str(run[0]), f"--prompt={ESCAPE}", "--length=0"]
    assert cli.main(arguments) == 0
    assert capsys.readouterr().out == f"{ESCAPE}\n"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert cli.main(arguments) == 0
    assert capsys.readouterr().out == f"{SHOWN}\n"


def test_tables_and_mistakes_show_them(run, capsys):
    assert cli.main(["corpus", str(run[1]), "--tokens=characters"]) == 0
    out = capsys.readouterr().out
    assert is_clean(out)
    assert f"{SHOWN}.txt: " in out
    assert r"'\x1b'" in out
    assert cli.main(["evaluate", str(run[0]), str(run[1])]) == 0
    assert is_clean(capsys.readouterr().out)
    for mistake in (
        ["train", f"{ESCAPE}\n"],
        ["generate", ESCAPE],
        [ESCAPE],
        ["train", f"--lr={ESCAPE}"],
        ["train", f"--output={run[1]}", str(run[1]), *QUICK],
        ["generate", str(run[0]), "--prompt=\x1bé"],
    ):
        assert cli.main(mistake) == 2, mistake
        err = capsys.readouterr().err
        assert is_clean(err), mistake
        assert err.count("\n") == 1


def test_an_encoding_that_lacks_a_character(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr(sys, "stdout", stream)
    write("é 紅 \ud800 \x1b\n")
    assert stream.buffer.getvalue() == "é \\u7d05 \\ud800 \x1b\n".encode("latin-1")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_full_disk_behind_the_output():
    with open("/dev/full", "wb") as full:
        done = rondeau("--help", stdout=full)
    assert (done.returncode, done.stderr) == (1, b"rondeau: No space left on device; free space there\n")


@pytest.mark.parametrize("arguments", [[], ["train", "--help"], ["--version"]], ids=str)
def test_help_whose_reader_left_is_silent(arguments):
    read, write = os.pipe()
    os.close(read)
    done = rondeau(*arguments, stdout=write)
    os.close(write)
    assert done.stderr == b""


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "; free space there or choose another --output"),
        (errno.EACCES, "; choose another --output"),
        (errno.ENOTDIR, "; choose another --output"),
    ],
)
def test_what_helps_depends_on_what_the_system_refused(number, advice, monkeypatch, capsys):
    from rondeau.train._commands import train

    def fail(argv):
        raise OSError(number, os.strerror(number), "runs/x")

    monkeypatch.setattr(train, "run", fail)
    assert cli.main(["train"]) == 1
    assert capsys.readouterr().err == f"rondeau train: runs/x: {os.strerror(number)}{advice}\n"
