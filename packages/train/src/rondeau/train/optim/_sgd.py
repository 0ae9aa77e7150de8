"""Stochastic gradient descent."""

import numpy as np

from rondeau.kernels.ops import optimisers
from rondeau.train._checks import FINITE, check_flag
from rondeau.train.optim._optimizer import (
    Array,
    Group,
    Optimizer,
    Parameters,
    State,
    check_at_least_zero,
    check_option,
)


class SGD(Optimizer):
    r"""Gradient descent with momentum.

    .. math:: d = \nabla + \lambda w, \quad v \leftarrow \mu v + (1 - \tau) d, \quad w \leftarrow w - \eta v

    as ``torch.optim.SGD``: v is d at the first step (no dampening), and Nesterov's form uses
    :math:`d + \mu v` in the place of v.

    Parameters
    ----------
    params : iterable of Tensor or dict
        What to update.
    lr : float
        Learning rate :math:`\eta`.
    momentum : float
        :math:`\mu`; 0 keeps no velocity.
    dampening : float
        :math:`\tau`.
    weight_decay : float
        :math:`\lambda`, an L2 penalty.
    nesterov : bool
        Nesterov's momentum.
    maximize : bool
        Climb instead.

    Raises
    ------
    TypeError
        If an option is not a number, or `params` yields no Tensors.
    ValueError
        If a number is negative or not finite, or `nesterov` comes without momentum or with dampening.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> w = rt.tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = SGD([w], lr=0.5)
    >>> (w * w).sum().backward()
    >>> _ = optimizer.step()
    >>> w.tolist()
    [0.0, 0.0]
    """

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def check_options(self, group: Group) -> None:
        """Refuse options out of their range."""
        check_at_least_zero(
            {
                "learning rate": group["lr"],
                "momentum value": group["momentum"],
                "weight_decay value": group["weight_decay"],
            }
        )
        check_option("dampening value", group["dampening"], FINITE)
        for flag in ("nesterov", "maximize"):
            check_flag(flag, group[flag])
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")

    def keeps_rows_without_gradient(self, group: Group) -> bool:
        """Return whether there is neither momentum nor weight decay; climbing makes a negative zero positive."""
        return group["momentum"] == group["weight_decay"] == 0 and not group["maximize"]

    def update(self, data: Array, gradient: Array, group: Group, state: State) -> None:
        """Take one step."""
        sign = -1.0 if group["maximize"] else 1.0
        if group["momentum"] == 0:
            optimisers.update(
                data, gradient, optimisers.Sgd(sign=sign, l2=group["weight_decay"], lr=group["lr"])
            )
            return
        first = "momentum_buffer" not in state
        if first:
            state["momentum_buffer"] = np.zeros_like(data)
        rule = optimisers.Momentum(
            velocity=state["momentum_buffer"],
            sign=sign,
            l2=group["weight_decay"],
            lr=group["lr"],
            momentum=group["momentum"],
            intake=1.0 if first else 1.0 - group["dampening"],
            nesterov=bool(group["nesterov"]),
        )
        optimisers.update(data, gradient, rule)
