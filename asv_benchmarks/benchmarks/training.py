"""A character model end to end: time and tokens per second of sixty steps, and the loss after them."""

import time

from rondeau import data, nn, train
from rondeau import tensor as rt

STEPS = 60


class CharacterModel:
    """128 hidden units, one-hot input, batch 50, 64 steps, Adam, clipping: a training run without evaluations."""

    params = ("rnn", "gru", "lstm")
    param_names = ("cell",)
    number = 1

    def setup(self, cell):
        text = data.embedded_corpus()
        codec = data.Codec.fit(text, data.CharTokenizer())
        self.stream = data.TokenStream(codec.encode(text), len(codec))
        self.run(cell, steps=2)

    def run(self, cell, steps=STEPS, callbacks=()):
        rt.manual_seed(0)
        model = nn.LanguageModel(self.stream.vocab_size, cell, 128)
        trainer = train.Trainer(
            model,
            train.optim.Adam(model.parameters(), lr=4e-3),
            data.SequentialBatches(self.stream, 50, 64, seed=0),
            max_steps=steps,
            clip_norm=5.0,
            callbacks=callbacks,
        )
        trainer.fit()
        return trainer

    def time_sixty_steps(self, cell):
        self.run(cell)

    def track_tokens_per_second(self, cell):
        start = time.perf_counter()
        trainer = self.run(cell)
        return trainer.num_seen / (time.perf_counter() - start)

    track_tokens_per_second.unit = "tokens/s"

    def track_loss_after_sixty_steps(self, cell):
        """Nats per character, over the steps since the last row of metrics."""
        rows = KeepRows()
        self.run(cell, callbacks=[rows])
        return rows.rows[-1]["train_loss"]

    track_loss_after_sixty_steps.unit = "nats"


class KeepRows(train.Callback):
    """Keeps every row of metrics."""

    def __init__(self):
        self.rows = []

    def on_row(self, trainer, row):
        self.rows.append(row)
