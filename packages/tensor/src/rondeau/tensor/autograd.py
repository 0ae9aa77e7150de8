"""PyTorch's ``torch.autograd``: the functions for differentiation, which `rondeau.tensor` has too, and `Variable`."""

from rondeau.tensor._backward import backward, grad
from rondeau.tensor._function import Function
from rondeau.tensor._inference import inference_mode
from rondeau.tensor._modes import enable_grad, no_grad, set_grad_enabled
from rondeau.tensor._variable import Variable
from rondeau.tensor.gradcheck import gradcheck, gradgradcheck

__all__ = [
    "Function",
    "Variable",
    "backward",
    "enable_grad",
    "grad",
    "gradcheck",
    "gradgradcheck",
    "inference_mode",
    "no_grad",
    "set_grad_enabled",
]
