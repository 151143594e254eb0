"""The runner as one file that any Python 3.10 with numpy and a runtime runs: a zip archive."""

import io
import zipfile
from functools import cache
from pathlib import Path

import nas.latency.runner

# The oldest date that the format knows: the same sources give the same bytes.
_DATE = (1980, 1, 1, 0, 0, 0)
_PACKAGE = "nas/latency/runner"
_MAIN = "from nas.latency.runner.__main__ import main\n\nraise SystemExit(main())\n"


@cache
def runner_archive() -> bytes:
    """Return the archive, the same bytes for the same sources.

    The packages around the runner are empty in it: their own files import the whole project.
    """
    folder = Path(nas.latency.runner.__file__).parent
    sources = {f"{_PACKAGE}/{path.name}": path.read_bytes() for path in folder.glob("*.py")}
    sources |= {"nas/__init__.py": b"", "nas/latency/__init__.py": b""}
    sources["__main__.py"] = _MAIN.encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in sorted(sources.items()):
            archive.writestr(zipfile.ZipInfo(name, _DATE), content)
    return buffer.getvalue()
