"""Adam, and AdamW, which decays weights apart from the gradient."""

import math

import numpy as np

from rondeau.kernels.ops import optimisers
from rondeau.train._checks import BELOW_ONE, check_flag, shown
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


class Adam(Optimizer):
    r"""Adaptive moments (Kingma, Ba 2015, algorithm 1).

    .. math:: m \leftarrow \beta_1 m + (1 - \beta_1) d, \quad s \leftarrow \beta_2 s + (1 - \beta_2) d^2, \quad
              w \leftarrow w - \eta\, \frac{m / (1 - \beta_1^t)}{\sqrt{s / (1 - \beta_2^t)} + \epsilon}

    with :math:`d = \nabla + \lambda w`, as ``torch.optim.Adam``.

    Parameters
    ----------
    params : iterable of Tensor or dict
        What to update.
    lr : float
        Learning rate :math:`\eta`.
    betas : (float, float)
        :math:`\beta_1, \beta_2`, the memories of the two running means.
    eps : float
        :math:`\epsilon`, added to the root.
    weight_decay : float
        :math:`\lambda`, an L2 penalty.
    amsgrad : bool
        Use the largest s so far (Reddi, Kale, Kumar 2018).
    maximize : bool
        Climb instead.

    Raises
    ------
    TypeError
        If an option is not a number, or `params` yields no Tensors.
    ValueError
        If a number is negative or not finite, or a beta is not in [0, 1).

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> w = rt.tensor([1.0, -1.0], requires_grad=True)
    >>> optimizer = Adam([w], lr=0.25)
    >>> (100 * w * w).sum().backward()
    >>> _ = optimizer.step()
    >>> w.tolist()  # the first step has the size of the rate, whatever the gradient
    [0.75, -0.75]
    """

    _decoupled = False

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def check_options(self, group: Group) -> None:
        """Refuse options out of their range."""
        check_at_least_zero({"learning rate": group["lr"], "epsilon value": group["eps"]})
        betas = group["betas"]
        if not isinstance(betas, tuple | list) or len(betas) != 2:
            raise TypeError(f"betas: expected a pair of numbers, got {shown(betas)}")
        for i, beta in enumerate(betas):
            check_option(f"beta parameter at index {i}", beta, BELOW_ONE)
        check_at_least_zero({"weight_decay value": group["weight_decay"]})
        for flag in ("amsgrad", "maximize"):
            check_flag(flag, group[flag])

    def initial_state(self, data: Array, group: Group) -> State:
        """Begin with zeros."""
        state: State = {
            "step": 0,
            "exp_avg": np.zeros_like(data, order="C"),
            "exp_avg_sq": np.zeros_like(data, order="C"),
        }
        if group["amsgrad"]:
            state["max_exp_avg_sq"] = np.zeros_like(data, order="C")
        return state

    def update(self, data: Array, gradient: Array, group: Group, state: State) -> None:
        """Take one step."""
        state["step"] += 1
        beta1, beta2 = group["betas"]
        decay = group["weight_decay"]
        rule = optimisers.Adam(
            mean=state["exp_avg"],
            square=state["exp_avg_sq"],
            sign=-1.0 if group["maximize"] else 1.0,
            l2=0.0 if self._decoupled else decay,
            shrink=1 - group["lr"] * decay if self._decoupled else 1.0,
            rest1=1 - beta1,
            beta2=beta2,
            rest2=1 - beta2,
            rate=group["lr"] / (1 - beta1 ** state["step"]),
            root=math.sqrt(1 - beta2 ** state["step"]),
            eps=group["eps"],
        )
        if group["amsgrad"]:
            largest = average(state, "max_exp_avg_sq", data)
            optimisers.update(data, gradient, optimisers.Amsgrad(*rule, largest=largest))
        else:
            optimisers.update(data, gradient, rule)


class AdamW(Adam):
    r"""Adam with decoupled weight decay (Loshchilov, Hutter 2019, algorithm 2).

    First :math:`w \leftarrow w - \eta \lambda w`, then Adam's update without a penalty, as ``torch.optim.AdamW``.
    Arguments as `Adam`; `weight_decay` is 0.01 by default.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> w = rt.tensor([1.0, -1.0], requires_grad=True)
    >>> optimizer = AdamW([w], lr=0.25, weight_decay=1.0)
    >>> (0 * w).sum().backward()
    >>> _ = optimizer.step()
    >>> w.tolist()  # the gradient is zero, the decay is not
    [0.75, -0.75]
    """

    _decoupled = True

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)
