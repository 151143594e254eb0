"""The supernet: runs any network of a space on shared weights, and hands one out with a copy."""

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.func import functional_call

from nas.arch import Arch, Layer
from nas.errors import NasError
from nas.network.build import Network, build_layer
from nas.network.depthwise import quicken
from nas.network.supernet.places import Places, cover, places_of
from nas.network.supernet.shared import kind_of, shared
from nas.space import SearchSpace


class Supernet(nn.Module):
    """The weights of every network of a space, shared by place (section and block) and kind.

    Kernels are centres of larger ones behind a learned transform, channels the first of the widest
    layer, depths the first blocks of the deepest stage. Squeeze-and-excite has weights of its own
    beside them; each activation has its own scale and shift in the batch-norms. There are no
    running statistics: they differ between the networks, and are measured on the one handed out.

    Args:
        space: the space; networks are passed as its own archs.
        adapt: what turns an arch into the one that is run, as `Recipe.network` does: the same
            layers in other widths and sizes, for the classes of a data set.
        dropout: share of the features that the classifier drops in training.
    """

    def __init__(
        self, space: SearchSpace, adapt: Callable[[Arch], Arch], dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.space = space
        self.dropout = dropout
        self._adapt = adapt
        standing: dict[str, dict[Layer, None]] = {}
        for arch, places in cover(space):
            for place, layer in zip(places, adapt(arch).layers, strict=True):
                standing.setdefault(_name(place, layer), {})[layer] = None
        self.places = nn.ModuleDict({name: shared(list(one)) for name, one in standing.items()})

    def holds(self, arch: Arch) -> bool:
        """Tell whether an arch is a network of the space."""
        return places_of(self.space, arch) is not None

    def forward(self, images: Tensor, arch: Arch) -> Tensor:
        """Map images (N, channels, H, W) to logits (N, classes), normalised by their batch.

        Raises:
            NasError: the space does not hold the arch.
        """
        places, adapted = self._placed(arch)
        for place, layer in zip(places, adapted.layers, strict=True):
            module = _template(layer, self.dropout).train(self.training)
            images = functional_call(module, self._weights(place, layer), (images,))
        return images

    def extract(self, arch: Arch) -> Network:
        """Return a network with a copy of the shared weights, on their device.

        Its batch-norm statistics are those of a fresh network: measure them before it is used.

        Raises:
            NasError: the space does not hold the arch.
        """
        places, adapted = self._placed(arch)
        network = Network(adapted, self.dropout)
        weights = {
            f"layers.{number}.{name}": tensor.detach()
            for number, (place, layer) in enumerate(zip(places, adapted.layers, strict=True))
            for name, tensor in self._weights(place, layer).items()
        }
        network.load_state_dict({**network.state_dict(), **weights})
        return network.to(next(self.parameters()).device)

    def _placed(self, arch: Arch) -> tuple[Places, Arch]:
        places = places_of(self.space, arch)
        if places is None:
            raise NasError(
                f"{arch.name} ({arch.key()}) must be a network of the space {self.space.name}, but "
                "is none. Train a supernet of its own space."
            )
        return places, self._adapt(arch)

    def _weights(self, place: str, layer: Layer) -> dict[str, Tensor]:
        weights: dict[str, Tensor] = self.places[_name(place, layer)](layer)
        return weights


@lru_cache(maxsize=4096)
def _template(layer: Layer, dropout: float) -> nn.Module:
    """Return the module of a layer without weights, whose batch-norms keep no statistics."""
    with torch.device("meta"):
        module = build_layer(layer, dropout)
        quicken(module)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean = part.running_var = part.num_batches_tracked = None
    return module


def _name(place: str, layer: Layer) -> str:
    return f"{place}_{kind_of(layer)}"
