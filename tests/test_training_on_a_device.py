"""A character model trains on a GPU, for which `tools.device_arrays` stands, as it does on the CPU."""

import pytest

from comparing import assert_close
from rondeau import nn, train
from rondeau import tensor as rt
from rondeau.data import SequentialBatches, TokenStream

TEXT = TokenStream(
    [ord(c) - 96 if c.isalpha() else 0 for c in "the quick brown fox jumps over the lazy dog " * 8]
)
CLOSE = {"rtol": 2e-5, "atol": 2e-6}


class CharacterModel(nn.Module):
    """The next character from the last, by an embedding and two linear layers."""

    def __init__(self):
        super().__init__()
        self.embedding, self.hidden, self.head = nn.Embedding(27, 6), nn.Linear(6, 12), nn.Linear(12, 27)

    def forward(self, ids, state=None):
        ids = ids if isinstance(ids, rt.Tensor) else rt.from_numpy(ids)
        rows = rt.tanh(self.hidden(self.embedding(ids.transpose(0, 1))))
        return self.head(rows.reshape(-1, 12)), state


def trainer(device, **options):
    rt.manual_seed(0)
    model = CharacterModel()
    given = {
        "max_steps": 6,
        "log_every": 3,
        "clip_norm": 0.5,
        "held_out": TEXT[:40],
        "averaged": 0.5,
    } | options
    optimizer = train.optim.Adam(model.parameters(), lr=0.05)
    return train.Trainer(model, optimizer, SequentialBatches(TEXT, 4, 5), device=device, **given)


def rows_of(of):
    rows = []

    class Rows(train.Callback):
        def on_row(self, trainer, row):
            rows.append({k: v for k, v in row.items() if k != "seconds"})

    of.callbacks.append(Rows())
    of.fit()
    return rows


@pytest.mark.usefixtures("device_stand_in")
def test_the_rows_are_those_of_the_cpu():
    there = trainer("cuda")
    assert {p.device for p in there.model.parameters()} == {"cuda"}
    for got, expected in zip(rows_of(there), rows_of(trainer("cpu")), strict=True):
        assert got.keys() == expected.keys()
        assert_close([got[k] for k in got], [float(expected[k]) for k in got], **CLOSE)
