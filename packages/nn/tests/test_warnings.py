"""Where the warnings of layers and losses point: at the line of the caller, however deep they arise."""

import pytest

from rondeau import nn
from rondeau import tensor as rt

WARNED = {
    "dropout of one layer": lambda: nn.LSTM(2, 3, dropout=0.5),
    "dropout of one layer, Recurrent": lambda: nn.Recurrent(nn.cells.gru, 2, 3, dropout=0.5),
    "broadcast": lambda: nn.functional.mse_loss(rt.zeros(2, 1), rt.zeros(2)),
    "broadcast, module": lambda: nn.MSELoss()(rt.zeros(2, 1), rt.zeros(2)),
    "mean divergence": lambda: nn.functional.kl_div(rt.zeros(2), rt.zeros(2)),
    "mean divergence, module": lambda: nn.KLDivLoss()(rt.zeros(2), rt.zeros(2)),
}


@pytest.mark.parametrize("name", WARNED)
def test_a_warning_points_at_the_caller(name):
    with pytest.warns(UserWarning, match="dropout option|broadcast|batchmean") as caught:
        WARNED[name]()
    assert [w.filename for w in caught] == [__file__]
    assert caught[0].lineno == WARNED[name].__code__.co_firstlineno
