"""Files of text to a corpus of tokens, in steps that go on where they were interrupted."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from .._bpe import BPETokenizer, train_on_words
from .._checks import check_is, check_path, checked_integer, checked_list, checked_number
from .._codec import Codec
from .._cuts import CutRule
from .._json import write_json
from .._stream import MANIFEST as STREAM
from .._tokenizers import CharTokenizer, Tokenizer
from .._vocab import Vocab
from .built import TokenCorpus
from .manifest import BUILDING, MANIFEST, VOCABULARY, FileRecord, Manifest, check_file, fingerprint
from .notes import read_note, write_note
from .pools import Pool, Work, make_pool
from .shards import SAVE_EVERY, Shards
from .sources import PIECE_BYTES
from .survey import Part, Survey, make_survey
from .work import count_bpe_words, count_tokens, encode_tokens

_MAY_BE_THERE = {"rondeau.lock"}  # of who builds


Tell = Callable[[str, int, int], None]


def build_corpus(
    texts: Iterable[str | os.PathLike[str]],
    folder: str | os.PathLike[str],
    tokenizer: Tokenizer | None = None,
    *,
    bpe_size: int | None = None,
    codec: Codec | None = None,
    min_freq: int = 0,
    held_out: float = 0.1,
    workers: int | None = None,
    scheduler: str | None = None,
    on_progress: Tell | None = None,
) -> TokenCorpus:
    r"""Encode files of text that need not fit in memory, and write the tokens to a folder.

    The files are read in pieces, which are counted and encoded by several processes. What is written depends on
    neither their number nor interruptions: it is what encoding the whole text would give. Called again with the same
    arguments after an interruption, this goes on where it was.

    Parameters
    ----------
    texts : iterable of paths
        UTF-8 text, one file after the other; those that end with ``.gz`` or ``.zst`` (package `zstandard`) are
        decompressed. A file that does not end with a line end gets one, if another follows it.
    folder : path
        A new folder, or the one of an interrupted call.
    tokenizer : Tokenizer, optional
        One of this library's: a process makes its own by name.
    bpe_size : int, optional
        In the place of `tokenizer`: train one of byte pairs, with a vocabulary of this size.
    codec : Codec, optional
        In the place of `tokenizer`: encode with this tokenizer and vocabulary, such as those of a model that is to go
        on learning. `min_freq` and `bpe_size` then say how they were made, for who reads the corpus.
    min_freq : int
        Tokens seen less often become unknown.
    held_out : float
        The last part of the text, as a fraction of its characters, without which the vocabulary is made.
    workers : int, optional
        Processes. Default: one for each core of this process.
    scheduler : str, optional
        The address of a dask scheduler (package `distributed`), whose workers take the place of processes.
    on_progress : callable, optional
        ``on_progress(stage, done, total)``, called after each piece: in the stages "read", "count" and "encode", so
        many characters are done of so many, or of 0 where that is not known yet.

    Returns
    -------
    TokenCorpus

    Raises
    ------
    FileExistsError
        If the folder holds a corpus, or the beginning of another one.
    FileNotFoundError, IsADirectoryError, ModuleNotFoundError
        If a file is not there, or needs a package.
    ValueError
        If a file is empty, damaged, not UTF-8 or has changed meanwhile, or the text has no tokens, or one that the
        vocabulary of `codec` lacks, where that has no unknown token.
    RuntimeError
        If a process died.

    Examples
    --------
    >>> import tempfile
    >>> from rondeau.data import build_corpus
    >>> with tempfile.TemporaryDirectory() as place:
    ...     text = Path(place, "rose.txt")
    ...     _ = text.write_text("a rose is a rose\n" * 5)
    ...     corpus = build_corpus([text], Path(place, "tokens"), CharTokenizer(), workers=1)
    >>> corpus.codec.vocab.tokens
    ('<unk>', ' ', 's', 'a', 'e', 'o', 'r', 'i', '\n')
    """
    files = [_checked_path(text) for text in checked_list("texts", texts, "paths")]
    check_path(folder)
    if not files:
        raise ValueError("expected at least one text, got none")
    if codec is not None:
        check_is("codec", codec, Codec)
        if tokenizer is not None:
            raise TypeError("expected one of tokenizer and codec, got both")
        tokenizer = codec.tokenizer
    elif (tokenizer is None) == (bpe_size is None):
        raise TypeError("expected one of tokenizer, bpe_size and codec")
    if tokenizer is not None:
        check_is("tokenizer", tokenizer, Tokenizer)
    if bpe_size is not None:
        bpe_size = checked_integer("bpe_size", bpe_size, 256)
    held_out = checked_number("held_out", held_out)
    if not 0 <= held_out < 1:
        raise ValueError(f"held_out must be at least 0 and below 1, got {held_out}")
    workers = _cores() if workers is None else checked_integer("workers", workers, 1)
    settings = {
        "tokenizer": None if tokenizer is None else tokenizer.to_dict(),
        "vocabulary": None if codec is None else codec.vocab.to_dict(),
        "bpe_size": bpe_size,
        "min_freq": checked_integer("min_freq", min_freq, 0),
        "held_out": held_out,
        "piece_bytes": PIECE_BYTES,
    }
    building = _Building(Path(folder), files, settings, on_progress or (lambda stage, done, total: None))
    with make_pool(workers, scheduler) as pool:
        return building.run(tokenizer, codec, pool)


class _Building:
    """The steps, each of which leaves a file for the next."""

    def __init__(self, folder: Path, files: Sequence[Path], settings: dict[str, Any], tell: Tell) -> None:
        self.folder, self.files, self.settings, self.tell = folder, files, settings, tell
        self.work = folder / BUILDING
        self._survey_path = self.work / "survey.json"

    def run(self, tokenizer: Tokenizer | None, codec: Codec | None, pool: Pool) -> TokenCorpus:
        self._begin()
        rule = BPETokenizer.cut_rule if tokenizer is None else tokenizer.cut_rule
        survey = self._survey(rule)
        anywhere = isinstance(tokenizer, CharTokenizer)
        cut = survey.cut_at(self.settings["held_out"], anywhere=anywhere)
        if not cut:
            raise ValueError(
                f"held_out {self.settings['held_out']} of {survey.characters:,} characters leaves none to train on; "
                "give a longer text, or a smaller fraction"
            )
        parts = survey.parts(0, cut), survey.parts(cut, survey.characters)
        if codec is None:
            codec = self._codec(tokenizer, survey, parts[0], pool)
        else:
            codec.save(self.folder / VOCABULARY)
        files, train_tokens = self._encode(codec, survey, *parts, pool)
        for name in (VOCABULARY, STREAM):
            files[name] = fingerprint(self.folder / name)
        manifest = Manifest(
            survey.characters,
            survey.sha256,
            train_tokens,
            self.settings["held_out"],
            self.settings["min_freq"],
            self.settings["bpe_size"],
            files,
        )
        manifest.save(self.folder)
        shutil.rmtree(self.work)
        return TokenCorpus.open(self.folder)

    def _begin(self) -> None:
        """Make the folder, or see that it holds the beginning of this corpus."""
        if self.folder.exists() and not self.folder.is_dir():
            raise FileExistsError(f"{self.folder} is a file; choose another folder")
        if (self.folder / MANIFEST).exists():
            raise FileExistsError(f"{self.folder} already holds a corpus; remove it or choose another folder")
        if self.folder.exists() and not self.work.exists() and set(os.listdir(self.folder)) - _MAY_BE_THERE:
            raise FileExistsError(f"{self.folder} holds other files; choose a new folder")
        path = self.work / "settings.json"
        now = {**self.settings, "files": [_state(file) for file in self.files]}
        if not self._survey_path.exists():  # nothing was done yet, or the files could not be read
            self.work.mkdir(parents=True, exist_ok=True)
            write_note(path, now)
        begun = read_note(path, now.keys(), dict)
        for name, value in now.items():
            if begun[name] != value:
                raise FileExistsError(
                    f"{self.folder} holds the beginning of another corpus, whose {name} differ{'s' * (name != 'files')}"
                    "; remove it, or choose another folder"
                )

    def _survey(self, rule: CutRule) -> Survey:
        path = self._survey_path
        if not path.exists():
            survey = make_survey(
                self.files,
                rule,
                self.settings["piece_bytes"],
                lambda done: self.tell("read", done, 0),
            )
            write_note(path, survey.to_dict())
        return read_note(path, {"pieces", "sha256"}, lambda fields: Survey.from_dict(self.files, fields))

    def _codec(self, tokenizer: Tokenizer | None, survey: Survey, parts: Sequence[Part], pool: Pool) -> Codec:
        """Return the codec of the part to train on."""
        path, note = self.folder / VOCABULARY, self.work / "vocabulary.json"
        if note.exists():
            check_file(path, read_note(note, {*FileRecord._fields}, lambda record: FileRecord(**record)))
            return Codec.load(path)
        if tokenizer is None:
            words = self._count("words.json", count_bpe_words, b"", survey, parts, pool)
            trained = train_on_words(words, self.settings["bpe_size"])
            tokenizer, counts = trained, trained.count_in(words)
        else:
            shared = json.dumps(tokenizer.to_dict()).encode()
            counts = self._count("counts.json", count_tokens, shared, survey, parts, pool)
        if not any(counts.values()):
            raise ValueError("no token is left of the text, with this tokenizer")
        codec = Codec(tokenizer, Vocab(counts, self.settings["min_freq"]))
        codec.save(path)
        write_note(note, fingerprint(path)._asdict())
        return codec

    def _count(
        self, note: str, work: Work, shared: bytes, survey: Survey, parts: Sequence[Part], pool: Pool
    ) -> Counter[str]:
        """Return how often each token or word occurs."""
        path = self.work / note
        counts: Counter[str] = Counter()
        done = 0
        if path.exists():
            begun = read_note(path, {"pieces", "counts"}, dict)
            done, counts = begun["pieces"], Counter(begun["counts"])
        answers = pool.map(work, shared, survey.contents(parts[done:]))
        for number, answer in enumerate(self._telling("count", parts, answers, done), done + 1):
            counts.update(json.loads(answer))
            if number % SAVE_EVERY == 0 or number == len(parts):
                write_note(path, {"pieces": number, "counts": counts})
        return counts

    def _encode(
        self, codec: Codec, survey: Survey, train: Sequence[Part], held_out: Sequence[Part], pool: Pool
    ) -> tuple[dict[str, FileRecord], int]:
        """Write the tokens; return the files, and how many tokens are to train on."""
        parts = [*train, *held_out]
        shards = Shards(
            self.folder, self.work / "shards.json", codec.vocab.dtype.itemsize, len(parts), len(train)
        )
        shared = json.dumps(codec.to_dict()).encode()
        answers = pool.map(encode_tokens, shared, survey.contents(parts[shards.done :]))
        try:
            for answer in self._telling("encode", parts, answers, shards.done):
                shards.append(answer)
        except KeyError as error:
            raise ValueError(error.args[0]) from None
        finally:
            shards.close()
        write_json(self.folder / STREAM, {"vocab_size": len(codec), "shards": shards.lengths})
        return shards.files, shards.train_tokens

    def _telling(
        self, stage: str, parts: Sequence[Part], answers: Iterable[Any], first: int = 0
    ) -> Iterator[Any]:
        """Yield one answer for each part, from the first that was not done before, and tell of each."""
        total = sum(part.stop - part.start for part in parts)
        done = sum(part.stop - part.start for part in parts[:first])
        for part, answer in zip(parts[first:], answers, strict=True):
            yield answer
            done += part.stop - part.start
            self.tell(stage, done, total)


def _checked_path(text: Any) -> Path:
    check_path(text)
    return Path(text)


def _state(file: Path) -> list[Any]:
    """Return what tells whether a file has changed; None where there is no file, as reading it says."""
    found = file.stat() if file.exists() else None
    return [os.path.abspath(file), *((None, None) if found is None else (found.st_size, found.st_mtime_ns))]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
