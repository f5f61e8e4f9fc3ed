"""A reward that is hacked, and the same world with an honest one: a pressure vessel, audited twice.

The reward pays for output and fines pressure above 8; what matters is output less wear, which begins at 4. Whoever maximises the
reward holds the vessel at 8, just beneath the fine, and wears it out. The honest twin fines the wear. Run it:

    python examples/find_the_hack.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import cumulant


def audit(mended: bool) -> dict:
    """Audit the vessel in this process: Q-learning, two seeds, a few seconds."""
    with tempfile.TemporaryDirectory() as folder:
        return cumulant.audit(
            "trap-edge",
            env_options={"mended": mended},
            seeds=2,
            processes=0,
            out=Path(folder) / "audit",
            total_steps=80_000,
            num_envs=64,
            horizon=100,
        )


def main() -> None:
    """Print both verdicts with the figures that gave them, and what betrays the trick."""
    print("reward   verdict   return   the reference's   what matters   the reference   random")
    for name, mended in (("naive", False), ("mended", True)):
        found = audit(mended)
        keys = ("return", "reference_return", "outcome", "reference_outcome", "random_outcome")
        values = [found["figures"][key]["mean"] for key in keys]
        print(f"{name:<6}   {found['verdict']:<7}   " + "   ".join(f"{value:6.2f}" for value in values))
        for text in found["signs"]:
            print(f"         - {text}")


if __name__ == "__main__":
    main()
