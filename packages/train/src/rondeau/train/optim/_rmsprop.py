"""RMSprop."""

import numpy as np

from rondeau.kernels.ops import optimisers
from rondeau.train._checks import UP_TO_ONE, check_flag
from rondeau.train.optim._optimizer import (
    Array,
    Group,
    Optimizer,
    Parameters,
    State,
    average,
    check_at_least_zero,
    check_option,
)


class RMSprop(Optimizer):
    r"""Gradients over the root of their running mean square (Hinton's lecture 6; centered: Graves 2013, eq. 38-45).

    .. math:: d = \nabla + \lambda w, \quad s \leftarrow \alpha s + (1 - \alpha) d^2, \quad
              v \leftarrow \mu v + \frac{d}{\sqrt{s - m^2} + \epsilon}, \quad w \leftarrow w - \eta v

    as ``torch.optim.RMSprop``: m is the running mean of d where `centered`, else 0.

    Parameters
    ----------
    params : iterable of Tensor or dict
        What to update.
    lr : float
        Learning rate :math:`\eta`.
    alpha : float
        Memory of the running means, in [0, 1].
    eps : float
        :math:`\epsilon`, added to the root.
    weight_decay : float
        :math:`\lambda`, an L2 penalty.
    momentum : float
        :math:`\mu`.
    centered : bool
        Divide by the estimated standard deviation instead.
    maximize : bool
        Climb instead.

    Raises
    ------
    TypeError
        If an option is not a number, or `params` yields no Tensors.
    ValueError
        If a number is negative or not finite, or `alpha` above 1.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> w = rt.tensor([1.0, -1.0], requires_grad=True)
    >>> optimizer = RMSprop([w], lr=0.25, alpha=0.75)
    >>> (100 * w * w).sum().backward()
    >>> _ = optimizer.step()
    >>> w.tolist()  # the root of 1 - alpha is a half: the first step is twice the rate
    [0.5, -0.5]
    """

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "alpha": alpha,
            "eps": eps,
            "centered": centered,
            "weight_decay": weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def check_options(self, group: Group) -> None:
        """Refuse options out of their range."""
        check_at_least_zero(
            {
                "learning rate": group["lr"],
                "epsilon value": group["eps"],
                "momentum value": group["momentum"],
                "weight_decay value": group["weight_decay"],
            }
        )
        check_option("alpha value", group["alpha"], UP_TO_ONE)
        for flag in ("centered", "maximize"):
            check_flag(flag, group[flag])

    def initial_state(self, data: Array, group: Group) -> State:
        """Begin with zeros."""
        state: State = {"step": 0, "square_avg": np.zeros_like(data, order="C")}
        if group["momentum"] > 0:
            state["momentum_buffer"] = np.zeros_like(data, order="C")
        if group["centered"]:
            state["grad_avg"] = np.zeros_like(data, order="C")
        return state

    def update(self, data: Array, gradient: Array, group: Group, state: State) -> None:
        """Take one step."""
        state["step"] += 1
        unused = np.empty_like(data, shape=(0,))
        rule = optimisers.RMSprop(
            square=state["square_avg"],
            mean=average(state, "grad_avg", data) if group["centered"] else unused,
            velocity=average(state, "momentum_buffer", data) if group["momentum"] > 0 else unused,
            sign=-1.0 if group["maximize"] else 1.0,
            l2=group["weight_decay"],
            lr=group["lr"],
            alpha=group["alpha"],
            rest=1 - group["alpha"],
            eps=group["eps"],
            momentum=group["momentum"],
            centered=bool(group["centered"]),
        )
        optimisers.update(data, gradient, rule)
