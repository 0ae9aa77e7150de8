"""From text to tokens to batches."""

from . import datasets
from ._batches import Batches, RandomBatches, SequentialBatches
from ._bpe import BPETokenizer
from ._buckets import BucketBatches
from ._codec import Codec
from ._collate import default_collate
from ._corpus.build import build_corpus
from ._corpus.built import TokenCorpus
from ._cuts import back_to_white_space
from ._dataset import Dataset, Subset, TensorDataset, random_split, sample_generator
from ._loader import DataLoader
from ._ngrams import NgramModel, NgramTable, ZipfFit, count_ngrams, fit_zipf
from ._shards import ShardedBatches, cut_rows, rows_of_shard
from ._stream import TokenStream
from ._text import embedded_corpus, read_text, read_text_chunks
from ._tokenizers import CharTokenizer, RegexTokenizer, Tokenizer, WordTokenizer, d2l_lines
from ._vocab import Vocab

__version__ = "0.1.0"

__all__ = [
    "BPETokenizer",
    "Batches",
    "BucketBatches",
    "CharTokenizer",
    "Codec",
    "DataLoader",
    "Dataset",
    "NgramModel",
    "NgramTable",
    "RandomBatches",
    "RegexTokenizer",
    "SequentialBatches",
    "ShardedBatches",
    "Subset",
    "TensorDataset",
    "TokenCorpus",
    "TokenStream",
    "Tokenizer",
    "Vocab",
    "WordTokenizer",
    "ZipfFit",
    "back_to_white_space",
    "build_corpus",
    "count_ngrams",
    "cut_rows",
    "d2l_lines",
    "datasets",
    "default_collate",
    "embedded_corpus",
    "fit_zipf",
    "random_split",
    "read_text",
    "read_text_chunks",
    "rows_of_shard",
    "sample_generator",
]
