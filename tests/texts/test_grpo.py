"""GRPO: a small task whose answers a function checks, and what its loss divides by."""

import json

import pytest
import torch
from tiny_model import WORDS, write_model, write_prompts

from cumulant.algos import grpo
from cumulant.engine.tuned import Tuned
from cumulant.nn.llama import Llama, LlamaConfig
from cumulant.run.config import from_dict
from cumulant.run.run import Run

JUDGE = """
def copied(prompts, completions):
    return [float(text == prompt.split()[0]) for prompt, text in zip(prompts, completions)]
"""


def trained(place, seed, **fields):
    write_model(place / "start", seed=seed, width=48, spread=0.08)
    write_prompts(place / "prompts.jsonl", [f"{a} {b}" for a in WORDS[:3] for b in WORDS[3:7]])
    (place / "judge.py").write_text(JUDGE)
    config = from_dict(
        grpo.Config,
        {
            "env": "prompts.jsonl", "max_new_tokens": 2, "batch_size": 192, "group_size": 24, "learning_rate": 2e-3,
            "eval_prompts": 2, "beta": 0.05, "scoring": {"reward": "judge.py:copied", "standardise": False},
            "tuning": {"model": "start", "lora_rank": 0, "precision": "float32"}, **fields,
        },
    )  # fmt: skip
    run = Run(place / f"run{seed}", {"seed": seed})
    try:
        grpo.train(config, run)
    finally:
        run.close()
    return grpo.evaluate(config, run.directory), [
        json.loads(line) for line in (run.directory / "metrics.jsonl").read_text().splitlines()
    ]


@pytest.mark.parametrize(
    ("seed", "fields"),
    [
        (0, {}),
        (1, {"advantage": "centred", "loss": "dr_grpo", "epochs": 2, "learning_rate": 1e-3}),
        (2, {"advantage": "leave_one_out", "loss": "dapo"}),
    ],
    ids=["grpo", "dr_grpo", "rloo"],
)
def test_it_learns_to_repeat_the_first_word_and_stop(workspace, seed, fields):
    """One answer in 64 is right to begin with: a word of eight, and then the end."""
    _, rows = trained(workspace, seed, total_steps=40, **fields)
    assert rows[0]["reward/mean"] < 0.1
    assert sum(row["reward/mean"] for row in rows[-15:]) / 15 > 0.8
    assert rows[-1]["text/length"] == pytest.approx(2.0, abs=0.2)
    assert all(0.0 <= row["kl/nats"] < 20.0 for row in rows)
    assert rows[0]["kl/nats"] == pytest.approx(0.0, abs=1e-5)


SHAPE = LlamaConfig(
    vocab_size=13, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
    max_position_embeddings=16, initializer_range=0.4,
)  # fmt: skip


@pytest.fixture
def answers():
    """Six answers of one to five tokens, one of which does not count, as a policy half a nat away from their writer sees them.

    In float64, so that what is equal but for rounding is told from what is not.
    """
    draw = torch.Generator().manual_seed(0)
    tuned = Tuned(model := Llama(SHAPE, draw).double(), None, model)
    ids = torch.randint(0, 13, (6, 8), generator=draw)
    real = torch.arange(5) < torch.tensor([5, 1, 3, 0, 4, 2])[:, None]
    mask = torch.cat([torch.ones(6, 3, dtype=torch.bool), real], 1)
    logp = model.logp(ids, mask, first=3)[:, 2:].detach()
    older, reference = (logp + 0.5 * torch.randn(6, 5, generator=draw) for _ in range(2))
    batch = grpo.Batch(ids, mask, real, older, reference, torch.randn(6, generator=draw), None)
    return tuned, batch, logp


@pytest.mark.parametrize("loss", ["grpo", "dapo", "dr_grpo"])
def test_the_loss_is_its_definition_and_that_of_its_parts(answers, loss):
    tuned, batch, logp = answers
    config = grpo.Config(loss=loss, beta=0.3, clip=0.2, max_new_tokens=5)
    expected = []
    for i in (0, 1, 2, 4, 5):
        terms = []
        for t in range(int(batch.real[i].sum())):
            ratio = (logp[i, t] - batch.logp_old[i, t]).exp().item()
            advantage, away = batch.advantage[i].item(), (batch.logp_ref[i, t] - logp[i, t])
            surrogate = -min(ratio * advantage, min(max(ratio, 0.8), 1.2) * advantage)
            terms.append(surrogate + 0.3 * ratio * (away.exp() - 1 - away).item())
        expected.append(terms)
    every = [term for terms in expected for term in terms]
    whole = {
        "grpo": sum(sum(terms) / len(terms) for terms in expected) / 5,
        "dapo": sum(every) / len(every),
        "dr_grpo": sum(every) / (5 * 5),
    }[loss]
    weight = grpo.weights(batch.real, config)

    def gradient(parts):
        tuned.model.zero_grad()
        total = 0.0
        for index in torch.arange(6).tensor_split(parts):
            part = grpo.minibatch_loss(tuned, batch.rows(index), config, weight[index])
            part.total.backward()
            total += part.total.item()
        return total, torch.cat([part.grad.reshape(-1) for part in tuned.model.parameters()])

    value, at_once = gradient(1)
    assert value == pytest.approx(whole, abs=1e-6)
    for parts in (2, 6):
        in_parts, summed = gradient(parts)
        assert in_parts == pytest.approx(value, abs=1e-13)
        assert (summed - at_once).norm() < 1e-12 * at_once.norm()
    assert at_once.abs().max() > 0.01
