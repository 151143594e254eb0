"""The work of judging networks, made from a config's nodes wherever a worker runs."""

import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from nas.chosen_data import make_judge
from nas.commands import make
from nas.errors import NasError
from nas.workers.contract import Ask, Work
from nas.workers.jobs import Judging, judge


def judging(options: Mapping[str, Any]) -> Work:
    """Make the work: a proxy of its own, on images read from the cache of decoded ones.

    Raises:
        NasError: wrong options, or images that are not those of whoever hands out the jobs.
    """
    with suppress(OSError):  # paths in the config are relative to it; another machine may lack it
        os.chdir(options["folder"])
    data = options["data"] and same_data(options["data"], options["digest"])
    node = dict(options["node"]) | ({"data": None} if data is not None else {})
    proxy = make_judge(node, options["what"], options["needs"], data)

    def work(plain: Mapping[str, Any], ask: Ask) -> list[float] | str | None:
        return judge(proxy, Judging.of(plain), ask)

    return work


def same_data(node: Mapping[str, Any], digest: str) -> Any:
    """Return the `ImageData` of a node of conf/data, as whoever hands out the jobs read it.

    Raises:
        NasError: it cannot be read, or other images are found.
    """
    data = make(node, "data", "train")
    if data.digest != digest:
        raise NasError(
            f"the images of every worker must be the same, but a worker reads {data.digest} where "
            f"the command read {digest}. Make them equal, or use workers=local."
        )
    return data
