"""Download one pinned file of a package with pip, without building or installing it.

A script of its own, because pip asks not to be imported: ``python -P pip_fetch.py PACKAGE FILENAME BYTES TARGET source|wheel``.
pip finds the file, so its index, extra indexes, find-links, certificates, proxy and credentials are those that the user has set
up for pip. ``pip download`` would not do for a source archive: it runs the archive's code to learn what it depends on. What is
wrong comes as the last line of stderr.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any


def main(package: str, filename: str, size_bytes: int, target: Path, is_source: bool) -> None:
    """Write the file of that name, at most ``size_bytes`` long, to ``target``."""
    if not _have_pip():
        sys.exit("there is no pip here: `python -m ensurepip` brings it")
    from pip._internal.commands import create_command

    command: Any = create_command("download")  # type: ignore[no-untyped-call, unused-ignore]
    choice = "--no-binary" if is_source else "--only-binary"
    options, _ = command.parse_args(["--no-deps", "--disable-pip-version-check", "--quiet", choice, package])
    with command.main_context():
        session = command.get_default_session(options)
        finder = command._build_package_finder(options=options, session=session)
        links = [found.link for found in finder.find_all_candidates(package) if found.link.filename == filename]
        if not links:
            sys.exit(f"pip finds no {filename} where it looks (`pip config list` says where)")
        # an identity encoding, because a .tar.gz must arrive as it is stored
        answer = session.get(links[0].url_without_fragment, stream=True, headers={"Accept-Encoding": "identity"})
        answer.raise_for_status()
        received = 0
        with target.open("wb") as file:
            for block in answer.iter_content(1 << 16):
                received += len(block)
                if received > size_bytes:
                    sys.exit(f"{filename} is longer than the {size_bytes} bytes that it must have")
                file.write(block)


def _have_pip() -> bool:
    """Whether pip can be imported; where it is not installed, the one that came with Python is taken."""
    if importlib.util.find_spec("pip") is None and importlib.util.find_spec("ensurepip") is not None:
        import ensurepip

        sys.path[:0] = [str(wheel) for wheel in Path(ensurepip.__file__).parent.glob("_bundled/pip-*.whl")]
    return importlib.util.find_spec("pip") is not None


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]), sys.argv[5] == "source")
