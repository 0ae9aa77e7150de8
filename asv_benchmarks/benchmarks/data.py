"""Text to batches."""

import numpy as np

from rondeau import data


class Encoding:
    """Making a vocabulary and encoding two megabytes of text."""

    params = ("characters", "words", "regex")
    param_names = ("tokenizer",)

    def setup(self, tokenizer):
        text = data.embedded_corpus()
        self.text = (text * (2_000_000 // len(text) + 1))[:2_000_000]
        kinds = {
            "characters": data.CharTokenizer,
            "words": data.WordTokenizer,
            "regex": data.RegexTokenizer,
        }
        self.tokenizer = kinds[tokenizer]()
        self.codec = data.Codec.fit(self.text, self.tokenizer)

    def time_fit(self, tokenizer):
        data.Codec.fit(self.text, self.tokenizer)

    def time_encode(self, tokenizer):
        self.codec.encode(self.text)


class Epoch:
    """One epoch of batches over a million tokens."""

    params = ("SequentialBatches", "RandomBatches")
    param_names = ("sampler",)

    def setup(self, sampler):
        tokens = np.random.default_rng(0).integers(0, 65, 1_000_000)
        self.batches = getattr(data, sampler)(data.TokenStream(tokens), 50, 64, seed=0)

    def time_epoch(self, sampler):
        for _ in self.batches:
            pass
