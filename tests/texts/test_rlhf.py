"""PPO on text: the optimum that theory knows, the rules of tokens and rewards, and what is reported."""

import json

import pytest
import torch
from tiny_model import WORDS, write_model, write_prompts

from cumulant.algos import rlhf
from cumulant.engine.completions import read_prompts
from cumulant.engine.tuned import ComputeConfig, Critic, Tuned, TuningConfig
from cumulant.errors import DataError, NumericsError
from cumulant.maths.kl import categorical_kl
from cumulant.nn.causal_lm import load_tokenizer
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
    run, config = Run(place / name, {"seed": seed}), configured(**fields)
    try:
        rlhf.train(config, run)
    finally:
        run.close()
    evaluation = rlhf.evaluate(config, run.directory)
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


def test_the_reward_is_read_at_the_last_real_token_and_nothing_leaves_the_padding():
    """Against sums written out: completions of three tokens, of one (only the end mark), and one that was cut off."""
    real = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1]], dtype=torch.bool)
    draw = torch.Generator().manual_seed(0)
    kl, value = torch.randn(3, 4, generator=draw), torch.randn(3, 4, generator=draw)
    score, beta, gamma, lam = torch.tensor([2.0, -1.0, 0.5]), 0.3, 0.9, 0.8
    expected = torch.zeros(3, 4)
    for i in range(3):
        length, carried = int(real[i].sum()), 0.0
        for t in reversed(range(length)):
            is_last = t == length - 1
            reward = -beta * kl[i, t] + (score[i] if is_last else 0.0)
            delta = reward + (0.0 if is_last else gamma * value[i, t + 1]) - value[i, t]
            carried = delta + gamma * lam * carried
            expected[i, t] = carried
    found = rlhf.token_advantage(score, kl, value, real, beta, gamma, lam)
    torch.testing.assert_close(found, expected)
    dirty = [torch.where(real, x, float("nan")) for x in (kl, value)]
    torch.testing.assert_close(rlhf.token_advantage(score, *dirty, real, beta, gamma, lam), expected)


@pytest.mark.parametrize("estimate", ["k1", "k2", "k3"])
def test_the_divergence_that_is_reported_is_the_one_that_is_paid_for(place, monkeypatch, estimate):
    paid = []
    advantage = rlhf.token_advantage

    def watch(score, kl, value, real, beta, gamma, lam):
        paid.append((beta, (kl * real).sum(1).mean().item()))
        return advantage(score, kl, value, real, beta, gamma, lam)

    monkeypatch.setattr(rlhf, "token_advantage", watch)
    _, rows = trained(place, total_steps=6, kl={"beta": 0.1, "kl_estimate": estimate, "kl_goal": 0.05, "kl_step": 1.0})
    assert [row["kl/nats"] for row in rows] == pytest.approx([nats for _, nats in paid], abs=1e-5)
    assert [row["kl/coefficient"] for row in rows] == [beta for beta, _ in paid]
    assert rows[0]["kl/nats"] == pytest.approx(0.0, abs=1e-4)  # nothing was learned yet
    assert rows[-1]["kl/nats"] > 0.05
    assert rows[1]["kl/coefficient"] == pytest.approx(0.1 * 0.8)  # far below the goal: the price falls at its fastest
    assert rows[-1]["kl/coefficient"] > rows[-2]["kl/coefficient"]  # above it: it rises


def test_completions_that_were_cut_off_teach_nothing_if_so_asked(place, monkeypatch):
    seen = []
    loss = rlhf.minibatch_loss

    def watch(tuned, critic, batch, config, count):
        seen.append((batch.real.any(1), batch.advantage))
        return loss(tuned, critic, batch, config, count)

    monkeypatch.setattr(rlhf, "minibatch_loss", watch)
    _, rows = trained(place, total_steps=1, scoring={"reward": "judge.py:worth", "truncated": "skip"})
    learned, advantage = (torch.cat(parts) for parts in zip(*seen))
    assert 0.1 < rows[0]["text/stopped"] < 0.9
    assert learned.float().mean().item() == pytest.approx(rows[0]["text/stopped"])
    assert (advantage[~learned] == 0.0).all()


def test_a_policy_that_moved_far_is_not_trained_on_the_batch_any_longer(place, monkeypatch):
    steps = []
    loss = rlhf.minibatch_loss
    monkeypatch.setattr(rlhf, "minibatch_loss", lambda *given: (steps.append(1), loss(*given))[1])
    for target, passes in ((None, 5), (1e-4, 2)):  # it is measured while a pass goes on: the first has not moved yet
        steps.clear()
        trained(place, name=f"run{passes}", total_steps=1, epochs=5, minibatches=1, micro_batch=64, target_kl=target)
        assert len(steps) == passes


def test_adapters_leave_the_reference_as_it_was(place):
    """One set of weights: off, the adapters change nothing; below the first of them policy and reference are the same."""
    config = TuningConfig(model="start", lora_rank=4, lora_share=0.5, precision="float32")
    tuned = Tuned.begin(config, torch.Generator().manual_seed(0))
    assert tuned.first_layer == 1
    assert sum(part.numel() for part in tuned.trainable.values()) < 0.5 * sum(
        p.numel() for p in tuned.model.parameters()
    )
    before = Tuned.begin(TuningConfig(model="start", lora_rank=0, precision="float32"), torch.Generator())
    ids = torch.randint(0, 8, (4, 9), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[1, :3] = False
    with torch.no_grad():
        for part in tuned.trainable.values():
            part.normal_(0.0, 0.3, generator=torch.Generator().manual_seed(2))
    frozen = tuned.frozen(ids, mask)
    plain = before.frozen(ids, mask)
    torch.testing.assert_close(frozen.hidden[mask], plain.hidden[mask], rtol=0, atol=1e-5)
    with torch.no_grad():
        policy = tuned.hidden(ids, mask)
        torch.testing.assert_close(tuned.hidden(ids, mask, frozen.lower), policy, rtol=0, atol=1e-5)
    assert (policy - frozen.hidden)[mask].abs().max() > 0.01
    tuned.save(place / "saved")
    saved = Tuned.finished(config, place / "saved")
    torch.testing.assert_close(saved.model.hidden(ids, mask)[mask], policy[mask], rtol=0, atol=1e-4)
    torch.testing.assert_close(saved.frozen(ids, mask).hidden[mask], plain.hidden[mask], rtol=0, atol=1e-5)


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_all_weights_in_training_begin_as_their_reference(place, precision):
    tuned = Tuned.begin(TuningConfig(model="start", lora_rank=0, precision=precision), torch.Generator())
    ids, wanted = torch.randint(0, 8, (4, 9), generator=torch.Generator().manual_seed(1)), torch.ones(4, 8, dtype=bool)
    mask = torch.ones_like(ids, dtype=torch.bool)
    with torch.no_grad():
        logp, _ = tuned.logp(tuned.hidden(ids, mask), ids, wanted)
    assert torch.equal(logp, tuned.reference_logp(tuned.frozen(ids, mask).hidden, ids, wanted))


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_computing_again_changes_no_gradient_and_no_answer(place, kind):
    if kind == "gpt2":
        import transformers

        shape = transformers.GPT2Config(vocab_size=8, n_positions=32, n_embd=16, n_layer=2, n_head=2)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            transformers.GPT2LMHeadModel(shape).save_pretrained(place / "gpt2")
        load_tokenizer(place / "start").save_pretrained(place / "gpt2")
    config = TuningConfig(model="start" if kind == "llama" else "gpt2", lora_rank=0, precision="float32")
    ids = torch.randint(0, 8, (4, 9), generator=torch.Generator().manual_seed(1))
    found = []
    for again in (False, True):
        tuned = Tuned.begin(config, torch.Generator(), ComputeConfig(gradient_checkpointing=again))
        for part in tuned.trainable.values():
            part.grad = None
        hidden = tuned.hidden(ids, torch.ones_like(ids, dtype=torch.bool))
        tuned.logp(hidden, ids, torch.ones(4, 8, dtype=torch.bool))[0].mean().backward()
        written = tuned.write([[1, 2], [3]], 6, 0.0, torch.Generator())
        found.append((torch.cat([part.grad.reshape(-1) for part in tuned.trainable.values()]), written.ids))
    torch.testing.assert_close(found[1][0], found[0][0], rtol=1e-5, atol=1e-7)
    assert found[0][0].abs().max() > 1e-3
    assert torch.equal(found[0][1], found[1][1])


def test_with_adapters_it_earns_more_and_the_first_update_starts_at_ratio_one(place):
    fields = {"total_steps": 25, "learning_rate": 1e-2, "kl": {"beta": 0.05}}
    lora = {"model": "start", "lora_rank": 8, "lora_share": 0.5, "precision": "float32"}
    evaluation, rows = trained(place, **fields, tuning=lora)
    assert rows[0]["kl/nats"] == pytest.approx(0.0, abs=1e-4)
    assert rows[-1]["reward/trained"] > rows[0]["reward/trained"] + 1.0
    assert evaluation["figures"]["win_rate"]["value"] > 0.6
    assert (place / "run" / "adapter" / "adapter_model.safetensors").exists()


def test_values_are_fitted_by_ridge_regression():
    draw = torch.Generator().manual_seed(0)
    features = 3.0 + 2.0 * torch.randn(500, 4, generator=draw)
    target = features @ torch.tensor([1.0, -2.0, 0.0, 0.5]) + 7.0
    critic = Critic(4, fitted=True)
    critic.fit(features, target, ridge=1e-9)
    torch.testing.assert_close(critic(features), target, rtol=0, atol=1e-3)
    critic.fit(features, target, ridge=1e9)  # pulled to the mean
    torch.testing.assert_close(critic(features), target.mean().expand(500), rtol=0, atol=1e-3)


def test_earlier_samples_count_less_in_fitted_values():
    draw = torch.Generator().manual_seed(0)
    batches = [(torch.randn(60, 3, generator=draw), torch.randn(60, generator=draw)) for _ in range(3)]
    critic = Critic(3, fitted=True)
    for features, target in batches:
        critic.fit(features, target, ridge=0.2, memory=0.5)
    critic.fit(torch.zeros(0, 3), torch.zeros(0), ridge=0.2, memory=0.0)  # a batch that teaches nothing is as none
    assert not any(part.requires_grad for part in critic.parameters())
    # the same by a weighted regression over all of them, where the pull is a sample of each feature
    first = batches[0][0]
    x = (torch.cat([features for features, _ in batches]) - first.mean(0)) / first.std(0, correction=0)
    weight = torch.tensor([0.25, 0.5, 1.0]).repeat_interleave(60)
    rows = torch.cat([x, torch.ones(180, 1)], 1) * weight.sqrt()[:, None]
    pull = (0.2 * weight.sum()).sqrt() * torch.eye(3, 4)
    wanted = torch.cat([torch.cat([target for _, target in batches]) * weight.sqrt(), torch.zeros(3)])
    solution = torch.linalg.lstsq(torch.cat([rows, pull]).double(), wanted[:, None].double()).solution[:, 0].float()
    torch.testing.assert_close(critic.weight, solution[:3], rtol=0, atol=1e-5)
    torch.testing.assert_close(critic.bias, solution[3], rtol=0, atol=1e-5)


def test_frozen_values_know_more_of_new_outcomes_than_their_mean(place):
    """Fitted before and after every update, they must say more of completions that they have not seen than a constant does."""
    errors, spread = [], []
    advantage = rlhf.token_advantage

    def watch(score, kl, value, real, beta, gamma, lam):
        outcome = score[:, None].expand_as(value)
        errors.append((value - outcome)[real].square().mean().item())
        spread.append((score.mean() - outcome)[real].square().mean().item())
        return advantage(score, kl, value, real, beta, gamma, lam)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rlhf, "token_advantage", watch)
        lora = {"model": "start", "lora_rank": 4, "lora_share": 0.5, "precision": "float32"}
        trained(place, total_steps=12, learning_rate=1e-4, reference_samples=32, batch_size=32, tuning=lora)
    assert sum(errors) < 0.95 * sum(spread)


def test_steps_rise_stay_and_fall():
    config = configured(total_steps=10, warmup_steps=1, decay=0.4)
    assert [rlhf.step_size(config, i) for i in range(10)] == pytest.approx([0.5] + [1] * 6 + [0.75, 0.5, 0.25])
    still = configured(total_steps=10, warmup_steps=0, decay=0.0)
    assert [rlhf.step_size(still, i) for i in range(10)] == [1.0] * 10


def test_a_reward_that_is_no_number_stops_the_run_and_names_the_sample(place):
    (place / "judge.py").write_text("def worth(p, c): return [float('nan')] * len(c)")
    with pytest.raises(NumericsError, match=r"'worth' became nan for sample 0 \(prompt '"):
        trained(place, total_steps=1)
    assert not (place / "run").exists()  # nothing half-written


def test_prompts_that_leave_no_room_are_refused(place):
    write_prompts(place / "prompts.jsonl", ["red " * 30, "blue"])
    with pytest.raises(DataError, match="begins with 'red red"):
        trained(place, total_steps=1)
    assert not (place / "run").exists()


def test_a_tokenizer_that_cannot_end_a_text_is_refused(place):
    settings = place / "start" / "tokenizer_config.json"
    settings.write_text(json.dumps({k: v for k, v in json.loads(settings.read_text()).items() if k != "eos_token"}))
    with pytest.raises(DataError, match="no end-of-text token"):
        trained(place, total_steps=1)
    assert not (place / "run").exists()
