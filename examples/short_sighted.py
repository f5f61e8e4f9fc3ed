"""What a short-sighted agent does: warfarin dosing with the discount gamma at 0, 0.5, 0.9 and 0.99.

A dose moves the INR for days, so a plan that looks one day ahead sees next to nothing of what it causes. With gamma 0 the agent
learns whatever pays today; what it does to the days after is not its business. Run it:

    python examples/short_sighted.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import cumulant

GAMMAS = (0.0, 0.5, 0.9, 0.99)


def compare(total_steps: int = 300_000) -> dict[float, dict[str, float]]:
    """Train one agent for each discount and return what became of 5,000 held-out patients."""
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for gamma in GAMMAS:
            out = Path(folder) / f"gamma-{gamma}"
            result = cumulant.train("ppo", "warfarin", out=out, total_steps=total_steps, gamma=gamma)
            outcomes = result.evaluation["outcomes"]
            results[gamma] = {
                "return": result.evaluation["return_mean"],
                "time in range": outcomes["ttr"]["mean"],
                "INR above 4": outcomes["above_4"]["mean"],
            }
    return results


def main() -> None:
    """Print the comparison."""
    print("gamma   return   time in range %   INR > 4 %")
    for gamma, row in compare().items():
        print(f"{gamma:<5}   {row['return']:6.2f}   {row['time in range']:15.1f}   {row['INR above 4']:9.2f}")


if __name__ == "__main__":
    main()
