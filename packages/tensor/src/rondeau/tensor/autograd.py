"""PyTorch's ``torch.autograd``: the functions for differentiation, which `rondeau.tensor` has too, and `Variable`.

`few_rows` and `from_few_rows` are not PyTorch's: they are for gradients of tables of which few rows were read.
"""

from rondeau.tensor._backward import backward, grad
from rondeau.tensor._few_rows import few_rows, from_few_rows
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
    "few_rows",
    "from_few_rows",
    "grad",
    "gradcheck",
    "gradgradcheck",
    "inference_mode",
    "no_grad",
    "set_grad_enabled",
]
