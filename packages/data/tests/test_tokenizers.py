"""Tokenizers and codecs: what the tokens are, that text comes back, and the figures of real corpora."""

import json
import random
import re
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from comparing import assert_same_bits
from rondeau import data
from rondeau.data import (
    BPETokenizer,
    CharTokenizer,
    Codec,
    RegexTokenizer,
    Tokenizer,
    Vocab,
    WordTokenizer,
    _bpe,
    d2l_lines,
    read_text,
    read_text_chunks,
)
from rondeau.data import _tokenizers as tokenizers_module

# Letters of several scripts, combining and joined characters, controls, and every kind of white space.
edges = st.sampled_from(list("aBz é紅夢\n\n\r\t\x00\u0301\u200d👍\u2028\x85 .,'"))
characters = edges | st.characters(codec="utf-8")
texts = st.text(characters, max_size=60)

TRAINING = "a rose is a rose is a rose, 玫瑰 is 玫瑰\n" * 3


@pytest.fixture(scope="module")
def bpe():
    pytest.importorskip("tokenizers", reason="the extra bpe is not installed")
    return BPETokenizer.train(TRAINING, vocab_size=280)


@pytest.fixture(scope="module", params=["characters", "d2l characters", "words", "d2l words", "regex", "bpe"])
def tokenizer(request):
    if request.param == "bpe":
        return request.getfixturevalue("bpe")
    return {
        "characters": CharTokenizer(),
        "d2l characters": CharTokenizer(normalise="d2l"),
        "words": WordTokenizer(),
        "d2l words": WordTokenizer(normalise="d2l"),
        "regex": RegexTokenizer(r"[^\W\d]+|\d", separator="_"),
    }[request.param]


@given(text=texts)
@example(text="")
@example(text="\n")
@example(text="a\n\n b")
def test_count_and_encode_agree_with_split(tokenizer, text):
    tokens = tokenizer.split(text)
    assert +tokenizer.count(text) == Counter(tokens)
    codec = Codec.fit(text, tokenizer)
    ids = codec.encode(text)
    assert codec.vocab.to_tokens(ids) == tokens
    assert ids.dtype == codec.vocab.dtype
    assert codec.decode(ids) == tokenizer.join(tokens)
    assert "".join(codec.decode_stream(iter(ids.tolist()))) == tokenizer.join(tokens)


@given(text=texts)
def test_pieces_of_lines_give_the_tokens_of_the_whole(tokenizer, text):
    whole = tokenizer.split(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokenizers_module, "_PIECE", 3)
        patch.setattr(tokenizers_module, "_CODE_POINTS", 2)
        vocab = Vocab(tokenizer.count(text))
        assert {token: n for token, n in vocab.counts.items() if n} == Counter(whole)
        assert vocab.to_tokens(tokenizer.encode(text, vocab)) == whole


@given(text=texts)
def test_lossless_tokenizers_give_the_text_back(bpe, text):
    for tokenizer in (CharTokenizer(), RegexTokenizer(), bpe):
        assert tokenizer.join(tokenizer.split(text)) == text


@given(text=texts)
def test_words_come_back_but_for_white_space(text):
    tokenizer = WordTokenizer()
    tokens = tokenizer.split(text)
    assert "\n".join(" ".join(line.split()) for line in text.split("\n")) == tokenizer.join(tokens)
    assert tokenizer.split(tokenizer.join(tokens)) == tokens


@given(text=texts)
@example(text="x\n\x00")
def test_d2l_rule_is_its_definition(text):
    lines = text.split("\n")[:-1] if text.endswith("\n") or not text else text.split("\n")
    assert d2l_lines(text) == [re.sub("[^A-Za-z]+", " ", line).strip().lower() for line in lines]


def test_d2l_lines_are_joined_without_a_separator():
    text = "The Time\n\nMachine [1898]\n"
    assert (
        CharTokenizer(normalise="d2l").join(CharTokenizer(normalise="d2l").split(text)) == "the timemachine"
    )
    assert WordTokenizer(normalise="d2l").split(text) == ["the", "time", "machine"]
    assert WordTokenizer(normalise="d2l").join(["the", "time"]) == "the time"


def test_characters_are_code_points():
    assert CharTokenizer().split("e\u0301é👩‍👧\x00") == ["e", "\u0301", "é", "👩", "\u200d", "👧", "\x00"]


def test_regex_matches():
    assert RegexTokenizer(r"(a)|\d*").split("a12 b") == [
        "a",
        "12",
    ]  # groups do not matter; empty matches are left out
    assert RegexTokenizer(r"\w+", " ").join(["a", "b"]) == "a b"
    with pytest.raises(ValueError, match=r"'\(' is not a regular expression: missing \)"):
        RegexTokenizer("(")


def test_unknown_normalisation():
    for kind in (CharTokenizer, WordTokenizer):
        with pytest.raises(ValueError, match=r"normalise must be None or one of \['d2l'\], got 'upper'"):
            kind(normalise="upper")


@pytest.mark.parametrize("method", ["split", "count"])
def test_what_is_no_text(tokenizer, method):
    with pytest.raises(ValueError, match=r"lone surrogate, U\+D800, at character 3"):
        getattr(tokenizer, method)("ab\n\ud800")
    with pytest.raises(TypeError, match="expected text as str, got bytes"):
        getattr(tokenizer, method)(b"ab")


def test_unknown_characters():
    vocab = Vocab("abé")
    assert CharTokenizer().encode("aé夢bê👍\x00", vocab).tolist() == vocab[list("aé夢bê👍\x00")]
    strict = Vocab("abé", unk_token=None)
    assert CharTokenizer().encode("éab", strict).tolist() == strict[list("éab")]
    for text, bad in (("ab夢a", "夢"), ("abc", "c")):
        with pytest.raises(
            KeyError, match=f"the token '{bad}' is not in the vocabulary, which has no unknown token"
        ):
            CharTokenizer().encode(text, strict)
    assert CharTokenizer().encode("a", Vocab([])).tolist() == [0]


def test_reserved_tokens_do_not_come_from_characters():
    codec = Codec.fit("pad", CharTokenizer(), reserved_tokens=["<pad>"])
    assert codec.decode(codec.encode("<pad>")) == "<unk>pad<unk>"


def test_json_round_trip(tokenizer, tmp_path):
    again = Tokenizer.from_dict(json.loads(json.dumps(tokenizer.to_dict())))
    assert type(again) is type(tokenizer)
    assert again == tokenizer
    assert again.split(TRAINING) == tokenizer.split(TRAINING)
    codec = Codec.fit(TRAINING, tokenizer, min_freq=1, reserved_tokens=["<pad>"])
    codec.save(tmp_path / "vocab.json")
    loaded = Codec.load(tmp_path / "vocab.json")
    assert loaded == codec
    assert len(loaded) == len(codec.vocab)
    assert loaded.encode(TRAINING).tolist() == codec.encode(TRAINING).tolist()
    assert CharTokenizer() != CharTokenizer("d2l")


def test_json_errors():
    with pytest.raises(
        ValueError, match=r"expected 'tokenizer' to be one of .*'characters'.*, got 'letters'"
    ):
        Tokenizer.from_dict({"tokenizer": "letters"})
    with pytest.raises(
        ValueError, match=r"expected the fields \['normalise'\] of CharTokenizer, got \['size'\]"
    ):
        Tokenizer.from_dict({"tokenizer": "characters", "size": 3})
    with pytest.raises(
        ValueError, match=r"expected the fields 'tokenizer' and 'vocab' of a Codec, got \['vocab'\]"
    ):
        Codec.from_dict({"vocab": {}})


def test_bpe_merges_frequent_pairs_and_splits_han(bpe):
    first, second = bpe.split("玫瑰")
    assert [first, second] == bpe.split("玫") + bpe.split("瑰")
    assert bpe.split("a rose, 玫瑰") == ["a", "Ġrose", ",", "Ġ", first, second]
    assert bpe.split("is\na") == ["is", "Ċ", "a"]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("letters", ["a", "ab", "abcé", "a玫!' "])
def test_bpe_learns_what_its_package_learns(bpe, letters, seed):
    rng = random.Random(seed)
    words = ["".join(rng.choices(letters, k=rng.randrange(1, 9))) for _ in range(60)]
    text = " ".join(rng.choices(words, k=300))
    for vocab_size, min_frequency in ((256, 2), (270, 2), (400, 2), (400, 0), (400, 40)):
        package = pytest.importorskip("tokenizers")
        model = _bpe._untrained(package)
        trainer = package.trainers.BpeTrainer(
            vocab_size=vocab_size,
            min_frequency=min_frequency,
            initial_alphabet=package.pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        model.train_from_iterator([text], trainer)
        ours = BPETokenizer.train(text, vocab_size, min_frequency)
        assert ours.fields()["model"] == json.loads(model.to_str())


def test_bpe_counts_in_words_what_it_counts_in_text(bpe):
    assert bpe.count_in(_bpe.count_words(TRAINING)) == bpe.count(TRAINING)


# Every kind of character, those that look like another kind, and what is cut otherwise where two of them meet.
PARTS = [
    *(
        "a",
        "Z",
        "é",
        "ß",
        "ǅ",
        "ª",
        "ع",
        "เ",
        "a\u0301",
        "1",
        "²",
        "½",
        "Ⅷ",
        "〇",
        "玫",
        "瑰",
        "⺀",
        "\U00020000",
    ),
    *("!", "-", "_", "\u200d", "\ufeff", "\0", "😀", "'", "'s", "'re", "'LL", "'ll", "’s", "<unk>", "\ue000"),
    *(" ", "  ", "\t", "\r", "\n", "\x0b", "\x1c", "\x85", "\xa0", "\u2003", "\u2028", "\u3000"),
]


@given(st.lists(st.sampled_from(PARTS) | st.text(max_size=3), max_size=30).map("".join))
def test_bpe_finds_what_its_package_finds(bpe, text):
    assert_same_bits(bpe._ids(text), np.array(bpe._model.encode(text).ids, np.uint32))


def test_bpe_finds_the_same_whatever_it_remembers(bpe, monkeypatch):
    expected = np.array(bpe._model.encode(TRAINING).ids, np.uint32)
    for most, longest in ((0, 64), (3, 64), (1 << 17, 1)):
        monkeypatch.setattr(_bpe, "_MOST_KEPT", most)
        monkeypatch.setattr(_bpe, "_LONGEST_KEPT", longest)
        again = BPETokenizer(**bpe.fields())
        for _ in range(2):
            assert_same_bits(again._ids(TRAINING), expected)
        assert all(len(word) <= longest for word in again._kept)


def test_bpe_streams_whole_characters(bpe):
    assert list(bpe.stream(bpe.split("é"))) == ["", "é", ""]
    assert bpe.join(["Ã"]) == "\ufffd"
    assert bpe.join(["<unk>", "Ġrose", "<a b>"]) == "<unk> rose<a b>"


def test_bpe_vocabulary_knows_every_text(bpe):
    codec = Codec.fit(TRAINING, bpe)
    text = "nothing of this was seen: 紅樓夢 👩‍👧 \x00"
    ids = codec.encode(text)
    assert codec.vocab.unk not in ids
    assert codec.decode(ids) == text


def test_bpe_training_is_deterministic_and_takes_pieces(bpe):
    lines = TRAINING.splitlines(keepends=True)
    assert BPETokenizer.train(lines, vocab_size=280) == bpe
    assert BPETokenizer.train(TRAINING, vocab_size=280, min_frequency=100).tokens != bpe.tokens
    assert repr(bpe) == f"BPETokenizer({len(bpe.tokens)} tokens)"


def test_bpe_errors(bpe, monkeypatch):
    with pytest.raises(ValueError, match="vocab_size must be at least 256, one for each byte; got 255"):
        BPETokenizer.train(TRAINING, vocab_size=255)
    with pytest.raises(ValueError, match="lone surrogate"):
        BPETokenizer.train("\udc80", vocab_size=256)
    with pytest.raises(ValueError, match=r"expected version '1.0', as `train` leaves it, got 'none'"):
        BPETokenizer({"version": "none", "model": {}})
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(
        ModuleNotFoundError, match=r'needs the package tokenizers; .* pip install -e "\.\[bpe\]"'
    ):
        BPETokenizer.train(TRAINING, vocab_size=280)


def changed(model, place, value):
    """Return a copy of a model with another value at a place such as "model.vocab"."""
    model = json.loads(json.dumps(model))
    *outer, last = place.split(".")
    part = model
    for name in outer:
        part = part[int(name) if name.isdigit() else name]
    part[last] = value
    return model


TRUNCATION = {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 5}
PADDING = {
    "strategy": {"Fixed": 20},
    "direction": "Right",
    "pad_id": 0,
    "pad_type_id": 0,
    "pad_token": "[PAD]",
}
TEMPLATE = {
    "type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
    "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [999], "tokens": ["[CLS]"]}},
}


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("truncation", TRUNCATION, "expected truncation None, as `train` leaves it, got {'direction'"),
        ("padding", PADDING, "expected padding None"),
        ("post_processor", TEMPLATE, "expected post_processor None"),
        ("normalizer", {"type": "Lowercase"}, "expected normalizer None"),
        ("pre_tokenizer", None, "expected pre_tokenizer {'type': 'Sequence'"),
        (
            "pre_tokenizer.pretokenizers.2.add_prefix_space",
            True,
            r"pretokenizers\[2\].add_prefix_space False, as",
        ),
        ("added_tokens", [{"id": 0, "content": "!"}], r"expected added_tokens \[\]"),
        ("more", 1, "expected more None"),
        ("model", None, "model in the model must be of type dict, got NoneType"),
        ("model.type", "WordLevel", "expected model.type 'BPE'"),
        ("model.dropout", 0.5, "expected model.dropout None"),
        ("model.continuing_subword_prefix", "##", "expected model.continuing_subword_prefix None"),
        ("model.end_of_word_suffix", "</w>", "expected model.end_of_word_suffix None"),
        ("model.unk_token", "a", "expected model.unk_token None"),
        ("model.vocab", {}, "expected a token for each byte, but 256 are missing"),
        ("model.vocab", [], "vocab in the model must be of type dict, got list"),
        ("model.vocab.!", 999, r"expected the \d+ tokens of the model to be numbered from 0 on, each once"),
        ("model.vocab.!", 1, "numbered from 0 on"),
        ("model.vocab.!", -1, "numbered from 0 on"),
        ("model.vocab.!", None, "numbered from 0 on"),
        ("model.vocab.玫", 267, "expected tokens in the alphabet of bytes, got '玫'"),
        (
            "model.merges",
            [["q", "q"]],
            "expected a model of the tokenizers package: Token `qq` out of vocabulary",
        ),
        ("model.merges", [["q"]], "expected a model of the tokenizers package"),
        ("model.merges", None, "expected a model of the tokenizers package"),
    ],
)
def test_a_bpe_model_that_training_does_not_make(bpe, place, value, message, tmp_path):
    codec = Codec.fit(TRAINING, bpe)
    path = tmp_path / "codec.json"
    codec.save(path)
    assert Codec.load(path) == codec
    fields = codec.to_dict()
    if place == "model.vocab.玫":
        value = len(bpe.tokens)
    fields["tokenizer"]["model"] = changed(fields["tokenizer"]["model"], place, value)
    path.write_text(json.dumps(fields), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"codec\.json is damaged: .*{message}"):
        Codec.load(path)


def test_a_bpe_model_of_another_edition_of_the_package(bpe):
    model = bpe.fields()["model"]
    del model["model"]["ignore_merges"]
    model = changed(model, "model.a_later_setting", False)
    model["model"]["merges"] = [" ".join(pair) for pair in model["model"]["merges"]]
    assert BPETokenizer(model).split(TRAINING) == bpe.split(TRAINING)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tokenizer": {"tokenizer": ["characters"]}}, "expected 'tokenizer' to be one of"),
        ({"tokenizer": "characters"}, "fields of a Tokenizer must be of type Mapping, got str"),
        ({"tokenizer": {"tokenizer": "characters", "normalise": {}}}, "normalise must be None or one of"),
        ({"tokenizer": {"tokenizer": "regex", "pattern": 5, "separator": ""}}, "pattern must be of type str"),
        (
            {"tokenizer": {"tokenizer": "regex", "pattern": "(", "separator": ""}},
            "is not a regular expression",
        ),
        ({"tokenizer": {"tokenizer": "bpe", "model": 3}}, "model must be of type dict, got int"),
        ({"vocab": None}, "fields of a Vocab must be of type Mapping, got NoneType"),
        ({"vocab": {"tokens": []}}, "expected the fields"),
    ],
)
def test_a_damaged_codec_is_named(fields, message, tmp_path):
    if "bpe" in str(fields):
        pytest.importorskip("tokenizers")
    path = tmp_path / "codec.json"
    path.write_text(json.dumps(Codec.fit("ab", CharTokenizer()).to_dict() | fields), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"codec\.json is damaged: .*{message}"):
        Codec.load(path)


def test_a_tokenizer_of_ones_own():
    class Pairs(Tokenizer):
        name = "pairs"

        def split(self, text):
            return [text[i : i + 2] for i in range(0, len(text), 2)]

        def stream(self, tokens):
            return iter(tokens)

        def fields(self):
            return {}

    try:
        codec = Codec.fit("abab", Pairs())
        assert codec.encode("ab?").tolist() == [1, 0]
        assert Codec.from_dict(codec.to_dict()) == codec
    finally:
        del Tokenizer._kinds["pairs"]


def test_time_machine(real_data):
    text = read_text(real_data("timemachine.txt"))
    assert len(d2l_lines(text)) == 3221
    characters = Codec.fit(text, CharTokenizer(normalise="d2l"))
    assert len(characters.encode(text)) == 170_580
    assert len(characters) == 28  # 27 and <unk>
    words = Codec.fit(text, WordTokenizer(normalise="d2l"))
    ids = words.encode(text)
    assert len(ids) == 32_775
    assert len(words) == 4580  # 4,579 and <unk>
    assert list(words.vocab.counts.items())[1:4] == [("the", 2261), ("i", 1267), ("and", 1245)]
    assert data.count_ngrams(ids, 2).most_common(1, words.vocab) == [(("of", "the"), 309)]


def test_tiny_shakespeare(real_data):
    path = real_data("tinyshakespeare.txt")
    text = read_text(path)
    codec = Codec.fit(text, CharTokenizer(), order="token", unk_token=None)
    ids = codec.encode(text)
    assert len(ids) == 1_115_394
    assert codec.vocab.tokens == tuple(sorted(set(text)))
    assert len(codec) == 65
    assert codec.decode(ids) == text
    chunks = [codec.encode(chunk) for chunk in read_text_chunks(path, 100_000)]
    assert_same_bits(np.concatenate(chunks), ids)


def test_names(real_data):
    names = read_text(real_data("names.txt")).split("\n")
    assert len(names) == 32_033
    assert {min(map(len, names)), max(map(len, names))} == {2, 15}
    codec = Codec.fit(names, CharTokenizer())
    assert len(codec) == 27  # 26 letters and <unk>
    assert [codec.decode(codec.encode(name)) for name in names[:3]] == ["emma", "olivia", "ava"]


def test_accents_of_surnames(real_data):
    text = read_text(real_data("names_by_language/Polish.txt"))
    codec = Codec.fit(text, CharTokenizer())
    assert any(ord(token) > 127 for token in codec.vocab.tokens[1:])
    assert codec.decode(codec.encode(text)) == text
