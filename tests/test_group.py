import numpy as np
import pytest

from cumulant.group import merge
from cumulant.stats import student_t_quantile


def evaluation(mean, half, low_outcome=0.0):
    def measure(m):
        return {"mean": m, "interval": [m - half, m + half]}

    rows = [
        {"name": "agent", "label": "ppo", "kind": "agent", "metrics": {"return": measure(mean)}},
        {"name": "uw", "label": "UW", "kind": "protocol", "metrics": {"return": measure(1.0)}},
    ]
    return {
        "return_mean": mean,
        "return_interval": [mean - half, mean + half],
        "outcomes": {"bleeds": {"mean": mean / 10, "interval": [low_outcome, mean / 5]}},
        "comparisons": [{"key": "B", "rows": rows}],
        "subgroups": [
            {"title": "age", "rows": [{"label": "old", "agent": {"return": measure(mean)}, "reference": {}}]}
        ],
        "trajectories": {"of": mean},
    }


def test_several_seeds_hold_the_spread_of_seeds_and_of_episodes():
    merged = merge({0: evaluation(1.0, 0.3), 1: evaluation(2.0, 0.3), 5: evaluation(6.0, 0.3)})
    half = np.hypot(student_t_quantile(0.975, 2) * np.std([1, 2, 6], ddof=1) / np.sqrt(3), 0.3)
    assert merged["return_mean"] == pytest.approx(3.0)
    np.testing.assert_allclose(merged["return_interval"], [3.0 - half, 3.0 + half])
    agent, protocol = merged["comparisons"][0]["rows"]
    assert agent["metrics"]["return"]["mean"] == pytest.approx(3.0)
    assert agent["label"] == "ppo, mean of 3 seeds"
    assert protocol["metrics"]["return"]["mean"] == 1.0
    assert merged["subgroups"][0]["rows"][0]["agent"]["return"]["mean"] == pytest.approx(3.0)
    assert merged["trajectories"] == {"of": 1.0, "seed": 0}  # of the first seed, and says so
    assert merged["intervals"] == "95 %, over seeds and episodes"
    assert [seed["seed"] for seed in merged["agent_seeds"]] == [0, 1, 5]
    assert merged["outcomes"]["bleeds"]["interval"][0] == 0.0  # a rate does not fall below nothing


def test_two_seeds_show_the_range_of_their_intervals():
    merged = merge({0: evaluation(1.0, 0.3), 1: evaluation(2.0, 0.5)})
    assert merged["return_interval"] == [0.7, 2.5]
    assert merged["intervals"].startswith("from the lowest to the highest")


def test_one_seed_is_itself():
    merged = merge({0: evaluation(1.0, 0.3)})
    assert merged["return_interval"] == [0.7, 1.3]
