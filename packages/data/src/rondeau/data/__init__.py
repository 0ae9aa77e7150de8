"""From text to tokens to batches."""

from . import datasets
from ._batches import Batches, RandomBatches, SequentialBatches
from ._bpe import BPETokenizer
from ._codec import Codec
from ._ngrams import NgramModel, NgramTable, ZipfFit, count_ngrams, fit_zipf
from ._stream import TokenStream
from ._text import embedded_corpus, read_text, read_text_chunks
from ._tokenizers import CharTokenizer, RegexTokenizer, Tokenizer, WordTokenizer, d2l_lines
from ._vocab import Vocab

__version__ = "0.1.0"

__all__ = [
    "BPETokenizer",
    "Batches",
    "CharTokenizer",
    "Codec",
    "NgramModel",
    "NgramTable",
    "RandomBatches",
    "RegexTokenizer",
    "SequentialBatches",
    "TokenStream",
    "Tokenizer",
    "Vocab",
    "WordTokenizer",
    "ZipfFit",
    "count_ngrams",
    "d2l_lines",
    "datasets",
    "embedded_corpus",
    "fit_zipf",
    "read_text",
    "read_text_chunks",
]
