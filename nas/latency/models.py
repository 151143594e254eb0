"""Model files of layers, chains and networks, as one runtime takes them."""

from collections.abc import Iterable

from nas.latency.runner.bench import Model
from nas.latency.runtimes.contract import Runtime
from nas.latency.runtimes.export import exported, subject_of
from nas.latency.subjects import Subject
from nas.steps import OnStep

N_WORKERS = 2


def model_files(subjects: Iterable[Subject], runtime: Runtime, on_step: OnStep) -> dict[str, Model]:
    """Return the model file of each subject by its name.

    Raises:
        NasError: a package is missing, or the runtime cannot express a layer.
    """
    texts = {one.name: subject_of(one.layers) for one in subjects}
    made = exported(texts.values(), runtime, n_workers=N_WORKERS, on_step=on_step)
    files = dict(made)
    return {name: files[text] for name, text in texts.items()}
