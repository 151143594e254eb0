"""Modules as a deployment has them: what can be computed before the first image is."""

import copy

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


class _Mean(nn.Module):
    """A global average pool; exporters keep it one operator in every memory layout."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3), keepdim=True)


def folded(module: nn.Module, *, with_means: bool = False) -> nn.Module:
    """Return a copy in eval mode, its batch-norms folded into the convolutions before them.

    `with_means` puts a plain mean in the place of each global average pool.
    """
    module = copy.deepcopy(module).eval()
    for parent in list(module.modules()):
        names = list(parent._modules)
        for name, following in zip(names, [*names, ""][1:], strict=True):
            part = parent._modules[name]
            norm = parent._modules.get(following)
            if with_means and isinstance(part, nn.AdaptiveAvgPool2d):
                parent._modules[name] = _Mean()
            is_chain = isinstance(parent, nn.Sequential) and isinstance(part, nn.Conv2d)
            if is_chain and isinstance(norm, nn.BatchNorm2d):
                parent._modules[name] = fuse_conv_bn_eval(part, norm)  # type: ignore[type-var]
                parent._modules[following] = nn.Identity()
    return module
