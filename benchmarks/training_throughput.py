"""How fast training is beside a plain loop: `python benchmarks/training_throughput.py`.

`--loop full` compares the loop of `nas.train`, with its checkpoints and all; the default is the one
of short trainings.

The plain loop is what one writes first: a DataLoader that crops, mirrors and normalises image by
image, the network as it is built, float32 in torch's own order of memory. Both train the same
networks on as many images, on one thread of one core, in turns, each in a process of its own. The
least processor time of the rounds counts; the ratio is plain / ours. About five minutes.
"""

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from nas.arch import Arch
from nas.data.images import ImageData, Images
from nas.network.build import build
from nas.space import SearchSpace
from nas.training.fit import train_arch
from nas.training.full.folder import TrainingFolder
from nas.training.full.job import Place, TrainingJob
from nas.training.full.launch import make_fabric, run_training
from nas.training.full.networks import fresh
from nas.training.full.recipe import FullRecipe
from nas.training.full.watching import Watch
from nas.training.recipe import Recipe

N_IMAGES = 960
N_CLASSES = 10
ROUNDS = 4
SIZES = (32, 16)


def noise() -> ImageData:
    """Return images of noise: what they show costs no time."""
    pixels = torch.randint(0, 256, (N_IMAGES, 3, 32, 32), dtype=torch.uint8)
    images = Images(pixels=pixels, labels=torch.randint(N_CLASSES, (N_IMAGES,)))
    classes = tuple(map(str, range(N_CLASSES)))
    return ImageData(
        name="noise", digest="noise", classes=classes, train=images, validation=images[:1]
    )


class PlainImages(Dataset[tuple[Tensor, int]]):
    """Images that are cropped with a padding of 4 pixels, mirrored and normalised one by one."""

    def __init__(self, data: ImageData, size: int) -> None:
        self.images = [Image.fromarray(one.permute(1, 2, 0).numpy()) for one in data.train.pixels]
        self.labels = data.train.labels.tolist()
        mean, std = data.mean_and_std()
        self.mean, self.std = mean.view(3, 1, 1), std.view(3, 1, 1)
        self.size = size

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = self.images[index]
        if image.size != (self.size, self.size):
            image = image.resize((self.size, self.size), Image.Resampling.BILINEAR)
        padded = ImageOps.expand(image, 4)
        left, top = (int(number) for number in torch.randint(9, (2,)))
        image = padded.crop((left, top, left + self.size, top + self.size))
        if torch.rand(1) < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
        return (pixels.to(torch.float32) / 255 - self.mean) / self.std, self.labels[index]


def plain(arch: Arch, data: ImageData, recipe: Recipe) -> None:
    """Train by the loop of a tutorial."""
    size = recipe.resolution or data.size
    network = build(recipe.network(arch, N_CLASSES, data.size)).train()
    optimizer = torch.optim.SGD(
        network.parameters(), lr=recipe.learning_rate, momentum=0.9, nesterov=True
    )
    measure = nn.CrossEntropyLoss()
    images = PlainImages(data, size)
    for batch, labels in DataLoader(images, batch_size=recipe.batch_size, shuffle=True):
        optimizer.zero_grad()
        loss = measure(network(batch), labels)
        loss.backward()
        optimizer.step()


def ours(arch: Arch, data: ImageData, recipe: Recipe) -> None:
    """Train by the loop of `proxy=short_train`, with a validation of one image."""
    train_arch(arch, data, recipe, seed=0)


def full(arch: Arch, data: ImageData, recipe: Recipe) -> None:
    """Train by the loop of `nas.train`, with a validation of one image and all files written."""
    size = recipe.resolution or data.size
    own = recipe.network(arch, N_CLASSES, data.size)
    with tempfile.TemporaryDirectory() as folder:
        job = TrainingJob(
            name=arch.name,
            arch=own,
            make_network=partial(fresh, own, 0.0, 0),
            size=size,
            data=data,
            recipe=FullRecipe(epochs=1, batch_size=recipe.batch_size, weight_decay=0.0),
            folder=TrainingFolder(Path(folder)),
            identity={},
            place=Place(device="cpu", threads=1),
        )
        run_training(make_fabric(job.place), job, lambda: nullcontext(Watch()))


LOOPS = {"short": ours, "full": full}


def networks() -> list[Arch]:
    """Return the networks to train: random ones of the small spaces, and a standard one."""
    tiny, small = SearchSpace.load("tiny"), SearchSpace.load("small_images")
    return [tiny.random(1), tiny.random(3), small.random(0), Arch.load("mobilenet_v3_small")]


def seconds(loop: Callable[[Arch, ImageData, Recipe], None], arch: Arch, size: int) -> float:
    """Return the processor time that a loop takes for `N_IMAGES`."""
    torch.set_num_threads(1)
    data = noise()
    recipe = Recipe(epochs=1, batch_size=32, resolution=size)
    begun = time.process_time()
    loop(arch, data, recipe)
    return time.process_time() - begun


def main() -> None:
    """Print images a second of both loops, and their ratio, for each network and size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loop", choices=list(LOOPS), default="short")
    loop = LOOPS[parser.parse_args().loop]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn) as first, ProcessPoolExecutor(1, spawn) as second:
        for arch in networks():
            for size in SIZES:
                taken: list[tuple[float, float]] = []
                for _ in range(1 + ROUNDS):  # the first warms up
                    slow = first.submit(seconds, plain, arch, size).result()
                    taken.append((slow, second.submit(seconds, loop, arch, size).result()))
                slow, quick = (min(times) for times in zip(*taken[1:], strict=True))
                print(
                    f"{arch.name} {arch.key()[:6]} @{size}: plain {N_IMAGES / slow:.0f} images/s, "
                    f"ours {N_IMAGES / quick:.0f}, ratio {slow / quick:.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
