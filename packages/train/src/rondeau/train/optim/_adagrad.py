"""Adagrad."""

import numpy as np

from rondeau.kernels.ops import optimisers
from rondeau.train._checks import check_flag
from rondeau.train.optim._optimizer import Array, Group, Optimizer, Parameters, State, check_at_least_zero


class Adagrad(Optimizer):
    r"""Rates that fall with the gradients seen (Duchi, Hazan, Singer 2011).

    .. math:: d = \nabla + \lambda w, \quad s \leftarrow s + d^2, \quad
              w \leftarrow w - \frac{\eta}{1 + (t - 1)\,\eta_d} \frac{d}{\sqrt{s} + \epsilon}

    as ``torch.optim.Adagrad``.

    Parameters
    ----------
    params : iterable of Tensor or dict
        What to update.
    lr : float
        Learning rate :math:`\eta`.
    lr_decay : float
        :math:`\eta_d`.
    weight_decay : float
        :math:`\lambda`, an L2 penalty.
    initial_accumulator_value : float
        s before the first step.
    eps : float
        :math:`\epsilon`, added to the root.
    maximize : bool
        Climb instead.

    Raises
    ------
    TypeError
        If an option is not a number, or `params` yields no Tensors.
    ValueError
        If a number is negative or not finite.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> w = rt.tensor([1.0, -1.0], requires_grad=True)
    >>> optimizer = Adagrad([w], lr=0.25)
    >>> (100 * w * w).sum().backward()
    >>> _ = optimizer.step()
    >>> w.tolist()  # the first step has the size of the rate, whatever the gradient
    [0.75, -0.75]
    """

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "lr_decay": lr_decay,
            "eps": eps,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def check_options(self, group: Group) -> None:
        """Refuse options out of their range."""
        check_at_least_zero(
            {
                "learning rate": group["lr"],
                "lr_decay value": group["lr_decay"],
                "weight_decay value": group["weight_decay"],
                "initial_accumulator_value value": group["initial_accumulator_value"],
                "epsilon value": group["eps"],
            }
        )
        check_flag("maximize", group["maximize"])

    def initial_state(self, data: Array, group: Group) -> State:
        """Begin the sum at `initial_accumulator_value`."""
        return {"step": 0, "sum": np.full_like(data, group["initial_accumulator_value"], order="C")}

    def update(self, data: Array, gradient: Array, group: Group, state: State) -> None:
        """Take one step."""
        state["step"] += 1
        rule = optimisers.Adagrad(
            total=state["sum"],
            sign=-1.0 if group["maximize"] else 1.0,
            l2=group["weight_decay"],
            lr=group["lr"] / (1 + (state["step"] - 1) * group["lr_decay"]),
            eps=group["eps"],
        )
        optimisers.update(data, gradient, rule)
