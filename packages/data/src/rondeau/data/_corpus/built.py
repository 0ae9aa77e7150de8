"""A corpus of tokens on disk, as `build_corpus` left it."""

from __future__ import annotations

import os
from pathlib import Path

from .._checks import check_flags, check_path
from .._codec import Codec
from .._stream import TokenStream
from .manifest import BUILDING, MANIFEST, VOCABULARY, Manifest, check_file


class TokenCorpus:
    r"""A corpus whose tokens lie in files that are mapped into memory; made by :func:`build_corpus`.

    Attributes
    ----------
    folder : Path
    codec : Codec
        Its tokenizer and vocabulary.
    stream : TokenStream
        All of its tokens.
    train, held_out : TokenStream
        The part to train on, of which alone the vocabulary was made, and the rest.
    manifest : object
        What it was made of: ``manifest.characters``, ``manifest.sha256`` of the text, ``manifest.held_out``.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from rondeau.data import CharTokenizer, TokenCorpus, build_corpus
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "rose.txt").write_text("a rose is a rose\n" * 5)
    ...     _ = build_corpus([Path(folder, "rose.txt")], Path(folder, "tokens"), CharTokenizer(), held_out=0.2)
    ...     corpus = TokenCorpus.open(Path(folder, "tokens"))
    ...     corpus, len(corpus.train), corpus.codec.decode(corpus.held_out[:6])
    (TokenCorpus(85 characters, 85 tokens), 68, 'a rose')
    """

    def __init__(self, folder: Path, manifest: Manifest, codec: Codec, stream: TokenStream) -> None:
        self.folder, self.manifest, self.codec, self.stream = folder, manifest, codec, stream
        self.train = stream.section(0, manifest.train_tokens)
        self.held_out = stream.section(manifest.train_tokens, len(stream))

    def __repr__(self) -> str:
        return f"TokenCorpus({self.manifest.characters:,} characters, {len(self.stream):,} tokens)"

    @staticmethod
    def is_at(folder: str | os.PathLike[str]) -> bool:
        """Return whether a folder holds a corpus, or one that is being built."""
        return os.path.isdir(folder) and any((Path(folder) / name).exists() for name in (MANIFEST, BUILDING))

    @classmethod
    def open(cls, folder: str | os.PathLike[str], *, verify: bool = False) -> TokenCorpus:
        """Map the files of a corpus into memory.

        That the files are there and as long as they were written, and what the vocabulary holds, is checked always;
        that an index is one of the vocabulary's, whenever it is read.

        Parameters
        ----------
        folder : path
        verify : bool
            Whether to read all tokens, to check that each is the one that was written, by SHA-256.

        Raises
        ------
        FileNotFoundError
            If the folder holds no corpus, or one that was not built to its end.
        ValueError
            If a file is missing, damaged or of another corpus; the message names it.
        """
        check_path(folder)
        check_flags(verify=verify)
        folder = Path(folder)
        if not (folder / MANIFEST).exists():
            why = f"has no {MANIFEST}: it is not a corpus of tokens"
            if (folder / BUILDING).exists():
                why = "was not built to its end: give the command that began it again, and it goes on"
            raise FileNotFoundError(f"{folder} {why}")
        manifest = Manifest.load(folder)
        for name, record in manifest.files.items():
            check_file(folder / name, record, verify=verify or name.endswith(".json"))
        codec, stream = Codec.load(folder / VOCABULARY), TokenStream.open(folder)
        if len(codec) != stream.vocab_size or manifest.train_tokens > len(stream):
            raise ValueError(f"{folder / MANIFEST} is not of these files; build the corpus again")
        return cls(folder, manifest, codec, stream)
