"""Corpora of tokens: what encoding the whole text gives, for any number of processes and through interruptions."""

import gzip
import multiprocessing
import os
import random
import shutil
import signal

import pytest

from comparing import assert_same_bits
from rondeau.data import (
    BPETokenizer,
    CharTokenizer,
    Codec,
    RegexTokenizer,
    TokenCorpus,
    Vocab,
    WordTokenizer,
    back_to_white_space,
    build_corpus,
    read_text,
)
from rondeau.data._corpus import build, shards

WORDS = ["rose", "is", "a", "thorn,", "紅樓夢", "né", "  ", "\n", "\n\n", "x" * 30, "\t"]


def text(words=700, seed=0):
    rng = random.Random(seed)
    return " ".join(rng.choice(WORDS) for _ in range(words))


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(build, "PIECE_BYTES", 200)
    monkeypatch.setattr(shards, "_PIECES", 5)
    for module in (build, shards):
        monkeypatch.setattr(module, "SAVE_EVERY", 3)


def write(path, content):
    path.write_bytes(content.encode())
    return path


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


TOKENIZERS = [
    CharTokenizer(),
    CharTokenizer("d2l"),
    WordTokenizer(),
    WordTokenizer("d2l"),
    RegexTokenizer(),
    RegexTokenizer(r"\S+|\n+"),
]


@pytest.mark.parametrize(
    ("tokenizer", "one_line"),
    [*((t, False) for t in TOKENIZERS), *((t, True) for t in TOKENIZERS[:4])],
    ids=repr,
)
def test_the_tokens_are_those_of_the_whole_text(tmp_path, tokenizer, one_line):
    whole = text().replace("\n", " ") if one_line else text()
    path = write(tmp_path / "text.txt", whole)
    corpus = build_corpus([path], tmp_path / "tokens", tokenizer, min_freq=2, held_out=0.21, workers=1)
    cut = int(0.79 * len(whole))
    if not isinstance(tokenizer, CharTokenizer):
        cut -= back_to_white_space(whole[: cut + 1])
    codec = Codec.fit(whole[:cut], tokenizer, min_freq=2)
    assert corpus.codec == codec
    assert_same_bits(corpus.train[:], codec.encode(whole[:cut]).astype(int))
    assert_same_bits(corpus.held_out[:], codec.encode(whole[cut:]).astype(int))
    assert len(corpus.stream) > 100
    assert corpus.manifest.characters == len(whole)
    assert len([name for name in corpus.manifest.files if name.endswith(".bin")]) > 1
    TokenCorpus.open(tmp_path / "tokens", verify=True)


@pytest.mark.parametrize("pattern", [r'"[^"]*"|\w+', r"(?s)\{.*?\}|\w+", r"\s*\w+"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_tokens_that_reach_over_lines(tmp_path, pattern, line_end):
    """Which depend on where the text begins: after a quotation mark, what is within and without changes places."""
    rng = random.Random(0)
    parts = ['"one\ntwo" ', "three\n", '"four"\n', "{" + "a long line\n" * 15 + "}\n"]
    whole = "\ufeff" + "".join(rng.choice(parts) for _ in range(300)).replace("\n", line_end)
    path = write(tmp_path / "text.txt", whole)
    corpus = build_corpus([path], tmp_path / "tokens", RegexTokenizer(pattern), held_out=0, workers=1)
    read = read_text(path)
    codec = Codec.fit(read, RegexTokenizer(pattern))
    assert corpus.codec == codec
    assert_same_bits(corpus.stream[:], codec.encode(read).astype(int))


def test_byte_pairs(tmp_path):
    pytest.importorskip("tokenizers")
    whole = text()
    path = write(tmp_path / "text.txt", whole)
    corpus = build_corpus([path], tmp_path / "tokens", bpe_size=300, held_out=0, workers=1)
    codec = Codec.fit(whole, BPETokenizer.train(whole, 300))
    assert corpus.codec == codec
    assert_same_bits(corpus.stream[:], codec.encode(whole).astype(int))


def test_several_files_of_several_kinds(tmp_path):
    parts = ["one\r\ntwo", "three\rfour\n", "\ufefffive 紅", "six"]
    paths = [write(tmp_path / f"{number}.txt", part) for number, part in enumerate(parts)]
    for number, (suffix, pack) in {0: (".gz", gzip.compress), 1: (".zst", None)}.items():
        if pack is None:
            pack = pytest.importorskip("zstandard", reason="needs the extra zstd").compress
        packed = paths[number].with_suffix(suffix)
        packed.write_bytes(pack(parts[number].encode()))
        paths[number] = packed
    corpus = build_corpus(paths, tmp_path / "tokens", CharTokenizer(), held_out=0, workers=1)
    expected = "one\ntwo\nthree\nfour\nfive 紅\nsix"
    assert corpus.codec.decode(corpus.stream[:]) == expected
    assert corpus.manifest.characters == len(expected)
    joined = write(tmp_path / "joined.txt", "".join(parts[:1]) + "\n" + parts[1])
    again = build_corpus([joined], tmp_path / "again", CharTokenizer(), held_out=0, workers=1)
    assert again.codec.decode(again.stream[:]) == read_text(joined)


@pytest.mark.parametrize("held_out", [0.3, 0.5, 0.7])
def test_the_cut_within_a_compressed_file_that_is_named_twice(tmp_path, held_out):
    whole = text(100)
    path = tmp_path / "text.gz"
    path.write_bytes(gzip.compress(whole.encode()))
    corpus = build_corpus([path, path], tmp_path / "tokens", CharTokenizer(), held_out=held_out, workers=1)
    twice = whole + ("" if whole.endswith("\n") else "\n") + whole
    assert corpus.codec.decode(corpus.train[:]) == twice[: len(corpus.train)]
    assert len(corpus.train) == int((1 - held_out) * len(twice))
    assert len(corpus.stream) == len(twice)


def test_line_ends_of_two_characters_are_not_cut(tmp_path):
    path = write(tmp_path / "text.txt", "ab\r\n" * 200 + "x" * 199 + "\r\n" + "y" * 500 + "\r" * 300)
    corpus = build_corpus([path], tmp_path / "tokens", CharTokenizer(), held_out=0, workers=1)
    assert corpus.codec.decode(corpus.stream[:]) == read_text(path)


def test_the_same_bytes_for_any_number_of_processes(tmp_path):
    path = write(tmp_path / "text.txt", text(300))
    for workers in (1, 2):
        build_corpus([path], tmp_path / str(workers), WordTokenizer(), workers=workers)
    assert files_of(tmp_path / "1") == files_of(tmp_path / "2")


def test_the_same_bytes_from_a_dask_cluster(tmp_path):
    distributed = pytest.importorskip("distributed", reason="needs the extra dask")
    path = write(tmp_path / "text.txt", text(300))
    alone = tmp_path / "alone"
    build_corpus([path], alone, WordTokenizer(), workers=1)
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        folder = tmp_path / "cluster"
        build_corpus([path], folder, WordTokenizer(), scheduler=cluster.scheduler_address)
    assert files_of(folder) == files_of(alone)
    with pytest.raises(OSError, match="'nowhere:at all' is not the address of a scheduler"):
        build_corpus([path], tmp_path / "none", WordTokenizer(), scheduler="nowhere:at all")


def killing(pids, after):
    """Return what kills one of the processes that `pids` returns when so many pieces are done."""
    left = [after]

    def kill(stage, done, total):
        left[0] -= stage != "read"
        if left[0] == 0:
            os.kill(pids()[0], signal.SIGKILL)

    return kill


@pytest.mark.long
def test_a_worker_of_a_cluster_that_is_killed(tmp_path):
    distributed = pytest.importorskip("distributed", reason="needs the extra dask")
    path = write(tmp_path / "text.txt", text(3000))
    build_corpus([path], tmp_path / "alone", WordTokenizer(), workers=1)
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        pids = [worker.process.pid for worker in cluster.workers.values()]
        kill = killing(lambda: pids, after=10)
        address = cluster.scheduler_address
        build_corpus([path], tmp_path / "cluster", WordTokenizer(), scheduler=address, on_progress=kill)
    assert files_of(tmp_path / "cluster") == files_of(tmp_path / "alone")


@pytest.mark.long
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="processes are killed by SIGKILL")
def test_a_process_that_is_killed(tmp_path):
    path = write(tmp_path / "text.txt", text(3000))
    build_corpus([path], tmp_path / "alone", WordTokenizer(), workers=1)
    kill = killing(lambda: [process.pid for process in multiprocessing.active_children()], after=10)
    folder = tmp_path / "tokens"
    with pytest.raises(
        RuntimeError, match=r"a process that worked on the text died, .* the same command goes on"
    ):
        build_corpus([path], folder, WordTokenizer(), workers=2, on_progress=kill)
    build_corpus([path], folder, WordTokenizer(), workers=2)
    assert files_of(folder) == files_of(tmp_path / "alone")


def test_interrupted_anywhere_it_goes_on_to_the_same_bytes(tmp_path):
    path = write(tmp_path / "text.txt", text(400))
    whole, folder = tmp_path / "whole", tmp_path / "tokens"
    told = []
    build_corpus(
        [path], whole, WordTokenizer(), workers=1, on_progress=lambda *progress: told.append(progress)
    )
    assert list(dict.fromkeys(stage for stage, _, _ in told)) == ["read", "count", "encode"]
    pieces = sum(stage != "read" for stage, _, _ in told)
    for every in (4, 7, 10):  # a note is made of every third piece
        shutil.rmtree(folder, ignore_errors=True)
        interruptions, left = 0, [0]

        def interrupt(stage, done, total, left=left):
            left[0] -= stage != "read"
            if left[0] == 0:
                raise KeyboardInterrupt

        while True:
            left[0] = every
            try:
                build_corpus([path], folder, WordTokenizer(), workers=1, on_progress=interrupt)
                break
            except KeyboardInterrupt:
                interruptions += 1
                with pytest.raises(FileNotFoundError, match="was not built to its end: give the command"):
                    TokenCorpus.open(folder)
        assert pieces // every <= interruptions <= pieces // (every - 3)
        assert files_of(folder) == files_of(whole)


@pytest.mark.parametrize("name", ["settings", "survey", "counts", "vocabulary", "shards", "../vocab"])
def test_a_build_that_was_damaged_does_not_go_on(tmp_path, name):
    path, folder = write(tmp_path / "text.txt", text(200)), tmp_path / "tokens"

    def interrupt(stage, done, total):
        if stage == ("count" if name == "counts" else "encode") and done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_corpus([path], folder, WordTokenizer(), workers=1, on_progress=interrupt)
    note = folder / "building" / f"{name}.json"
    content = note.read_bytes()
    for digit in b"23456789":  # of 1 there might come a leading 0, which is not JSON
        if (place := content.find(digit, 0, content.rfind(b'"sha256"'))) >= 0:
            note.write_bytes(content[:place] + bytes([digit ^ 1]) + content[place + 1 :])
            with pytest.raises(ValueError, match=r"\.json is (damaged|not what was written): its SHA-256 is"):
                build_corpus([path], folder, WordTokenizer(), workers=1)
    note.write_bytes(content)
    assert len(build_corpus([path], folder, WordTokenizer(), workers=1).stream) > 100


def test_a_vocabulary_of_another_text(tmp_path):
    path = write(tmp_path / "text.txt", whole := text())
    codec = Codec.fit("a rose is a rose\n", WordTokenizer(), min_freq=2)
    corpus = build_corpus([path], tmp_path / "a", codec=codec, min_freq=2, held_out=0, workers=1)
    assert corpus.codec == codec
    assert corpus.manifest.min_freq == 2
    assert_same_bits(corpus.stream[:], codec.encode(whole).astype(int))
    for codec, message in (
        (Codec(CharTokenizer(), Vocab("a rose", unk_token=None)), "'.*' is not in the vocabulary"),
        (Codec.fit("a rose", CharTokenizer()), "whose vocabulary differs"),
    ):
        error = FileExistsError if "differs" in message else ValueError
        with pytest.raises(error, match=message):
            build_corpus([path], tmp_path / "b", codec=codec, workers=1)
    with pytest.raises(TypeError, match="expected one of tokenizer and codec, got both"):
        build_corpus([path], tmp_path / "c", WordTokenizer(), codec=codec)
    with pytest.raises(TypeError, match="expected one of tokenizer, bpe_size and codec"):
        build_corpus([path], tmp_path / "c")


def test_what_was_begun_otherwise_is_not_gone_on_with(tmp_path):
    path = write(tmp_path / "text.txt", text(200))

    def interrupt(stage, done, total):
        if stage == "count":
            raise KeyboardInterrupt

    folder = tmp_path / "tokens"
    with pytest.raises(KeyboardInterrupt):
        build_corpus([path], folder, WordTokenizer(), workers=1, on_progress=interrupt)
    with pytest.raises(FileExistsError, match="beginning of another corpus, whose min_freq differs"):
        build_corpus([path], folder, WordTokenizer(), min_freq=2, workers=1)
    write(path, text(201))
    with pytest.raises(FileExistsError, match="beginning of another corpus, whose files differ"):
        build_corpus([path], folder, WordTokenizer(), workers=1)
    with pytest.raises(FileExistsError, match="holds other files"):
        build_corpus([path], tmp_path, WordTokenizer(), workers=1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"a" * 300 + b"\n" + b"b\xff\n", r"byte 0xff at offset 302 is invalid"),
        ("two".encode("utf-16"), "it looks like UTF-16"),
        ("two".encode("utf-16-le"), "50 % of it are null characters"),
    ],
)
def test_what_is_no_text(tmp_path, content, message):
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        build_corpus([path], tmp_path / "tokens", CharTokenizer(), workers=1)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="pipe is a pipe or a device, and the text is read more than once"):
        build_corpus([tmp_path / "pipe"], tmp_path / "tokens", WordTokenizer(), workers=1)


def test_a_file_that_is_cut_short(tmp_path):
    path = tmp_path / "text.gz"
    path.write_bytes(gzip.compress(text().encode())[:-20])
    with pytest.raises(ValueError, match=r"text\.gz is not a complete \.gz file"):
        build_corpus([path], tmp_path / "tokens", CharTokenizer(), workers=1)


def test_damage_is_found(tmp_path):
    path = write(tmp_path / "text.txt", text(200))
    whole, folder = tmp_path / "whole", tmp_path / "tokens"
    build_corpus([path], whole, CharTokenizer(), workers=1)

    def damaged(name, change, message, verify=True):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(whole, folder)
        content = bytearray((folder / name).read_bytes())
        change(content)
        (folder / name).write_bytes(content)
        with pytest.raises(ValueError, match=message):
            TokenCorpus.open(folder, verify=verify)

    def flip(content):
        content[len(content) // 2] ^= 1

    damaged("tokens-00000.bin", flip, r"tokens-00000\.bin is not what was written: its SHA-256 is another")
    damaged("tokens-00001.bin", bytearray.pop, "holds .* bytes, but .* were written", verify=False)
    damaged("vocab.json", flip, r"vocab\.json is not what was written", verify=False)
    damaged("stream.json", flip, r"stream\.json is not what was written", verify=False)
    damaged(
        "corpus.json",
        lambda c: c.__setitem__(slice(None), c.replace(b"0.1", b"0.2")),
        "is damaged: its SHA-256",
    )
    (folder / "corpus.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no corpus\.json: it is not a corpus of tokens"):
        TokenCorpus.open(folder)


def test_what_cannot_be_built_says_what_to_do(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("a")
    with pytest.raises(FileExistsError, match=r"a\.txt is a file; choose another folder"):
        build_corpus([path], path, CharTokenizer(), held_out=0, workers=1)
    with pytest.raises(ValueError, match="none to train on; give a longer text, or a smaller fraction"):
        build_corpus([path], tmp_path / "tokens", CharTokenizer(), held_out=0.1, workers=1)
