"""What a process does with a piece of text: count its tokens, or encode them.

Everything that goes in and out is bytes: the text, in UTF-8, and a tokenizer or codec as JSON.
"""

from __future__ import annotations

import json
from functools import lru_cache

from .._bpe import count_words
from .._codec import Codec
from .._tokenizers import Tokenizer


def count_tokens(tokenizer: bytes, text: bytes) -> bytes:
    """Return how often each token occurs in a piece, as a JSON object.

    Parameters
    ----------
    tokenizer : bytes
        What `Tokenizer.to_dict` gave, as JSON.
    text : bytes
    """
    return json.dumps(_tokenizer(tokenizer).count(text.decode())).encode()


def count_bpe_words(_: bytes, text: bytes) -> bytes:
    """Return how often each word occurs in a piece, within which byte pairs are merged, as a JSON object."""
    return json.dumps(count_words(text.decode())).encode()


def encode_tokens(codec: bytes, text: bytes) -> bytes:
    """Return the indices of the tokens of a piece, little-endian and in the vocabulary's type.

    Parameters
    ----------
    codec : bytes
        What `Codec.to_dict` gave, as JSON.
    text : bytes
    """
    indices = _codec(codec).encode(text.decode())
    return indices.astype(indices.dtype.newbyteorder("<"), copy=False).tobytes()


# Made once in a process: what is shared is the same object in every call, or equal to it.


@lru_cache(1)
def _tokenizer(content: bytes) -> Tokenizer:
    return Tokenizer.from_dict(json.loads(content))


@lru_cache(1)
def _codec(content: bytes) -> Codec:
    return Codec.from_dict(json.loads(content))
