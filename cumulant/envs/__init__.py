"""Native environments: every one is a batch kernel first, and a Gymnasium environment by one adapter."""

from __future__ import annotations


def register() -> None:
    """Register every native environment with Gymnasium (called by Gymnasium itself, through an entry point)."""
    import gymnasium

    from cumulant.envs import lookup

    for name, listed in lookup.listing().items():
        gymnasium.register(
            id=listed.gym_id,
            entry_point="cumulant.envs.batched:SingleEnv",
            vector_entry_point="cumulant.envs.batched:BatchVectorEnv",
            kwargs={"name": name},
        )
