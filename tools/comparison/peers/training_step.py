"""A training step of a layer of either library."""

from collections.abc import Iterable, Mapping
from typing import Any


class TrainingStep:
    """Forward over whole sequences from zero states, then backward to the inputs and every weight.

    Parameters
    ----------
    layer : module of rondeau or of PyTorch
        Returns its output and its final states.
    x, cotangent : tensor
        The input, which requires its gradient, and the gradient of the loss with respect to the output.
    keywords : mapping, optional
        Further arguments of the layer.
    leaves : iterable of tensor
        Those tensors among them that require a gradient.
    """

    def __init__(
        self,
        layer: Any,
        x: Any,
        cotangent: Any,
        keywords: Mapping[str, Any] | None = None,
        leaves: Iterable[Any] = (),
    ) -> None:
        self.layer, self.x, self.cotangent = layer, x, cotangent
        self.keywords, self.leaves = keywords or {}, (x, *leaves)

    def __call__(self) -> Any:
        """Return the output."""
        self.release()
        output, _ = self.layer(self.x, **self.keywords)
        output.backward(self.cotangent)
        return output

    def release(self) -> None:
        """Drop the gradients of the call before."""
        self.layer.zero_grad()
        for leaf in self.leaves:
            leaf.grad = None
