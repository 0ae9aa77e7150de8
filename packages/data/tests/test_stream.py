"""Token streams: reads, sections and windows against a NumPy array, in memory and over many files."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comparing import assert_same_bits
from rondeau.data import CharTokenizer, Codec, TokenStream, read_text, read_text_chunks

SHARDS = [None, 1, 3, 7, 1000]  # None: in memory


@pytest.fixture(params=SHARDS, ids=str)
def make(request, tmp_path_factory):
    """Return a function that makes a stream of an array, in memory or in files of some tokens each."""

    def stream_of(ids, vocab_size):
        if request.param is None:
            return TokenStream(ids, vocab_size)
        chunks = np.array_split(ids, 4)
        return TokenStream.write(tmp_path_factory.mktemp("stream") / "s", chunks, vocab_size, request.param)

    return stream_of


@pytest.mark.parametrize(
    ("vocab_size", "dtype"), [(2, "u1"), (256, "u1"), (257, "u2"), (65537, "u4"), (2**33, "u8")]
)
def test_values_come_back_in_the_smallest_type(make, vocab_size, dtype):
    ids = np.random.default_rng(0).integers(0, vocab_size, 20)
    ids[-1] = vocab_size - 1
    stream = make(ids, vocab_size)
    assert stream.dtype == np.dtype(dtype)
    assert stream.vocab_size == vocab_size
    assert stream[:].dtype == np.int64
    assert_same_bits(stream[:], ids)


def test_slices_and_positions(make):
    ids = np.arange(20)
    stream = make(ids, 20)
    assert len(stream) == 20
    for start in (None, 0, 1, 7, 19, 20, 25, -3):
        for stop in (None, 0, 1, 6, 8, 20, 25, -1):
            assert_same_bits(stream[start:stop], ids[start:stop])
    assert [stream[i] for i in range(-20, 20)] == [*range(20), *range(20)]
    for position in (20, -21):
        with pytest.raises(IndexError, match=f"position {position} is outside a stream of 20 tokens"):
            stream[position]
    with pytest.raises(ValueError, match="slices of step 1, got step 2"):
        stream[::2]


def test_windows(make):
    ids = np.random.default_rng(0).integers(0, 9, 20)
    stream = make(ids, 9)
    for length in (1, 3, 8, 20):
        every = np.lib.stride_tricks.sliding_window_view(ids, length)
        order = np.random.default_rng(1).permutation(len(every))
        windows = stream.windows(order, length)
        assert windows.dtype == np.int64
        assert windows.flags.writeable
        assert_same_bits(windows, every[order])
    assert stream.windows([], 3).shape == (0, 3)
    for starts in ([0, 18], [-1]):
        with pytest.raises(
            IndexError, match="windows of 3 tokens begin between 0 and 17 in a stream of 20 tokens"
        ):
            stream.windows(starts, 3)


def test_a_read_is_a_copy(make):
    stream = make(np.arange(20), 20)
    stream[:][:] = 0
    stream.windows([0], 20)[:] = 0
    assert_same_bits(stream[:], np.arange(20))


def test_sections_of_sections(make):
    stream = make(np.arange(20), 20)
    section = stream.section(3, 18).section(2, 9)
    assert_same_bits(section[:], np.arange(5, 12))
    assert_same_bits(section.windows([6, 0], 1), [[11], [5]])
    assert section[-1] == 11
    assert len(stream.section(20, 20)[:]) == 0
    with pytest.raises(IndexError, match="windows of 2 tokens"):
        section.windows([6], 2)  # the stream goes on there, the section does not
    for start, stop in ((-1, 3), (4, 3), (0, 21)):
        with pytest.raises(IndexError, match=f"got start {start} and stop {stop}"):
            stream.section(start, stop)


def test_split(make):
    train, held_out = make(np.arange(20), 20).split(0.77)
    assert_same_bits(train[:], np.arange(15))
    assert_same_bits(held_out[:], np.arange(15, 20))
    with pytest.raises(ValueError, match=r"fraction must be between 0 and 1, got 1\.5"):
        train.split(1.5)


@given(st.integers(0, 12), st.integers(1, 5), st.integers(0, 3))
def test_chunks_overlap(length, size, overlap):
    ids = np.arange(length)
    chunks = list(TokenStream(ids, 12).chunks(size, overlap))
    for number, chunk in enumerate(chunks):
        assert_same_bits(chunk, ids[max(0, number * size - overlap) : (number + 1) * size])
    assert sum(map(len, chunks)) - sum(min(overlap, n * size) for n in range(1, len(chunks))) == length


def test_an_array_of_the_smallest_type_is_not_copied():
    ids = np.arange(20, dtype=np.uint8)
    assert np.shares_memory(TokenStream(ids, 20)._shards[0], ids)


def test_default_vocab_size_and_empty_streams(make):
    assert TokenStream([3, 1]).vocab_size == 4
    assert len(TokenStream([])) == len(TokenStream([])[:]) == 0
    empty = make(np.empty(0, np.int64), 5)
    assert len(empty) == 0
    assert empty[:].shape == (0,)
    assert repr(make(np.arange(20), 300)) == "TokenStream(20 tokens of 300 values, uint16)"


def test_what_is_no_stream(tmp_path):
    with pytest.raises(ValueError, match=r"an array of shape \(n,\); got shape \(1, 2\)"):
        TokenStream([[1, 2]])
    with pytest.raises(TypeError, match="expected integer indices, got float64"):
        TokenStream([1.0, 2.0])
    with pytest.raises(TypeError, match=r"tokens must be an array of numbers, got a text; encode it first"):
        TokenStream("abc")
    for ids in ([0, 5], [-1, 4]):
        with pytest.raises(IndexError, match=rf"from 0 to 4 \(vocab_size 5\); got {ids[0]} to {ids[1]}"):
            TokenStream(ids, 5)
        with pytest.raises(IndexError, match=rf"from 0 to 4 \(vocab_size 5\); got {ids[0]} to {ids[1]}"):
            TokenStream.write(tmp_path / "s", [[0, 1], ids], 5)


def test_only_a_whole_folder_is_a_stream(tmp_path):
    folder = tmp_path / "s"

    def interrupted():
        yield [1, 2]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        TokenStream.write(folder, interrupted(), 5)
    with pytest.raises(
        FileNotFoundError, match=r"s holds no stream\.json: no stream was written there to its end"
    ):
        TokenStream.open(folder)
    TokenStream.write(folder, [[1, 2], [3]], 5, shard_tokens=2)
    assert TokenStream.open(folder)[:].tolist() == [1, 2, 3]
    with pytest.raises(FileExistsError, match="s already holds a stream"):
        TokenStream.write(folder, [[1]], 5)
    (folder / "tokens-00000.bin").write_bytes(b"\x01")
    with pytest.raises(ValueError, match=r"tokens-00000\.bin holds 1 bytes, but 2 were written"):
        TokenStream.open(folder)
    (folder / "tokens-00000.bin").unlink()
    with pytest.raises(ValueError, match=r"tokens-00000\.bin holds 0 bytes, but 2 were written"):
        TokenStream.open(folder)
    (folder / "stream.json").write_text(json.dumps({"shards": []}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"stream\.json: expected a JSON object with the fields"):
        TokenStream.open(folder)
    with pytest.raises(ValueError, match="shard_tokens must be at least 1, got 0"):
        TokenStream.write(tmp_path / "t", [], 5, shard_tokens=0)


def test_a_value_that_a_damaged_file_holds_is_refused(tmp_path):
    TokenStream.write(tmp_path / "s", [np.arange(20)], 20)
    (tmp_path / "s" / "tokens-00000.bin").write_bytes(bytes([*range(19), 77]))
    stream = TokenStream.open(tmp_path / "s")
    assert stream[:19].tolist() == list(range(19))
    with pytest.raises(
        ValueError, match="the stream's file holds the index 77, but vocab_size is 20: it was changed"
    ):
        stream.windows([10], 10)
    with pytest.raises(ValueError, match="the stream's file holds the index 77"):
        stream[:]


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ("[" * 100_000, "is not what was written: its JSON is nested too deep"),
        (b'{"\xff": 1}', "is not JSON: 'utf-8' codec"),
        ({"shards": "2"}, "is damaged: shards must be of type list, got str"),
        ({"shards": [20, None]}, "is damaged: the length of a shard must be an integer, got NoneType"),
        ({"shards": [-20]}, "is damaged: the length of a shard must be at least 1, got -20"),
        ({"shards": [0]}, "is damaged: the length of a shard must be at least 1, got 0"),
        ({"vocab_size": "20"}, "is damaged: vocab_size must be an integer, got str"),
        ({"vocab_size": -1}, "is damaged: vocab_size must be 0 or more, got -1"),
        ({"vocab_size": 10**30}, "is damaged: vocab_size must be at most"),
    ],
)
def test_a_damaged_description_is_named(manifest, message, tmp_path):
    TokenStream.write(tmp_path / "s", [np.arange(20)], 20)
    path = tmp_path / "s" / "stream.json"
    if isinstance(manifest, dict):
        manifest = json.dumps({"vocab_size": 20, "shards": [20]} | manifest)
    path.write_bytes(manifest.encode() if isinstance(manifest, str) else manifest)
    with pytest.raises(ValueError, match=rf"stream\.json {message}"):
        TokenStream.open(tmp_path / "s")


def test_a_value_beyond_int64_in_a_damaged_file_is_refused(tmp_path):
    TokenStream.write(tmp_path / "s", [[1, 2]], 2**40)
    (tmp_path / "s" / "tokens-00000.bin").write_bytes(bytes([*[1, *[0] * 7], *[255] * 8]))
    with pytest.raises(ValueError, match="the stream's file holds the index 18446744073709551615"):
        TokenStream.open(tmp_path / "s")[:]


def test_a_corpus_written_in_pieces(real_data, tmp_path):
    path = real_data("tinyshakespeare.txt")
    text = read_text(path)
    codec = Codec.fit(read_text_chunks(path, 100_000), CharTokenizer())
    chunks = map(codec.encode, read_text_chunks(path, 100_000))
    stream = TokenStream.write(tmp_path / "s", chunks, len(codec), shard_tokens=300_000)
    assert len(stream._shards) == 4
    assert codec.decode(stream[:]) == text
    train, held_out = stream.split(0.9)
    assert (len(train), len(held_out)) == (1_003_854, 111_540)
    assert codec.decode(train[:]) + codec.decode(held_out[:]) == text
