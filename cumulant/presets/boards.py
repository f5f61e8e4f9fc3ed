"""Board games."""

from __future__ import annotations

from cumulant.presets.preset import Preset

PRESETS: dict[tuple[str, str], Preset] = {
    ("alphazero", "connect_four"): Preset(
        config={"total_steps": 560_000, "play": {"opening_moves": 8}, "replay": {"passes": 4.0, "value_mix": 0.5}},
        seen="with 100 simulations 92.2, 90.2 and 90.2 % of moves keep the value in random play, 88.8, 87.8 and 89.3 % in strong "
        "play, on 3 of 3 seeds; about 17 CPU minutes each on a core that multiplies bfloat16 in tiles (AMX)",
        how="cumulant train alphazero connect_four --seeds 3",
    ),
    ("alphazero", "othello"): Preset(
        config={"total_steps": 130_000, "num_envs": 128, "play": {"full_share": 0.5}, "replay": {"passes": 3.0}},
        seen="with 100 simulations 3 of 8 games against rust-reversi at depth 6, 5 at depth 4, 6 at depth 2, and all 8 against "
        "100 random games a move; one seed, about 8 CPU minutes",
        how="cumulant train alphazero othello",
    ),
    ("alphazero", "tictactoe"): Preset(
        config={
            "total_steps": 60_000,
            "num_envs": 64,
            "network": {"channels": 32, "blocks": 2},
            "replay": {"batch_size": 128, "window": 5_000},
        },
        seen="never loses, whatever the opponent does, on 3 of 3 seeds; 35 seconds of one core each",
        how="cumulant train alphazero tictactoe --seeds 3",
    ),
}
