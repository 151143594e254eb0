"""Exported networks by format: size, agreement and latency.

`python benchmarks/exported_files.py --hardware host_cpu` exports networks with random weights in
every format whose runtime is installed, and prints for each file its size, how many times the
file in fp32 is larger, how far its logits are from torch's (fp32), and the latency that the table
of that runtime predicts beside the one measured at the pace of the table's day. Without a table of
that runtime and dtype the latency is only measured. Some 10 s a file, ExecuTorch's 1 min.
"""

import argparse
from importlib.util import find_spec

from nas.arch import Arch
from nas.errors import NasError
from nas.export.agreement import compare
from nas.export.settings import FORMATS
from nas.export.subject import untrained
from nas.export.timing import Latency, time_file
from nas.latency.devices.local import LocalDevice
from nas.latency.hardware_tables import named_table, table_names
from nas.latency.measure import Setting
from nas.latency.runner.sessions import open_session
from nas.latency.runtimes.registry import load_runtime
from nas.latency.runtimes.variants import VARIANTS
from nas.latency.table import LatencyTable

PACKAGES = {"onnx": "onnxruntime", "litert": "ai_edge_litert", "executorch": "executorch"}
NETWORKS = ("mobilenet_v3_large", "mobilenet_v3_small")


def quiet(what: str, done: int, total: int) -> None:
    """Hear of a step."""


def table_of(hardware: str, runtime: str, dtype: str, arch: Arch) -> LatencyTable | None:
    """Return the hardware's table for that runtime and dtype, if it holds the network."""
    own = {"onnxruntime", "fp32"}  # of hardware files that name no others
    name = "_".join([hardware, *(word for word in (runtime, dtype) if word not in own)])
    table = named_table(name, "--hardware") if name in table_names() else None
    return None if table is None or table.missing(arch) else table


def figures(latency: Latency) -> str:
    """Return predicted ms, measured ms and the error between them."""
    found = latency.prediction
    if found is None or found.ms_then is None or found.error_percent is None:
        return f"{'':>9} {latency.ms:8.3f}"
    return f"{found.ms:9.3f} {found.ms_then:8.3f} {found.error_percent:+7.1f}"


def main() -> None:
    """Export each network in each format and print a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hardware", default="host_cpu", help="whose tables predict")
    parser.add_argument("--networks", nargs="+", default=NETWORKS)
    parser.add_argument("--formats", nargs="+", default=list(FORMATS))
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    print(
        "network             format      dtype     MB  smaller  differs  predicted     ms       %"
    )
    for name in options.networks:
        subject = untrained(Arch.load(name))
        for format_ in options.formats:
            if find_spec(PACKAGES.get(format_, "torch")) is None:
                continue
            n_bytes: dict[str, int] = {}
            for dtype in VARIANTS[FORMATS[format_]]:
                runtime = load_runtime(FORMATS[format_], dtype)
                noise, facts = subject.noise(), subject.facts(dtype)
                content = runtime.export(subject.network, noise[:1], facts=facts)
                n_bytes[dtype] = len(content)
                session = open_session(runtime.name, content, options=runtime.options)
                found = compare(session, subject.network, [noise], len(noise), None, quiet)
                latency = time_file(
                    content,
                    subject.arch,
                    Setting(hardware="here", device=LocalDevice(), runtime=runtime),
                    table_of(options.hardware, runtime.name, dtype, subject.arch),
                    n_rounds=options.rounds,
                    on_step=quiet,
                )
                differs = f"{found.largest_difference:8.1e}" if dtype == "fp32" else " " * 8
                print(
                    f"{name:19} {format_:11} {dtype} {n_bytes[dtype] / 1e6:8.3f} "
                    f"{n_bytes['fp32'] / n_bytes[dtype]:8.2f} {differs} {figures(latency)}",
                    flush=True,
                )


if __name__ == "__main__":
    try:
        main()
    except NasError as error:
        raise SystemExit(f"error: {error}") from error
