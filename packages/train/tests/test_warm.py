"""``rondeau warm``: kernels that are on disk before a program asks for them."""

import os
import re
import subprocess
import sys

import pytest

from rondeau.train import cli

PROGRAM = """
from rondeau import nn, tensor as rt

from numba.core import event

compiled = []
class Compiles(event.Listener):
    def on_start(self, event):
        compiled.append(event.data["dispatcher"].py_func.__qualname__)
    def on_end(self, event):
        pass
event.register("numba:compile", Compiles())
model = nn.LanguageModel(5, "rnn", 40, num_layers=2)
ids = rt.ones(3, 7, dtype=rt.int64)
nn.functional.cross_entropy(model(ids)[0], ids.flatten()).backward()
model.stepper()(1)
nn.RNNCell(3, 6)(rt.ones(2, 3)).sum().backward()
print(compiled)
"""


@pytest.mark.long
def test_a_later_program_compiles_nothing(tmp_path):
    environment = os.environ | {"RONDEAU_CACHE": str(tmp_path)}
    for command in (["-m", "rondeau.train", "warm", "rnn"], ["-c", PROGRAM]):
        done = subprocess.run(
            [sys.executable, *command],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=600,
        )
    assert done.stdout == "[]\n"


def test_it_says_what_it_did(capsys):
    assert cli.main(["warm", "gru", "--precision", "medium"]) == 0
    assert re.fullmatch(r"gru +\d+\.\d s\n", capsys.readouterr().out)


def test_an_unknown_cell_is_refused(capsys):
    assert cli.main(["warm", "gru", "transformer"]) == 2
    assert "rondeau warm: CELL: expected some of rnn, ctrnn, gru, " in capsys.readouterr().err
