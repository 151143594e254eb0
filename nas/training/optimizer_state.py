"""The state of an optimizer as named tensors, so that safetensors can hold it."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.optim import Optimizer


def optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    """Return the tensors of an optimizer's state, by `<number of the parameter>.<name>`."""
    return {
        f"{number}.{name}": one
        for number, state in optimizer.state_dict()["state"].items()
        for name, one in state.items()
        if isinstance(one, Tensor)
    }


def restore_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Fill in what `optimizer_tensors` gave of an optimizer of the same parameters."""
    parameters = [one for group in optimizer.param_groups for one in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, one in tensors.items():
        number, _, what = name.partition(".")
        state.setdefault(int(number), {})[what] = _laid_out_as(parameters[int(number)], one)
    content = optimizer.state_dict()
    with torch.no_grad():
        optimizer.load_state_dict({**content, "state": state})


def _laid_out_as(parameter: Tensor, one: Tensor) -> Tensor:
    """Return a tensor in a parameter's order of memory, which is the one that fused steps take."""
    if one.shape != parameter.shape:
        return one
    return torch.empty_like(parameter, dtype=one.dtype).copy_(one)
