"""PPO on text: the optimum that theory knows, the rules of tokens and rewards, and what is reported."""

import json

import pytest
import torch
from tiny_model import WORDS, write_model, write_prompts

from cumulant.algos import rlhf
from cumulant.engine.completions import read_prompts
from cumulant.engine.tuned import Tuned, TuningConfig
from cumulant.maths.kl import categorical_kl
from cumulant.run.config import from_dict
from cumulant.run.run import Run

WORTH = {"": 0.3, "red": -1.0, "green": 1.0, "blue": 0.0, "one": 0.5, "two": -0.5, "three": 2.0, "four": 0.2}
JUDGE = f"""
WORTH = {WORTH}
def worth(prompts, completions):
    return [sum(WORTH[word] for word in text.split()) if text else WORTH[""] for text in completions]
"""
FIELDS = {
    "env": "prompts.jsonl",
    "max_new_tokens": 5,
    "batch_size": 64,
    "learning_rate": 3e-3,
    "reference_samples": 64,
    "eval_prompts": 2,
    "scoring": {"reward": "judge.py:worth"},
    "tuning": {"model": "start", "lora_rank": 0, "precision": "float32"},
}


@pytest.fixture
def place(workspace):
    write_model(workspace / "start")
    write_prompts(workspace / "prompts.jsonl", [f"{a} {b}" for a in WORDS for b in WORDS])
    (workspace / "judge.py").write_text(JUDGE)
    return workspace


def configured(**fields):
    return from_dict(rlhf.Config, {**FIELDS, **fields})


def trained(place, seed=0, name="run", **fields):
    run = Run(place / name, {"seed": seed})
    try:
        evaluation = rlhf.train(configured(**fields), run)
    finally:
        run.close()
    rows = [json.loads(line) for line in (place / name / "metrics.jsonl").read_text().splitlines()]
    return evaluation, rows


def distribution(model, tokens):
    return model.logits(model.hidden(torch.tensor([tokens]))[:, -1]).log_softmax(-1)[0].detach()


@pytest.mark.parametrize(("seed", "features"), [(0, "policy"), (1, "frozen"), (2, "frozen")])
def test_it_learns_the_policy_that_theory_knows(place, seed, features):
    """Most is earned, after the price of KL, by p(y) = p_ref(y) exp(r(y) / beta) / Z: here over answers of one token."""
    beta = 0.5
    write_prompts(place / "prompts.jsonl", [f"{a} {b}" for a in WORDS[:2] for b in WORDS[3:7]])
    _, rows = trained(
        place, seed, total_steps=60, max_new_tokens=1, batch_size=192, minibatches=2, warmup_steps=0, learning_rate=2e-3,
        critic={"value_learning_rate": 1e-2, "value_features": features}, reference_samples=128,
        kl={"beta": beta}, scoring={"reward": "judge.py:worth", "standardise": False},
    )  # fmt: skip
    tuned = Tuned.finished(TuningConfig(model="start", lora_rank=0, precision="float32"), place / "run")
    worth = torch.tensor([WORTH[""], *(WORTH[word] for word in WORDS)])
    for prompt in read_prompts("prompts.jsonl", "train", tuned, 1):
        reference = distribution(tuned.reference, prompt.tokens)
        best = (reference + worth / beta).log_softmax(-1)
        learned = distribution(tuned.model, prompt.tokens)
        assert categorical_kl(reference, best) > 0.3
        assert categorical_kl(learned, best) < 0.06
    assert rows[-1]["reward/mean"] - beta * rows[-1]["kl/nats"] > rows[0]["reward/mean"] + 0.3
