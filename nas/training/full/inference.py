"""How long one image takes on the machine that trained the network."""

import time
from statistics import median

import torch
from torch import nn

from nas.training.conditions import training_threads

N_TIMED = 31
N_WARM = 5


def inference_ms(network: nn.Module, shape: tuple[int, int, int]) -> float:
    """Return the median time for one image on the network's device, on one thread of a CPU."""
    device = next(network.parameters()).device
    image = torch.zeros(1, *shape, device=device).contiguous(memory_format=torch.channels_last)
    network.eval()
    times = []
    with training_threads(1), torch.inference_mode():
        for _ in range(N_WARM + N_TIMED):
            started = time.perf_counter()
            network(image)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times.append(1000 * (time.perf_counter() - started))
    return median(times[N_WARM:])
