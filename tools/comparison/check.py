"""Whether the two sides of the comparison compute the same cell. The one file that imports both libraries."""

from typing import Any

import numpy as np

from .sizes import Size


def largest_differences(cell: str, size: Size) -> dict[str, float]:
    """Run a training step of rondeau's layer and of the PyTorch loop from the same weights.

    Parameters
    ----------
    cell : str
        A key of `peers.loops.LOOPS`.
    size : Size

    Returns
    -------
    dict of str to float
        For the output, every final state, and the gradients of the input and of each weight: the largest absolute
        difference, divided by the largest absolute value where that is above 1.
    """
    import torch

    from rondeau import tensor as rt

    from .peers.cells import layer_of
    from .peers.loops import LOOPS
    from .peers.step_inputs import draw_inputs

    rng = np.random.default_rng(0)
    layer = layer_of(cell, size.inputs, size.hidden)
    loop: Any = LOOPS[cell](size.inputs, size.hidden)
    bound = size.hidden**-0.5
    for name, parameter in layer.named_parameters():  # also those that begin at zero
        parameter.data[...] = rng.uniform(-bound, bound, parameter.shape)
        if "bias" not in name:
            with torch.no_grad():
                getattr(loop, name.removesuffix("_l0")).copy_(torch.from_numpy(parameter.detach().numpy()))
    biases = [p.detach().numpy() for name, p in layer.named_parameters() if "bias" in name]
    with torch.no_grad():
        loop.bias.copy_(torch.from_numpy(sum(biases[1:], biases[0])))

    if "noise" in layer.hyperparameters:  # the two draw different numbers
        layer.hyperparameters["noise"] = 0.0
        loop.noise = 0.0

    x = rng.standard_normal((size.steps, size.batch, size.inputs), np.float32)
    cotangent = rng.standard_normal((size.steps, size.batch, size.hidden), np.float32)
    own_x: Any = rt.tensor(x, requires_grad=True)
    other_x: Any = torch.tensor(x, requires_grad=True)
    drawn = draw_inputs(cell, size)
    own_inputs: dict[str, Any] = {name: rt.tensor(u.values, requires_grad=True) for name, u in drawn.items()}
    other_inputs: dict[str, Any] = {
        name: torch.tensor(u.values, requires_grad=True) for name, u in drawn.items()
    }
    own, own_states = layer(own_x, **({"inputs": own_inputs} if drawn else {}))
    other, other_states = loop(other_x, **other_inputs)
    own.backward(rt.tensor(cotangent))
    other.backward(torch.from_numpy(cotangent))

    pairs: dict[str, tuple[Any, Any]] = {
        "output": (own.detach().numpy(), other.detach()),
        "gradient of the input": (own_x.grad.numpy(), other_x.grad),
    }
    for name, mine in own_inputs.items():
        pairs[f"gradient of {name}"] = mine.grad.numpy(), other_inputs[name].grad
    for state, mine, theirs in zip(layer.cell.states, own_states, other_states, strict=True):
        pairs[f"final {state}"] = mine.detach().numpy(), theirs.detach()
    for name, parameter in layer.named_parameters():
        kind = "bias" if "bias" in name else name.removesuffix("_l0")
        pairs[f"gradient of {name}"] = parameter.grad.numpy(), getattr(loop, kind).grad
    return {name: _difference(mine, theirs.numpy()) for name, (mine, theirs) in pairs.items()}


def _difference(mine: Any, theirs: Any) -> float:
    return float(np.abs(mine - theirs).max() / max(1.0, np.abs(theirs).max()))
