"""Vocabularies: order, look-ups both ways, unknown tokens, JSON."""

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rondeau import tensor as rt
from rondeau.data import Codec, Vocab, WordTokenizer

ROSE = ["a", "rose", "is", "a", "rose", "is", "a", "rose"]
counts = st.dictionaries(st.text(min_size=1, max_size=3), st.integers(0, 5), max_size=20)


def test_order_is_unknown_reserved_frequency_then_token():
    vocab = Vocab(["b", "a", "c", "a", "b", "d", "é", "👍"], reserved_tokens=["<pad>", "<bos>"])
    assert vocab.tokens == ("<unk>", "<pad>", "<bos>", "a", "b", "c", "d", "é", "👍")
    assert list(vocab) == list(vocab.tokens)
    assert vocab.counts["a"] == 2
    assert vocab.counts["<pad>"] == 0


def test_order_by_token():
    vocab = Vocab("hello world", order="token", unk_token=None)
    assert vocab.tokens == tuple(sorted(set("hello world")))
    assert vocab.unk is None


def test_tokens_lines_and_counts_give_the_same():
    lines = [["a", "rose"], [], ["is", "a", "rose"], ["is", "a", "rose"]]
    assert Vocab(ROSE) == Vocab(iter(ROSE)) == Vocab(lines) == Vocab([(), *lines]) == Vocab(Counter(ROSE))
    assert Vocab(ROSE) != Vocab(ROSE, min_freq=3)
    assert Vocab([]).tokens == ("<unk>",)


def test_min_freq():
    assert Vocab(ROSE, min_freq=3).tokens == ("<unk>", "a", "rose")
    assert Vocab(ROSE, min_freq=4).tokens == ("<unk>",)
    assert Vocab(ROSE, 4, ["is"]).tokens == ("<unk>", "is")


def test_a_reserved_token_of_the_corpus_keeps_its_count_and_its_place():
    vocab = Vocab(ROSE, reserved_tokens=["is"])
    assert vocab.tokens == ("<unk>", "is", "a", "rose")
    assert vocab.counts == {"<unk>": 0, "is": 2, "a": 3, "rose": 3}


def test_look_ups():
    vocab = Vocab(ROSE)
    assert len(vocab) == 4
    assert vocab["rose"] == 2
    assert vocab["tulip"] == vocab.unk == 0
    assert vocab[["rose", ["a", "tulip"]]] == [2, [1, 0]]
    assert "rose" in vocab
    assert "tulip" not in vocab
    assert vocab.to_tokens(2) == "rose"
    assert vocab.to_tokens(np.uint8(2)) == "rose"
    assert vocab.to_tokens([2, [1]]) == ["rose", ["a"]]
    assert vocab.to_tokens(np.array([2, 1], np.uint8)) == ["rose", "a"]
    indices = vocab.indices(iter(["rose", "tulip"]))
    assert indices.tolist() == [2, 0]
    assert indices.dtype == np.uint8


def test_a_look_up_of_an_unknown_token_does_not_make_it_known():
    vocab = Vocab(ROSE)
    vocab.indices(["tulip"])
    assert "tulip" not in vocab
    assert len(vocab) == 4


@pytest.mark.parametrize(
    ("size", "dtype"), [(255, np.uint8), (256, np.uint8), (257, np.uint16), (65537, np.uint32)]
)
def test_smallest_type(size, dtype):
    vocab = Vocab({str(i): 1 for i in range(size)}, unk_token=None)
    assert vocab.dtype == dtype
    assert vocab.indices(vocab.tokens).tolist() == list(range(size))


def test_errors():
    vocab = Vocab(ROSE)
    for index in (-1, 4):
        with pytest.raises(IndexError, match=f"expected an index from 0 to 3 .* got {index}"):
            vocab.to_tokens(index)
    with pytest.raises(TypeError, match="expected a token or a list of tokens, got int: 3"):
        vocab[3]
    with pytest.raises(
        KeyError, match="the token 'tulip' is not in the vocabulary, which has no unknown token"
    ):
        Vocab(ROSE, unk_token=None)["tulip"]
    with pytest.raises(ValueError, match="the token '<pad>' is reserved twice"):
        Vocab(ROSE, reserved_tokens=["<pad>", "<pad>"])
    with pytest.raises(ValueError, match="the token '<unk>' is reserved twice"):
        Vocab(ROSE, reserved_tokens=["<unk>"])
    with pytest.raises(
        TypeError, match="reserved_tokens must be a sequence of tokens, got the string '<pad>'"
    ):
        Vocab(ROSE, reserved_tokens="<pad>")
    with pytest.raises(TypeError, match="tokens must be strings, got int: 7"):
        Vocab({7: 1})
    with pytest.raises(ValueError, match="min_freq must be 0 or more, got -1"):
        Vocab(ROSE, min_freq=-1)
    with pytest.raises(ValueError, match="order must be 'frequency' or 'token', got 'random'"):
        Vocab(ROSE, order="random")


@given(counts, st.integers(0, 3), st.sampled_from([None, "<unk>"]), st.sampled_from(["frequency", "token"]))
def test_both_ways_and_json(counts, min_freq, unk_token, order):
    vocab = Vocab(counts, min_freq, ["<pad>"], unk_token=unk_token, order=order)
    special = {"<pad>", unk_token} - {None}
    assert set(vocab.tokens) == special | {token for token, count in counts.items() if count >= min_freq}
    assert vocab[vocab.to_tokens(range(len(vocab)))] == list(range(len(vocab)))
    ordinary = [vocab.counts[token] for token in vocab.tokens[len(special) :]]
    if order == "frequency":
        assert ordinary == sorted(ordinary, reverse=True)
    again = Vocab.from_dict(json.loads(json.dumps(vocab.to_dict())))
    assert again == vocab
    assert (again.tokens, again.counts, again.unk, again.dtype) == (
        vocab.tokens,
        vocab.counts,
        vocab.unk,
        vocab.dtype,
    )


def test_save_and_load(tmp_path):
    vocab = Vocab('紅樓夢\n\x00\u2028👍e\u0301"\\', reserved_tokens=["<pad>"])
    vocab.save(tmp_path / "vocab.json")
    assert Vocab.load(tmp_path / "vocab.json") == vocab
    assert "紅" in (tmp_path / "vocab.json").read_text(encoding="utf-8")


def test_load_errors_name_the_file(tmp_path):
    path = tmp_path / "vocab.json"
    path.write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"vocab\.json is not JSON"):
        Vocab.load(path)
    path.write_text("[]", encoding="utf-8")
    with pytest.raises(ValueError, match=r"vocab\.json: expected a JSON object with the fields .*, got list"):
        Vocab.load(path)
    with pytest.raises(ValueError, match=r"expected the fields .* of a Vocab, got \[\]"):
        Vocab.from_dict({})
    with pytest.raises(ValueError, match="got 1 tokens, 2 counts and unk_token None"):
        Vocab.from_dict({"tokens": ["a"], "counts": [1, 2], "unk_token": None})
    with pytest.raises(ValueError, match="got 1 tokens, 1 counts and unk_token 'b'"):
        Vocab.from_dict({"tokens": ["a"], "counts": [1], "unk_token": "b"})


DEEP = "[" * 100_000
DAMAGED = {
    "deep": DEEP,
    "long number": '{"unk_token": null, "tokens": [], "counts": [' + "1" * 5000 + "]}",
    "not UTF-8": b'{"unk_token": "\xff"}',
    "empty": "",
    "token": {"tokens": [3, "a"]},
    "nested token": {"tokens": [["<unk>"], "a"]},
    "surrogate": {"tokens": ["<unk>", "\ud800"]},
    "twice": {"tokens": ["<unk>", "<unk>"]},
    "no list": {"tokens": {"a": 1, "b": 2}},
    "text": {"tokens": "ab"},
    "null": {"counts": None},
    "count": {"counts": [0, -1]},
    "no count": {"counts": [0, True]},
    "half": {"counts": [0, 1.5]},
    "infinite": {"counts": [0, float("inf")]},
    "huge": {"counts": [0, 10**30]},
    "unknown": {"unk_token": ["<unk>"]},
    "no unknown": {"unk_token": 0},
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_named(damage, tmp_path):
    path = tmp_path / "vocab.json"
    if isinstance(damage, dict):
        damage = json.dumps({"unk_token": "<unk>", "tokens": ["<unk>", "a"], "counts": [0, 3]} | damage)
    path.write_bytes(damage.encode() if isinstance(damage, str) else damage)
    with pytest.raises(ValueError, match=rf"^{path}(:| is) ") as raised:
        Vocab.load(path)
    assert len(str(raised.value)) < 600


def test_what_cannot_be_written_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "vocab.json"
    Vocab(ROSE).save(path)

    def full(self, content):
        with self.open("wb") as file:
            file.write(content[:5])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(path), "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        Vocab("another").save(path)
    assert Vocab.load(path) == Vocab(ROSE)
    assert [file.name for file in tmp_path.iterdir()] == ["vocab.json"]


def test_tokens_that_no_file_can_hold():
    with pytest.raises(
        ValueError, match=r"tokens must be Unicode, got 'a\\ud800', which holds a lone surrogate"
    ):
        Vocab(["a\ud800"])
    with pytest.raises(ValueError, match="lone surrogate"):
        Vocab("abc", unk_token="\udcff")


@pytest.mark.parametrize(
    "kind",
    [list, tuple, np.array, rt.tensor, lambda row: np.array(row, np.uint8), lambda row: map(rt.tensor, row)],
)
def test_indices_of_every_kind(kind):
    vocab = Vocab(ROSE)
    assert vocab.to_tokens(kind([1, 3])) == ["a", "is"]
    codec = Codec(WordTokenizer(), vocab)
    assert codec.decode(kind([1, 3])) == "a is"
    assert list(codec.decode_stream(kind([1, 3]))) == ["a", " is"]
    assert codec.decode(kind([])) == ""


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        (np.array(1), r"a row of integers, got shape \(\); give a list of it"),
        (rt.tensor(1), r"a row of integers, got shape \(\); give a list of it"),
        (np.array([[1, 2]]), r"a row of integers, got shape \(1, 2\); give one row at a time"),
        ([[1, 2]], r"expected an index or a sequence of indices, got list"),
        (np.array([0.5]), "expected an index or a sequence of indices, got float: 0.5"),
        (np.array([True]), "expected an index or a sequence of indices, got bool"),
        ([None], "got NoneType"),
        ("12", "got str: '1'"),
    ],
)
def test_indices_that_are_none(indices, message):
    codec = Codec(WordTokenizer(), Vocab(ROSE))
    for decode in (codec.decode, lambda row: list(codec.decode_stream(row))):
        with pytest.raises(TypeError, match=message):
            decode(indices)


def test_nested_indices_and_single_ones():
    vocab = Vocab(ROSE)
    for one in (1, np.int64(1), np.array(1), rt.tensor(1)):
        assert vocab.to_tokens(one) == vocab.token(one) == "a"
    for rows in ([[1], [2, 3]], (np.array([1]), rt.tensor([2, 3]))):
        assert vocab.to_tokens(rows) == [["a"], ["rose", "is"]]
    assert vocab[np.array([["a", "is"], ["rose", "?"]])] == [[1, 3], [2, 0]]
    with pytest.raises(TypeError, match="expected a token or a list of tokens, got int: 3; to_tokens gives"):
        vocab[np.array([3])]


def test_repr():
    assert repr(Vocab(ROSE)) == "Vocab(4 tokens: '<unk>', 'a', 'rose', 'is')"
    assert repr(Vocab("abcdefgh")).endswith("'e', ...)")
