"""From a text to its two parts: what is fitted on the part to train on, and what is refused."""

import numpy as np
import pytest

from rondeau.data import BPETokenizer, RegexTokenizer, WordTokenizer
from rondeau.train._corpus import count_unknown, make_codec, share, split_stream, split_text
from rondeau.train._options import TextOptions
from rondeau.train._usage_error import UsageError

TEXT = "to be, or  not\n to be\n\nthat is the question " * 6 + "whether 'tis nobler\nin the mind"


def tokenizers():
    yield "words", WordTokenizer()
    yield "regex", RegexTokenizer()
    pytest.importorskip("tokenizers")
    yield "bpe", BPETokenizer.train(TEXT, 300)


@pytest.mark.parametrize("held_out", [0.02, 0.05, 0.1, 0.3, 0.5])
def test_the_parts_have_the_tokens_of_the_whole(held_out):
    for tokens, tokenizer in tokenizers():
        train, rest = split_text(TEXT, TextOptions(tokens=tokens, held_out=held_out))
        assert train + rest == TEXT
        assert tokenizer.split(train) + tokenizer.split(rest) == tokenizer.split(TEXT), tokens
        assert abs(len(rest) - held_out * len(TEXT)) < 12


def test_characters_and_what_has_no_white_space_are_cut_where_the_fraction_says():
    assert split_text("abc def ghi", TextOptions(held_out=0.2)) == ("abc def ", "ghi")
    assert split_text("x" * 1000, TextOptions(tokens="bpe", held_out=0.25)) == ("x" * 750, "x" * 250)
    assert split_text("a bc", TextOptions(tokens="words", held_out=0)) == ("a bc", "")


def test_vocabulary_is_that_of_the_part_to_train_on():
    options = TextOptions(tokens="words", held_out=0.1)
    codec = make_codec(split_text(TEXT, options)[0], options)
    train, held_out = split_stream(TEXT, codec, options)
    assert "nobler" not in codec.vocab
    assert codec.decode(held_out[:]) == "<unk> <unk> <unk>\n<unk> the <unk>"
    assert [count_unknown(part, codec) for part in (train, held_out)] == [0, 5]
    assert share(5, len(held_out)) == "71.4 %"
    assert codec.vocab.counts["\n"] == np.count_nonzero(train[:] == codec.vocab["\n"])


def test_merges_are_those_of_the_part_to_train_on():
    pytest.importorskip("tokenizers")
    text = "ab " * 300 + "xy" * 100
    options = TextOptions(tokens="bpe", bpe_size=400, held_out=0.18)
    codec = make_codec(split_text(text, options)[0], options)
    assert "Ġab" in codec.vocab
    assert "xy" not in codec.vocab
    assert count_unknown(split_stream(text, codec, options)[1], codec) == 0, "every byte is a token"


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("滿紙荒唐言,一把辛酸淚!都云作者癡,誰解其中味?\n" * 9, {"tokens": "words"}, "has none .* 9 words of 24"),
        ("床前明月光\n疑是地上霜\n", {"tokens": "words"}, "would give 2 words of 5 characters on average"),
        ("ณ บัดนั้นมีผู้คนมากมายอยู่ที่นี่", {"tokens": "words"}, "give --tokens characters or bpe"),
        ("123 456", {"tokens": "words", "normalise": "d2l"}, "no token is left .* --tokens words, --normalise d2l$"),
        ("a b c", {"tokens": "words", "min_freq": 2}, "no token is left of the text, .* --min_freq 2$"),
    ],
)  # fmt: skip
def test_texts_that_the_tokens_do_not_suit(text, options, message):
    with pytest.raises(UsageError, match=f"--tokens: .*{message}"):
        make_codec(text, TextOptions(**options))


def test_words_of_a_script_without_spaces_that_were_separated():
    text = "滿紙 荒唐 言 , 一把 辛酸 淚 !\n"
    assert "荒唐" in make_codec(text, TextOptions(tokens="words")).vocab
    assert "Donaudampfschifffahrt" in make_codec("Donaudampfschifffahrt\n", TextOptions(tokens="words")).vocab


def test_a_fraction_that_leaves_nothing():
    with pytest.raises(UsageError, match=r"--held_out: 0.9 of 5 characters leaves none to train on"):
        split_text("short", TextOptions(held_out=0.9))
    for fraction in (1, -0.1, float("nan")):
        with pytest.raises(UsageError, match="--held_out: expected a fraction from 0 to below 1"):
            split_text("short", TextOptions(held_out=fraction))
