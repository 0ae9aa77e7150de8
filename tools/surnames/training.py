"""The model of the surname recipe and its training, by rondeau."""

from collections.abc import Iterator

from rondeau import nn, train
from rondeau import tensor as rt
from rondeau.nn.utils.rnn import pack_padded_sequence, pad_sequence

from .recipe import EMBEDDING, HIDDEN, RATE, Surnames


class Classifier(nn.Module):
    """Embedded characters, a bidirectional GRU, a linear layer on its two last states."""

    def __init__(self, characters: int, languages: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(characters, EMBEDDING)
        self.recurrent = nn.GRU(EMBEDDING, HIDDEN, bidirectional=True)
        self.head = nn.Linear(2 * HIDDEN, languages)

    def forward(self, ids: list[rt.Tensor]) -> rt.Tensor:
        """Logits (B, languages) for rows of character indices."""
        lengths = [len(row) for row in ids]
        embedded = self.embedding(pad_sequence(ids))
        _, h_n = self.recurrent(pack_padded_sequence(embedded, lengths, enforce_sorted=False))
        logits: rt.Tensor = self.head(rt.cat((h_n[-2], h_n[-1]), 1))
        return logits


def accuracies(surnames: Surnames, seed: int) -> Iterator[float]:
    """Train on and on; yield the share of the test surnames that are classified right, after every epoch."""
    ids = [rt.tensor(row) for row in surnames.ids]
    rt.manual_seed(seed)
    model = Classifier(surnames.num_characters, surnames.num_languages)
    optimizer = train.optim.Adam(model.parameters(), lr=RATE)
    while True:
        for batch in surnames.epoch():
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model([ids[i] for i in batch]), surnames.labels[batch])
            loss.backward()
            optimizer.step()
        with rt.no_grad():
            found = model([ids[i] for i in surnames.test]).argmax(1).numpy()
        yield float((found == surnames.labels[surnames.test]).mean())
