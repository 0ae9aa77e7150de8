"""Reading text: what is kept, what is made one, and what is refused and how."""

import codecs
import os
import re
import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rondeau.data import embedded_corpus, read_text, read_text_chunks
from rondeau.data._text import check_text

TEXT = "紅樓夢\n👩‍👩‍👧 e\u0301\x00 ends\n\n\ufeffinner mark\u2028same line"


def test_unicode_is_kept(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(TEXT.encode())
    assert read_text(path) == TEXT
    assert read_text(str(path)) == TEXT


def test_byte_order_mark_is_dropped(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(codecs.BOM_UTF8 + TEXT.encode())
    assert read_text(path) == TEXT


def test_line_ends_are_one_kind(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(b"unix\nwindows\r\nmac\rboth\r\r\nend\r")
    assert read_text(path) == "unix\nwindows\nmac\nboth\n\nend\n"


@given(st.text(min_size=1).map(lambda t: t.encode(errors="ignore")).filter(bool), st.integers(1, 9))
def test_chunks_join_to_what_python_reads(tmp_path_factory, content, chunk_bytes):
    path = tmp_path_factory.mktemp("chunks") / "text.txt"
    path.write_bytes(content)
    expected = path.read_text(encoding="utf-8-sig")
    if not expected:
        with pytest.raises(ValueError, match="is empty"):
            list(read_text_chunks(path, chunk_bytes))
        return
    chunks = list(read_text_chunks(path, chunk_bytes))
    assert "".join(chunks) == expected
    assert all(chunk.endswith("\n") for chunk in chunks[:-1])
    assert all(chunks)


@pytest.mark.parametrize("chunk_bytes", [1, 2, 3, 5, 1 << 24])
@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
@pytest.mark.parametrize(
    ("before", "bad", "byte"),
    [
        ("plain ", b"\xff rest", "0xff"),
        ("紅樓", b"\xe5\xa4", "0xe5"),  # half a character at the end
        ("", b"\x80", "0x80"),
        ("caf", b"\xe9 au lait", "0xe9"),  # Latin-1
        ("lone surrogate ", "\ud800".encode("utf-8", "surrogatepass"), "0xed"),
        ("overlong ", b"\xc0\xaf", "0xc0"),
    ],
)
def test_invalid_utf8_names_file_offset_and_byte(tmp_path, chunk_bytes, mark, before, bad, byte):
    path = tmp_path / "bad.txt"
    path.write_bytes(mark + before.encode() + bad)
    offset = len(mark) + len(before.encode())
    with pytest.raises(
        ValueError, match=re.escape(f"{path} is not UTF-8: byte {byte} at offset {offset} is invalid")
    ):
        list(read_text_chunks(path, chunk_bytes))


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        ("text".encode("utf-16"), "it looks like UTF-16"),
        (b"\x1f\x8b\x08\x00", "it looks like a gzip archive: decompress it first"),
        (b"PK\x03\x04\xff", "it looks like a zip archive: unpack it first"),
    ],
)
def test_known_formats_get_a_hint(tmp_path, content, hint):
    path = tmp_path / "archive"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=hint):
        read_text(path)


@pytest.mark.parametrize("content", [b"", codecs.BOM_UTF8])
def test_empty_file(tmp_path, content):
    path = tmp_path / "empty.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(f"{path} is empty; expected some text")):
        read_text(path)


def test_missing_file_and_directory(tmp_path):
    with pytest.raises(FileNotFoundError, match=re.escape(f"there is no file {tmp_path / 'none.txt'}")):
        read_text(tmp_path / "none.txt")
    with pytest.raises(
        IsADirectoryError, match=re.escape(f"{tmp_path} is a directory; expected a text file")
    ):
        read_text(tmp_path)
    with pytest.raises(ValueError, match="chunk_bytes must be at least 1, got 0"):
        read_text_chunks(tmp_path / "none.txt", 0)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_read_as_a_file(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(TEXT.encode(),))
    writer.start()
    assert read_text(path) == TEXT
    writer.join()


def test_check_text_names_the_surrogate():
    check_text(TEXT)
    with pytest.raises(ValueError, match=r"lone surrogate, U\+DC80, at character 1,048,580"):
        check_text("é" * ((1 << 20) + 4) + "\udc80")
    with pytest.raises(TypeError, match="expected text as str, got bytes; decode bytes first"):
        check_text(b"text")


def test_embedded_corpus_is_the_same_in_every_process():
    from pydoc_data.topics import topics

    corpus = embedded_corpus()
    assert len(corpus) == sum(map(len, topics.values())) + len(topics) - 1
    code = (
        "import hashlib, rondeau.data as d; print(hashlib.sha256(d.embedded_corpus().encode()).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def test_embedded_corpus_without_pydoc_data(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(ModuleNotFoundError, match="ships without pydoc_data"):
        embedded_corpus()
