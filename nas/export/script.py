"""The script beside an exported file: it runs the file on an image, without this project."""

from nas import paths

_SCRIPT = '''\
"""Say what an image shows: python {script} <image>   (pip install {packages})"""
import json, sys
from pathlib import Path
import numpy as np
from PIL import Image, ImageOps
{imports}

path = Path(__file__).with_name("{file}")
{opening}
size, mean, std = (json.loads(about[key]) for key in ("resolution", "mean", "std"))
image = Image.open(sys.argv[1]).convert("{colours}")
image = ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)  # the centre of it
pixels = (np.asarray(image).reshape(1, size, size, -1) / 255 - mean) / std
{running}
shares = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
for number in shares.argsort()[::-1][:5]:
    print(f"{{shares[number]:7.2%}}  {{json.loads(about['classes'])[number]}}")
'''
_PARTS = {
    "onnx": (
        "onnxruntime numpy pillow",
        "import onnxruntime",
        "session = onnxruntime.InferenceSession(path)\n"
        "about = session.get_modelmeta().custom_metadata_map",
        "images = pixels.transpose(0, 3, 1, 2).astype(np.float32)\n"
        'logits = session.run(None, {"input": images})[0][0]',
    ),
    "litert": (
        "ai-edge-litert numpy pillow",
        "from ai_edge_litert import interpreter, schema_py_generated",
        "runner = interpreter.Interpreter(str(path))\n"
        "runner.allocate_tensors()\n"
        "model = schema_py_generated.ModelT.InitFromPackedBuf(path.read_bytes(), 0)\n"
        "texts = {one.name.decode(): model.buffers[one.buffer].data for one in model.metadata}\n"
        "about = {name: bytes(text) for name, text in texts.items()}",
        'runner.set_tensor(runner.get_input_details()[0]["index"], pixels.astype(np.float32))\n'
        "runner.invoke()\n"
        'logits = runner.get_tensor(runner.get_output_details()[0]["index"])[0]',
    ),
    "executorch": (
        "executorch numpy pillow",
        "import torch\nfrom executorch.runtime import Runtime",
        "program = Runtime.get().load_program(path)\n"
        'keys = ("resolution", "mean", "std", "classes")\n'
        "about = {key: program.load_method(key).execute([])[0] for key in keys}",
        "images = torch.from_numpy(pixels.transpose(0, 3, 1, 2).astype(np.float32)).contiguous()\n"
        'logits = program.load_method("forward").execute([images])[0].numpy()[0]',
    ),
    "torchscript": (
        "torch numpy pillow",
        "import torch",
        'about = dict.fromkeys(("resolution", "mean", "std", "classes"), "")\n'
        "module = torch.jit.load(path, _extra_files=about)",
        "images = torch.from_numpy(pixels.transpose(0, 3, 1, 2).astype(np.float32))\n"
        "with torch.inference_mode():\n"
        "    logits = module(images).numpy()[0]",
    ),
}
"""For each format: packages, imports, how the file and its texts are read, how images run."""
_COLOURS = {1: "L", 3: "RGB"}
"""Pillow's names for a number of channels."""


def stem_of(name: str, dtype: str) -> str:
    """Return a file name without ending for a network's name, which may hold any text."""
    words = paths.stem_of(name)
    return words if dtype == "fp32" else f"{words}_{dtype}"


def script_name(stem: str) -> str:
    """Return the name of the script beside the file of that stem."""
    return f"run_{stem}.py"


def run_script(format_: str, stem: str, suffix: str, n_channels: int) -> str:
    """Return the script that runs `<stem><suffix>`, which lies beside it."""
    packages, imports, opening, running = _PARTS[format_]
    return _SCRIPT.format(
        script=script_name(stem),
        file=f"{stem}{suffix}",
        packages=packages,
        imports=imports,
        opening=opening,
        running=running,
        colours=_COLOURS[n_channels],
    )
