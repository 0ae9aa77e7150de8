"""A training step of a layer of either library."""

from typing import Any


class TrainingStep:
    """Forward over whole sequences from zero states, then backward to the input and every weight.

    Parameters
    ----------
    layer : module of rondeau or of PyTorch
        Returns its output and its final states.
    x, cotangent : tensor
        The input, which requires its gradient, and the gradient of the loss with respect to the output.
    """

    def __init__(self, layer: Any, x: Any, cotangent: Any) -> None:
        self.layer, self.x, self.cotangent = layer, x, cotangent

    def __call__(self) -> Any:
        """Return the output."""
        self.release()
        output, _ = self.layer(self.x)
        output.backward(self.cotangent)
        return output

    def release(self) -> None:
        """Drop the gradients of the call before."""
        self.layer.zero_grad()
        self.x.grad = None
