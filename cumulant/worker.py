"""A process that trains one seed of a group: reads its order from stdin, writes rows as JSON lines to stdout."""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

from cumulant.errors import CumulantError


def main() -> int:
    """Train what stdin orders; return the exit code."""
    order = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    out = sys.stdout
    sys.stdout = sys.stderr  # whatever an environment prints must not mix with the messages

    def send(message: dict[str, Any]) -> None:
        out.write(json.dumps(message) + "\n")
        out.flush()

    from cumulant import api

    try:
        api.train_one(
            order["spec"],
            Path(order["directory"]),
            resume=order["resume"],
            progress=lambda seed, row: send({"row": row}),
        )
    except CumulantError as problem:
        send({"error": type(problem).__name__, "message": str(problem)})
        return problem.exit_code
    except KeyboardInterrupt:  # before the first iteration, when there is nothing to save
        return 130
    return 0


def _end_with_parent() -> None:
    """Leave at once when the parent is gone; the run resumes from its last checkpoint."""
    while sys.stdin.buffer.raw.read(1):  # type: ignore[union-attr]
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
