"""``rondeau corpus build``, and runs of what it leaves: the bits of a run of the text itself."""

import json
import random
import re
import signal

import pytest

from rondeau.data import TokenCorpus
from rondeau.data._corpus import build as build_module
from rondeau.data._corpus import work
from rondeau.train import RunFolder, cli

QUICK = ["--hidden_size=8", "--batch_size=4", "--num_steps=8", "--max_steps=12", "--log_every=5"]


def rondeau(capsys, *arguments, status=0):
    assert cli.main(list(map(str, arguments))) == status
    told = capsys.readouterr()
    return told.err.strip() if status else told.out


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "rose.txt"
    rng = random.Random(0)
    path.write_text(" ".join(rng.choice(["rose", "is", "a", "thorn,", "\n"]) for _ in range(400)))
    return path


@pytest.fixture
def tokens(text, tmp_path, capsys):
    folder = tmp_path / "tokens"
    told = rondeau(capsys, "corpus", "build", text, "--output", folder, "--tokens=words", "--workers=1")
    assert re.search(r"tokens +\d+ words to train on, \d+ held out; vocabulary of 6", told)
    assert f"train {folder}" in told
    return folder


def weights_and_losses(run):
    losses = [(row["step"], row["train_loss"]) for row in RunFolder(run).rows()]
    return losses, (run / "checkpoints/step-12/weights.safetensors").read_bytes()


def test_a_run_has_the_bits_of_the_texts_own(text, tokens, tmp_path, capsys):
    rondeau(capsys, "train", tokens, *QUICK, "--output", tmp_path / "a")
    rondeau(capsys, "train", text, "--tokens=words", *QUICK, "--output", tmp_path / "b")
    assert weights_and_losses(tmp_path / "a") == weights_and_losses(tmp_path / "b")

    held_out = rondeau(capsys, "evaluate", tmp_path / "a")
    assert "the last 10 % of" in held_out
    for corpus in (text, tokens):  # one is recognised as the other
        score = rondeau(capsys, "evaluate", tmp_path / "b", corpus, "--held_out_part")
        assert score.splitlines()[1:] == held_out.splitlines()[1:]
    assert "the first 90 % of which it was trained on" in rondeau(capsys, "evaluate", tmp_path / "b", tokens)
    assert rondeau(capsys, "generate", tmp_path / "a", "--length=5", "--seed=1", "--prompt=a")


def test_a_run_goes_on_with_the_same_bits(tokens, tmp_path, capsys):
    run = tmp_path / "run"
    rondeau(capsys, "train", tokens, *QUICK, "--output", run, "--checkpoint_every=5")
    before = weights_and_losses(run)
    rondeau(capsys, "train", "--resume", run, "--checkpoint=step-10")
    assert weights_and_losses(run) == before


def test_options_that_were_settled_when_it_was_built(text, tokens, tmp_path, capsys):
    told = rondeau(capsys, "train", tokens, "--tokens=characters", *QUICK, status=2)
    assert re.search(r"--tokens: got characters, but .*tokens has words: a run takes its tokens over", told)
    assert "--held_out: got 0.2, but" in rondeau(capsys, "train", tokens, "--held_out=0.2", *QUICK, status=2)
    rondeau(capsys, "train", text, *QUICK, "--output", tmp_path / "characters")
    told = rondeau(capsys, "evaluate", tmp_path / "characters", tokens, status=2)
    assert "was built with another vocabulary than the run's" in told


def test_a_file_is_no_folder_for_tokens(text, capsys):
    told = rondeau(capsys, "corpus", "build", text, "--output", text, status=2)
    assert told == f"rondeau corpus: --output: {text} is a file; choose another folder"


def test_the_share_of_unknown_tokens_is_told(text, tmp_path, capsys):
    build = ("corpus", "build", text, "--output", tmp_path / "tokens", "--tokens=words", "--workers=1")
    told = rondeau(capsys, *build, "--min_freq=75", "--held_out=0")
    words = [*text.read_text().replace("\n", " | ").split()]
    rare = sum(words.count(word) for word in set(words) if words.count(word) < 75)
    assert 0 < rare < len(words)
    assert f"{len(words)} words to train on ({100 * rare / len(words):.3g} % <unk>), 0 held out" in told


def test_damage_is_told_in_a_line(tokens, tmp_path, capsys):
    shard = tokens / "tokens-00000.bin"
    content = bytearray(shard.read_bytes())
    content[10] ^= 1
    shard.write_bytes(content)
    told = rondeau(capsys, "train", tokens, *QUICK, "--output", tmp_path / "run", status=2)
    assert "tokens-00000.bin is not what was written: its SHA-256 is another" in told
    assert "\n" not in told
    manifest = json.loads((tokens / "corpus.json").read_text())
    (tokens / "corpus.json").write_text(json.dumps(manifest | {"train_tokens": 3}))
    told = rondeau(capsys, "train", tokens, *QUICK, status=2)
    assert "corpus.json is damaged: its SHA-256 is not the one that it holds" in told


def test_what_cannot_be_built(text, tokens, tmp_path, capsys):
    build = ("corpus", "build")
    assert "already holds a corpus" in rondeau(capsys, *build, text, "--output", tokens, status=2)
    told = rondeau(capsys, *build, text, tmp_path / "no.txt", "--output", tmp_path / "x", status=2)
    assert "there is no file" in told
    rondeau(capsys, *build, text, "--output", tmp_path / "x", "--workers=1")  # nothing was done there yet
    (tmp_path / "han.txt").write_text("床前明月光疑是地上霜\n" * 9, encoding="utf-8")
    told = rondeau(
        capsys, *build, tmp_path / "han.txt", "--output", tmp_path / "w", "--tokens=words", status=2
    )
    assert "--tokens: words are cut at white space" in told
    assert "--normalise: goes with" in rondeau(
        capsys, *build, text, "--output", tmp_path / "y", "--tokens=bpe", "--normalise=d2l", status=2
    )
    (tmp_path / "bad.txt").write_bytes(b"ab\xff")
    told = rondeau(capsys, *build, tmp_path / "bad.txt", "--output", tmp_path / "z", status=2)
    assert "bad.txt is not UTF-8: byte 0xff at offset 2 is invalid" in told


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_ends_it_with_a_line_and_it_goes_on(text, tmp_path, capsys, monkeypatch, name):
    build = ("corpus", "build", text, "--output", tmp_path / "tokens", "--tokens=words", "--workers=1")
    count = work.count_tokens
    number = getattr(signal, name)
    monkeypatch.setattr(
        build_module, "count_tokens", lambda *given: signal.raise_signal(number) or count(*given)
    )
    told = rondeau(capsys, *build, status=128 + number)
    assert told == "rondeau corpus: interrupted; the same command goes on where it was"
    monkeypatch.undo()
    assert "words to train on" in rondeau(capsys, *build)


def test_counting_goes_on_and_a_file_may_be_called_build(text, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "build").write_text(text.read_text())
    told = rondeau(capsys, "corpus", "./build", "--top=1")
    assert told.startswith("./build: ")
    assert "words: " in told


@pytest.mark.parametrize("of", ["run", "tokens"])
def test_a_corpus_with_the_vocabulary_of_a_run_is_what_that_run_goes_on_with(text, tmp_path, capsys, of):
    run, other = tmp_path / "run", tmp_path / "other.txt"
    other.write_text("a rose is no thorn, is it?\n" * 60)
    rondeau(capsys, "train", text, "--tokens=words", "--min_freq=2", *QUICK, "--output", run)
    if of == "tokens":
        rondeau(
            capsys, "corpus", "build", text, "--tokens=words", "--min_freq=2", "--output", tmp_path / "first"
        )
    vocabulary = run if of == "run" else tmp_path / "first"
    build = (
        "corpus",
        "build",
        other,
        "--output",
        tmp_path / "tokens",
        "--workers=1",
        "--vocabulary",
        vocabulary,
    )
    told = rondeau(capsys, *build)
    # "no" and "it?" of the eight tokens of a line; the last line end is held out.
    assert "431 words to train on (25.1 % <unk>), 49 held out; vocabulary of 6" in told
    assert TokenCorpus.open(tmp_path / "tokens").codec == RunFolder(run).load_codec()

    begin = ("--init_from", run, "--max_steps=12", "--batch_size=4", "--num_steps=8")
    rondeau(capsys, "train", tmp_path / "tokens", *begin, "--output", tmp_path / "a")
    rondeau(capsys, "train", other, *begin, "--output", tmp_path / "b")
    assert weights_and_losses(tmp_path / "a") == weights_and_losses(tmp_path / "b")

    told = rondeau(capsys, *build, "--tokens=characters", status=2)
    assert (
        f"--tokens: got characters, but {vocabulary} has words, and so has what is encoded with its" in told
    )


def test_a_vocabulary_that_is_none(text, tmp_path, capsys):
    build = ("corpus", "build", text, "--output", tmp_path / "x", "--vocabulary", tmp_path)
    assert f"--vocabulary: {tmp_path} is neither a run nor a folder of tokens" in rondeau(
        capsys, *build, status=2
    )
