"""Execute the notebooks in place: ``python tests/rebuild_notebooks.py``, or with some names: ``... 01_derivative``.

The exercises are not executed: their checks fail until they are solved.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "notebooks"
NOTEBOOKS = sorted([*FOLDER.glob("*.ipynb"), *FOLDER.glob("solutions/*.ipynb")])
EXERCISES = sorted(FOLDER.glob("exercises/*.ipynb"))  # kept without outputs: their checks fail until someone solves them
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def execute(path: Path, folder: Path) -> Any:
    """The notebook run from top to bottom in a folder, by this interpreter and with this repository's micrograd.

    Nothing of the moment is kept: no times, no versions.  An error in a cell is raised.
    """
    import matplotlib.font_manager  # noqa: F401  (builds its cache here: in a notebook it would print so)
    import nbformat
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as settings:  # not the user's own
        client = NotebookClient(
            notebook,
            km=AsyncKernelManager(kernel_spec_manager=KernelSpecManager(kernel_dirs=[])),  # the running interpreter
            resources={"metadata": {"path": str(folder)}},
            extra_arguments=["--log-level=ERROR"],
            record_timing=False,
            coalesce_streams=True,
            timeout=120,
        )
        client.execute(cleanup_kc=True, env={**os.environ, "PYTHONPATH": str(ROOT), "IPYTHONDIR": settings})
    notebook.metadata = METADATA
    for cell in notebook.cells:
        cell.metadata = {}
    return notebook


def main(names: list[str]) -> None:
    """Execute the named notebooks, by default all, and write them and the pictures that they save."""
    import nbformat

    for path in NOTEBOOKS:
        if names and path.stem not in names:
            continue
        with tempfile.TemporaryDirectory() as folder:
            notebook = execute(path, Path(folder))
            nbformat.write(notebook, path)
            for saved in Path(folder).iterdir():
                shutil.copy(saved, path.parent)
        print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main(sys.argv[1:])
