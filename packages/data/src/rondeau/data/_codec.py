"""A tokenizer together with its vocabulary: text to indices and back."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ._checks import check_is, check_iterable
from ._json import load_json, write_json
from ._tokenizers import Tokenizer
from ._vocab import UNKNOWN, Vocab

_FIELDS = {"tokenizer", "vocab"}


class Codec:
    """Encodes text as indices into a vocabulary and decodes indices to text; a run folder keeps it as one JSON file.

    Parameters
    ----------
    tokenizer : Tokenizer
        Cuts text into tokens and joins tokens to text.
    vocab : Vocab
        The index of each token.

    Examples
    --------
    >>> from rondeau import data
    >>> codec = data.Codec.fit("to be or not to be", data.CharTokenizer())
    >>> ids = codec.encode("to bet")
    >>> ids
    array([3, 2, 1, 4, 5, 3], dtype=uint8)
    >>> codec.decode(ids)
    'to bet'
    """

    def __init__(self, tokenizer: Tokenizer, vocab: Vocab) -> None:
        check_is("tokenizer", tokenizer, Tokenizer)
        check_is("vocab", vocab, Vocab)
        self.tokenizer = tokenizer
        self.vocab = vocab

    @classmethod
    def fit(
        cls,
        text: str | Iterable[str],
        tokenizer: Tokenizer,
        min_freq: int = 0,
        reserved_tokens: Sequence[str] = (),
        *,
        unk_token: str | None = UNKNOWN,
        order: Literal["frequency", "token"] = "frequency",
    ) -> Codec:
        """Make the vocabulary of a corpus.

        Parameters
        ----------
        text : str or iterable of str
            The corpus, or its pieces (see :func:`read_text_chunks`).
        tokenizer : Tokenizer
            What its tokens are.
        min_freq, reserved_tokens, unk_token, order
            As for :class:`Vocab`.
        """
        check_is("tokenizer", tokenizer, Tokenizer)
        check_iterable("text", text, "str")
        counts: Counter[str] = Counter()
        for piece in [text] if isinstance(text, str) else text:
            counts.update(tokenizer.count(piece))
        vocab = Vocab(counts, min_freq, reserved_tokens, unk_token=unk_token, order=order)
        return cls(tokenizer, vocab)

    def __len__(self) -> int:
        """Return the number of tokens in the vocabulary."""
        return len(self.vocab)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Codec) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]  # equal by value, so not usable as a key

    def __repr__(self) -> str:
        return f"Codec({self.tokenizer!r}, {self.vocab!r})"

    def encode(self, text: str) -> npt.NDArray[np.unsignedinteger[Any]]:
        """Return the indices of the tokens of `text`: shape (number of tokens,), the smallest sufficient unsigned type.

        Raises
        ------
        KeyError
            If the text holds a token that the vocabulary does not, and there is no unknown token.
        """
        return self.tokenizer.encode(text, self.vocab)

    def decode(self, indices: Sequence[int] | npt.NDArray[np.integer[Any]]) -> str:
        """Return the text of a sequence of indices: a list, an array or a Tensor of shape (number of tokens,).

        Raises
        ------
        TypeError
            If they are not integers, or not in one row.
        IndexError
            If an index is none of the vocabulary's.
        """
        return self.tokenizer.join(self._row(indices))

    def decode_stream(self, indices: Iterable[int]) -> Iterator[str]:
        """Yield the text of the indices, each as soon as it is known: for a model that prints while it generates.

        Raises
        ------
        TypeError
            If they are not integers, or not in one row.
        IndexError
            If an index is none of the vocabulary's.
        """
        return self.tokenizer.stream(self._row(indices))

    def _row(self, indices: Any) -> Iterator[str]:
        """Yield the tokens of a row of indices."""
        if hasattr(indices, "__array__"):
            array = np.asarray(indices)
            if array.ndim != 1:
                advice = "one row at a time" if array.ndim else "a list of it"
                raise TypeError(f"indices must be a row of integers, got shape {array.shape}; give {advice}")
            indices = array.tolist()
        check_iterable("indices", indices, "integers")
        return map(self.vocab.token, indices)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able dict, from which :meth:`from_dict` makes an equal codec."""
        return {"tokenizer": self.tokenizer.to_dict(), "vocab": self.vocab.to_dict()}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Codec:
        """Return the codec that :meth:`to_dict` described.

        Raises
        ------
        TypeError, ValueError
            If the dict is not one of those.
        """
        check_is("fields of a Codec", fields, Mapping)
        if set(fields) != _FIELDS:
            raise ValueError(f"expected the fields 'tokenizer' and 'vocab' of a Codec, got {sorted(fields)}")
        return cls(Tokenizer.from_dict(fields["tokenizer"]), Vocab.from_dict(fields["vocab"]))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write tokenizer and vocabulary as one JSON file, in UTF-8."""
        write_json(path, self.to_dict())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Codec:
        """Read what :meth:`save` wrote.

        Raises
        ------
        ValueError
            If the file is not JSON or holds no codec; the message names it.
        """
        return load_json(path, _FIELDS, cls.from_dict)
