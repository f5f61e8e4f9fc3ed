"""Where compiled code is kept between processes, and what is said when there is something to compile.

numba keeps machine code in ``__pycache__`` beside the sources, or in the user's cache folder where those cannot be written; where
neither can, it raises while a module is imported. ``prepare`` finds a place before that.
"""

from __future__ import annotations

import os
import stat
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_VARIABLE = "NUMBA_CACHE_DIR"
_SHOWN = 6  # functions that are named


def prepare(sources: Path) -> None:
    """Give numba a folder of this user's among the temporary files if there is no other place for compiled code.

    Call it before the first compiled function is made. It warns when it does something.

    Args:
        sources: Folder of modules with compiled functions.
    """
    wanted = os.environ.get(_VARIABLE, "")
    if wanted and _writable(Path(wanted)):
        return
    beside, users = _usable(sources / "__pycache__"), _writable(_users_folder())
    if beside or users:
        if wanted:
            warnings.warn(f"{_VARIABLE} = {wanted} cannot be written: compiled code is kept elsewhere", stacklevel=3)
        return
    folder = _temporary()
    os.environ[_VARIABLE] = str(folder)
    if "numba" in sys.modules:
        sys.modules["numba"].config.CACHE_DIR = str(folder)
    warnings.warn(
        f"neither {sources} nor {_users_folder()} can be written: compiled code is kept in {folder}; "
        f"name a better place with {_VARIABLE}",
        stacklevel=3,
    )


def _users_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "numba"


def _writable(folder: Path) -> bool:
    """Return whether files can be made in a folder, or it can be made."""
    if str(folder).startswith("~"):  # there is no home
        return False
    while (
        not os.path.exists(folder) and folder != folder.parent
    ):  # unlike Path.exists it bears what may not be looked at
        folder = folder.parent
    return os.path.isdir(folder) and os.access(folder, os.R_OK | os.W_OK | os.X_OK)


def _usable(folder: Path) -> bool:
    """Return whether code can be kept beside the sources: what is there already must be readable, too."""
    return _writable(folder) and all(os.access(kept, os.R_OK) for kept in folder.glob("*.nb[ic]"))


def _temporary() -> Path:
    """Return a folder of this user's; what others could have written is not used, for compiled code is run."""
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "")
    folder = Path(tempfile.gettempdir()) / f"cumulant-{user}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        known = folder.lstat()
        own = not hasattr(os, "getuid") or (known.st_uid == os.getuid() and stat.S_IMODE(known.st_mode) & 0o022 == 0)
        if stat.S_ISDIR(known.st_mode) and own and os.access(folder, os.W_OK | os.X_OK):
            return folder
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix="cumulant-"))


@contextmanager
def saying(say: Callable[[str], None] | None) -> Iterator[Callable[[], None]]:
    """Say what is compiled inside, and how long it took; nothing if everything was found compiled.

    Args:
        say: Called with a line when compiling begins, and with another one at the end; None for nobody.

    Yields:
        What says the second line at once, if there is something to say: call it when the first results are there.
    """
    if say is None or "numba" not in sys.modules:
        yield lambda: None
        return
    from numba.core import event

    class Watch(event.Listener):
        depth, began, seconds = 0, 0.0, 0.0

        def __init__(self) -> None:
            self.names: list[str] = []

        def on_start(self, event: Any) -> None:
            if self.depth == 0:
                if not self.names:
                    say("compiling for this processor, the first time only")
                self.began = time.perf_counter()
                self.names.append(event.data["dispatcher"].py_func.__name__.lstrip("_"))
            self.depth += 1

        def on_end(self, event: Any) -> None:
            self.depth -= 1
            if self.depth == 0:
                self.seconds += time.perf_counter() - self.began

        def tell(self) -> None:
            if self.names:
                names = list(dict.fromkeys(self.names))
                more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
                say(f"compiled {', '.join(names[:_SHOWN])}{more} in {self.seconds:.1f} s; the next run finds them")
            self.names, self.seconds = [], 0.0

    watch = Watch()
    with event.install_listener("numba:compile", watch):
        try:
            yield watch.tell
        finally:
            watch.tell()
