"""Arguments of a wrong type are refused at the door, in our own words."""

import numpy as np
import pytest

from rondeau import data

NO_INTEGERS = [None, "3", 2.5, [3], True, 1j]
NO_PATHS = [None, 3, 2.5, ["a"], b"a"]
RAGGED = [[1], [2, 3]]

VOCAB, STREAM = data.Vocab("abc"), data.TokenStream([0, 1, 2] * 40)
CODEC = data.Codec(data.CharTokenizer(), VOCAB)
TOKENIZERS = [data.CharTokenizer(), data.WordTokenizer(), data.RegexTokenizer()]


def sampler_state(**changes):
    return {**data.SequentialBatches(STREAM, 2, 5).state_dict(), **changes}


@pytest.mark.parametrize("wrong", NO_INTEGERS, ids=repr)
@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda n: data.Vocab("abc", n), "min_freq"),
        (lambda n: data.Vocab({"a": n}), "the count of 'a'"),
        (lambda n: data.Vocab.from_dict({**VOCAB.to_dict(), "counts": [n] * 4}), "a count"),
        (lambda n: data.TokenStream([0, 1], "3" if n is None else n), "vocab_size"),
        (lambda n: STREAM[n], "position"),
        (lambda n: STREAM.windows([0], n), "length"),
        (STREAM.chunks, "size"),
        (lambda n: STREAM.chunks(1, n), "overlap"),
        (lambda n: STREAM.section(n, 2), "start"),
        (lambda n: STREAM.section(0, n), "stop"),
        (lambda n: data.TokenStream.write("folder", [], n), "vocab_size"),
        (lambda n: data.TokenStream.write("folder", [], 2, n), "shard_tokens"),
        (lambda n: data.SequentialBatches(STREAM, n, 5), "batch_size"),
        (lambda n: data.RandomBatches(STREAM, 2, n), "num_steps"),
        (lambda n: data.RandomBatches(STREAM, 2, 5, seed=n), "seed"),
        (lambda n: data.SequentialBatches(STREAM, 2, 5, offset="1" if n is None else n), "offset"),
        (
            lambda n: data.SequentialBatches(STREAM, 2, 5).load_state_dict(sampler_state(seed=n)),
            "seed in the state",
        ),
        (
            lambda n: data.SequentialBatches(STREAM, 2, 5).load_state_dict(sampler_state(epoch=n)),
            "epoch in the state",
        ),
        (
            lambda n: data.SequentialBatches(STREAM, 2, 5).load_state_dict(sampler_state(batch=n)),
            "batch in the state",
        ),
        (lambda n: data.count_ngrams(STREAM, n), "n"),
        (lambda n: data.count_ngrams(STREAM, 1).most_common(n, VOCAB), "number"),
        (lambda n: data.fit_zipf([3, 2, 1], n), "first_rank"),
        (lambda n: data.fit_zipf([3, 2, 1], 1, "2" if n is None else n), "last_rank"),
        (lambda n: data.NgramModel(STREAM, n), "order"),
        (lambda n: data.read_text_chunks("file", n), "chunk_bytes"),
    ],
)
def test_what_is_no_integer(call, name, wrong):
    with pytest.raises(TypeError, match=f"^{name} must be an integer, got"):
        call(wrong)


@pytest.mark.parametrize(
    "beyond", [2**63, 10**30, np.uint64(2**64 - 1), 10**5000], ids=["2**63", "10**30", "uint64", "long"]
)
@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda n: data.Vocab("abc", n), "min_freq"),
        (lambda n: data.Vocab({"a": n}), "the count of 'a'"),
        (lambda n: data.Vocab.from_dict({**VOCAB.to_dict(), "counts": [n] * 4}), "a count"),
        (lambda n: data.TokenStream([0, 1], n), "vocab_size"),
        (lambda n: STREAM[n], "position"),
        (lambda n: STREAM[:n], "the bound of a slice"),
        (lambda n: STREAM.windows([0], n), "length"),
        (lambda n: STREAM.windows([n], 1), "starts"),
        (STREAM.chunks, "size"),
        (lambda n: STREAM.chunks(1, n), "overlap"),
        (lambda n: STREAM.section(n, 2), "start"),
        (lambda n: STREAM.section(0, n), "stop"),
        (lambda n: data.TokenStream.write("folder", [], n), "vocab_size"),
        (lambda n: data.TokenStream.write("folder", [], 2, n), "shard_tokens"),
        (lambda n: data.SequentialBatches(STREAM, n, 5), "batch_size"),
        (lambda n: data.RandomBatches(STREAM, 2, n), "num_steps"),
        (
            lambda n: data.RandomBatches(STREAM, 2, 5, seed=n << 80 if isinstance(n, int) else 1 << 200),
            "seed",
        ),
        (lambda n: data.SequentialBatches(STREAM, 2, 5, offset=n), "offset"),
        (lambda n: data.RandomBatches(STREAM, 2, 5, offset=0, order=[n, 1]), "order"),
        (lambda n: data.count_ngrams(STREAM, n), "n"),
        (lambda n: data.count_ngrams(STREAM, 1).most_common(n, VOCAB), "number"),
        (lambda n: data.fit_zipf([3, 2, 1], n), "first_rank"),
        (lambda n: data.fit_zipf([3, 2, 1], 1, n), "last_rank"),
        (lambda n: data.NgramModel(STREAM, n), "order"),
        (
            lambda n: data.NgramModel(STREAM, 1, add_k=float("inf") if np.isscalar(n) and n < 10**400 else n),
            "add_k",
        ),
        (lambda n: data.read_text_chunks("file", n), "chunk_bytes"),
        (lambda n: data.DataLoader([1, 2], n), "batch_size"),
        (lambda n: data.DataLoader([1, 2], num_workers=n), "num_workers"),
        (lambda n: data.DataLoader([1, 2], num_workers=1, prefetch_factor=n), "prefetch_factor"),
        (lambda n: data.BucketBatches([1, 2], n), "batch_size"),
        (lambda n: data.BucketBatches([1, 2], max_tokens=n), "max_tokens"),
        (lambda n: data.BucketBatches([1, n], 1), "lengths"),
        (lambda n: data.BucketBatches([1, 2], 1).set_epoch(n), "epoch"),
        (lambda n: data.Subset([1, 2], [n]), "indices"),
        (lambda n: data.random_split([1, 2], [n, 0]), "a length"),
        (lambda n: data.TokenStream([n]), "tokens"),
    ],
)
def test_numbers_beyond_their_range(call, name, beyond):
    with pytest.raises(ValueError, match=f"^({name}) must be "):
        call(beyond)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: STREAM.windows([2**63 - 1], 2), IndexError, "begin between 0 and 118 .* starts from 92233720368"),
        (lambda: STREAM.windows([0], 2**62), IndexError, "windows of 4611686018427387904 tokens do not fit in"),
        (lambda: STREAM.windows([0, -(2**63)], 2), IndexError, "got starts from -9223372036854775808 to 0"),
        (lambda: data.NgramModel(STREAM, 10**9), ValueError, "order must be at most 63, got 1000000000"),
        (lambda: data.count_ngrams([0, 0, 0], 10**9), ValueError, "n must be at most 63, got 1000000000"),
        (lambda: data.NgramModel(STREAM, 40), ValueError, "40-grams over 3 tokens do not fit 63 bits"),
        (lambda: data.SequentialBatches(STREAM, 2**63 - 1, 5), ValueError, "too short for one batch of 92233720368"),
        (lambda: data.DataLoader([1, 2], num_workers=10**6), ValueError, "num_workers must be at most 1,024, got 1"),
        (lambda: data.BPETokenizer.train("abc", 2**40), ValueError, "vocab_size must be at most 1,114,112, got"),
        (lambda: data.BPETokenizer.train("abc", 256, 2**64), ValueError, "min_frequency must be at most 9,223"),
        (lambda: data.default_collate([1, 2**63]), ValueError, "an integer of 64 bits cannot be put into"),
        (lambda: data.default_collate([-1, 2**63]), ValueError, "an integer of 64 bits cannot"),
        (lambda: data.default_collate([10**30]), ValueError, "an integer of 100 bits cannot"),
        (lambda: data.Vocab({"a": -1}), ValueError, "the count of 'a' must be 0 or more, got -1"),
        (lambda: VOCAB.to_tokens(10**5000), IndexError, "from 0 to 3 .* got an integer of 16610 bits"),
        (lambda: STREAM.split(10**400), ValueError, "fraction must be in the range of a float, got an"),
        (lambda: data.RegexTokenizer("a{99999999999999999999}"), ValueError, "is not a regular expression: the rep"),
        (lambda: data.RegexTokenizer("(" * 5000 + ")" * 5000), ValueError, "is not a regular expression"),
    ],
)  # fmt: skip
def test_large_numbers_are_refused_at_once(call, error, message):
    if "BPE" in "".join(call.__code__.co_names):
        pytest.importorskip("tokenizers")
    with pytest.raises(error, match=message):
        call()


def test_the_largest_numbers_that_are_taken(tmp_path):
    largest = 2**63 - 1
    assert data.TokenStream([largest - 1], largest)[0] == largest - 1
    assert [chunk.tolist() for chunk in data.TokenStream([5, 6]).chunks(largest, largest)] == [[5, 6]]
    assert [x.tolist() for x in data.DataLoader(np.arange(3), largest)] == [[0, 1, 2]]
    assert data.RandomBatches(STREAM, 2, 5, seed=2**128 - 1).seed == 2**128 - 1
    assert data.count_ngrams([0] * 70, 63).counts.tolist() == [8]
    assert data.default_collate([largest, -largest]).dtype == np.int64
    assert data.Vocab("aab", largest).tokens == ("<unk>",)
    assert STREAM[np.int8(-128) : np.int8(127)].tolist() == STREAM[:].tolist()
    assert data.TokenStream(range(300))[np.int8(-1)] == 299
    (tmp_path / "text").write_text("one\ntwo\n")
    assert list(data.read_text_chunks(tmp_path / "text", largest)) == ["one\ntwo\n"]


@pytest.mark.parametrize("wrong", NO_PATHS, ids=repr)
@pytest.mark.parametrize(
    "call",
    [
        data.read_text,
        VOCAB.save,
        data.Vocab.load,
        CODEC.save,
        data.Codec.load,
        data.TokenStream.open,
        lambda path: data.TokenStream.write(path, [], 2),
    ],
)
def test_what_is_no_path(call, wrong):
    with pytest.raises(TypeError, match="path must be of type str or PathLike, got"):
        call(wrong)


@pytest.mark.parametrize("wrong", [None, "abc", RAGGED, {}, 1j], ids=repr)
@pytest.mark.parametrize(
    ("call", "name"),
    [
        (data.TokenStream, "tokens"),
        (lambda a: STREAM.windows(a, 2), "starts"),
        (lambda a: data.RandomBatches(STREAM, 2, 5, offset=0, order="abc" if a is None else a), "order"),
        (lambda a: data.count_ngrams(a, 1), "tokens"),
        (lambda a: data.NgramModel(a, 1), "tokens"),
        (data.NgramModel(STREAM, 2).probabilities, "tokens"),
        (data.NgramModel(STREAM, 2).perplexity, "tokens"),
        (data.fit_zipf, "counts"),
    ],
)
def test_what_is_no_array(call, name, wrong):
    with pytest.raises(TypeError, match=f"^{name} must be an array of numbers, got"):
        call(wrong)


@pytest.mark.parametrize("wrong", [None, 3, [1], {}, b"text"], ids=repr)
@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=repr)
def test_what_is_no_text(tokenizer, wrong):
    for call in (
        tokenizer.split,
        tokenizer.count,
        lambda text: tokenizer.encode(text, VOCAB),
        data.d2l_lines,
    ):
        if wrong or not isinstance(wrong, dict):
            with pytest.raises(TypeError, match="expected text as str, got"):
                call(wrong)


@pytest.mark.parametrize("wrong", [None, 3, 1.5], ids=repr)
@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=repr)
def test_what_are_no_tokens(tokenizer, wrong):
    with pytest.raises(TypeError, match=f"tokens must be an iterable of str, got {type(wrong).__name__}"):
        tokenizer.join(wrong)
    with pytest.raises(TypeError, match=f"tokens must be strings, got {type(wrong).__name__}"):
        tokenizer.join([wrong])
    with pytest.raises(TypeError, match="vocab must be of type Vocab, got"):
        tokenizer.encode("abc", wrong)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: data.Vocab(None), TypeError, "tokens must be an iterable of tokens, or of lines of them"),
        (lambda: data.Vocab([1, 2]), TypeError, "expected tokens .*, or lines of tokens, but 'int' object"),
        (lambda: data.Vocab([["a", ["b"]]]), TypeError, "expected tokens .*, but unhashable type"),
        (lambda: data.Vocab({3: 1}), TypeError, "tokens must be strings, got int: 3"),
        (lambda: data.Vocab("abc", 0, [["<pad>"]]), TypeError, "tokens must be strings, got list"),
        (
            lambda: data.Vocab("abc", 0, 3),
            TypeError,
            "reserved_tokens must be an iterable of tokens, got int",
        ),
        (lambda: data.Vocab("abc", unk_token=3), TypeError, "tokens must be strings, got int: 3"),
        (lambda: VOCAB.indices(3), TypeError, "tokens must be an iterable of tokens, got int"),
        (lambda: VOCAB.indices([["a"]]), TypeError, "tokens must be strings, got one that is not"),
        (
            lambda: VOCAB.to_tokens("ab"),
            TypeError,
            "expected an index or a sequence of indices, got str: 'ab'",
        ),
        (
            lambda: VOCAB.to_tokens([None]),
            TypeError,
            "expected an index or a sequence of indices, got NoneType",
        ),
        (lambda: data.Vocab.from_dict([]), TypeError, "fields of a Vocab must be of type Mapping, got list"),
        (
            lambda: data.Vocab.from_dict({**VOCAB.to_dict(), "tokens": 3}),
            TypeError,
            "tokens of a Vocab must be of type list or tuple, got int",
        ),
        (lambda: data.Codec("words", VOCAB), TypeError, "tokenizer must be of type Tokenizer, got str"),
        (lambda: data.Codec(TOKENIZERS[0], "abc"), TypeError, "vocab must be of type Vocab, got str"),
        (lambda: data.Codec.fit("abc", "words"), TypeError, "tokenizer must be of type Tokenizer, got str"),
        (lambda: data.Codec.fit(3, TOKENIZERS[0]), TypeError, "text must be an iterable of str, got int"),
        (lambda: data.Codec.from_dict(3), TypeError, "fields of a Codec must be of type Mapping, got int"),
        (
            lambda: data.Codec.from_dict({**CODEC.to_dict(), "tokenizer": "words"}),
            TypeError,
            "fields of a Tokenizer must be of type Mapping, got str",
        ),
        (lambda: CODEC.decode(3), TypeError, "indices must be an iterable of integers, got int"),
        (
            lambda: CODEC.decode_stream(None),
            TypeError,
            "indices must be an iterable of integers, got NoneType",
        ),
        (
            lambda: data.CharTokenizer(["d2l"]),
            ValueError,
            r"normalise must be None or one of \['d2l'\], got \['d2l'\]",
        ),
        (lambda: data.RegexTokenizer(3), TypeError, "pattern must be of type str, got int"),
        (lambda: data.RegexTokenizer("a", None), TypeError, "separator must be of type str, got NoneType"),
        (lambda: STREAM["a":], TypeError, "the bound of a slice must be an integer, got str"),
        (lambda: STREAM.windows([0.5], 2), TypeError, "starts must be a row of integers, got float64"),
        (lambda: STREAM.windows([0], -1), ValueError, "length must be 0 or more, got -1"),
        (
            lambda: STREAM.chunks(0),
            ValueError,
            "size must be at least 1, got 0",
        ),
        (lambda: STREAM.split("half"), TypeError, "fraction must be a number, got str: 'half'"),
        (
            lambda: data.TokenStream.write("folder", 3, 2),
            TypeError,
            "chunks must be an iterable of arrays, got int",
        ),
        (
            lambda: data.SequentialBatches([0, 1], 1, 1),
            TypeError,
            "stream must be of type TokenStream, got list",
        ),
        (
            lambda: data.SequentialBatches(STREAM, 2, 5).load_state_dict([]),
            TypeError,
            "the state of a sampler must be of type Mapping, got list",
        ),
        (
            lambda: data.SequentialBatches(STREAM, 2, 5).load_state_dict(sampler_state(epoch=-1)),
            ValueError,
            "epoch in the state must be 0 or more, got -1",
        ),
        (lambda: data.NgramModel(STREAM, 1, add_k="one"), TypeError, "add_k must be a number, got str"),
        (lambda: data.fit_zipf([[2, 1]]), ValueError, r"counts must be one row, .* got shape \(1, 2\)"),
        (
            lambda: data.count_ngrams(STREAM, 1).most_common(1, "abc"),
            TypeError,
            "vocab must be of type Vocab",
        ),
    ],
)
def test_other_wrong_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_what_cannot_be_looked_up_is_in_no_vocabulary():
    assert ["a"] not in VOCAB
    assert 3 not in VOCAB


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda kind: kind(3), TypeError, "model must be of type dict, got int"),
        (lambda kind: kind.train(3, 256), TypeError, "text must be an iterable of str, got int"),
        (lambda kind: kind.train("abc", 256.5), TypeError, "vocab_size must be an integer, got float"),
        (lambda kind: kind.train("abc", 256, "2"), TypeError, "min_frequency must be an integer, got str"),
        (lambda kind: kind.train("abc", 256, -1), ValueError, "min_frequency must be 0 or more, got -1"),
        (lambda kind: kind.train("abc", 256).join([3]), TypeError, "tokens must be strings, got int: 3"),
        (lambda kind: kind.train("abc", 256).encode("a", None), TypeError, "vocab must be of type Vocab"),
    ],
)
def test_byte_pairs(call, error, message):
    pytest.importorskip("tokenizers")
    with pytest.raises(error, match=message):
        call(data.BPETokenizer)
