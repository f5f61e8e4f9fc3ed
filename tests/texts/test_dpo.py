"""DPO: exact at the start, exact from the cache, and it learns what is preferred; on a model of some thousand weights."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import cumulant
from cumulant.algos.dpo import Config, pair_loss, read_pairs
from cumulant.data.pair_tokens import PairTokens
from cumulant.data.rows import is_held_out
from cumulant.data.text import encode_prompt
from cumulant.data.tokenizer import train_tokenizer
from cumulant.engine.completions import read_prompts
from cumulant.engine.pair_logp import Responses, write_pairs
from cumulant.engine.scoring import Scorer, ScoringConfig
from cumulant.engine.tuned import Tuned, TuningConfig
from cumulant.errors import DataError
from cumulant.nn.causal_lm import save_model, special_tokens
from cumulant.nn.llama import Llama, LlamaConfig

GOOD, BAD = ["good", "fine", "great", "warm"], ["bad", "dull", "slow", "cold"]
THINGS = ["film", "plot", "book", "song", "play", "show", "tale", "dance"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that has learned nothing, pairs of answers of unlike length, and a reward of the user's own."""
    place = tmp_path_factory.mktemp("dpo")
    rows = [
        {"prompt": f"the {thing}", "chosen": f" was {one}", "rejected": f" was so very {other}", "share": share}
        for one, other, thing, share in zip(
            itertools.cycle(GOOD),
            BAD * 8,
            itertools.chain.from_iterable([t] * 4 for t in THINGS),
            itertools.cycle([1, 0.8]),
        )
    ]
    (place / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (place / "rewards.py").write_text(
        "def vowels(prompts, completions):\n    return [sum(c in 'aeiou' for c in text) for text in completions]\n"
    )
    tokenizer = train_tokenizer([row["prompt"] + row["rejected"] for row in rows], 300)
    shape = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=48,
        tie_word_embeddings=True,
        initializer_range=0.15,
        **special_tokens(tokenizer),
    )
    save_model(Llama(shape, torch.Generator().manual_seed(0)), tokenizer, place / "model")
    return place


def config(place: Path, **fields: object) -> Config:
    tuning = TuningConfig(model=str(place / "model"), precision="float32", lora_rank=int(fields.pop("lora_rank", 4)))  # type: ignore[call-overload]
    return replace(Config(env=str(place / "pairs.jsonl"), tuning=tuning, context=40), **fields)  # type: ignore[arg-type]


def begin(place: Path, **fields: object) -> tuple[Config, Tuned, PairTokens]:
    chosen = config(place, **fields)
    tuned = Tuned.begin(chosen.tuning, torch.Generator().manual_seed(1))
    return chosen, tuned, read_pairs(chosen, tuned, "train", torch.Generator().manual_seed(2))[0]


def test_no_more_pairs_are_read_than_the_steps_can_use(place: Path) -> None:
    whole = begin(place)[2]
    few, fewer = begin(place, total_steps=2, batch_size=5)[2], begin(place, max_pairs=3)[2]
    assert (len(few), len(fewer)) == (10, 3)
    assert len(few.texts) <= 20 < len(whole.texts)
    assert len({tuple(few.texts[i].ids) for i in few.rejected}) > 4  # drawn from all of the file


def stir(tuned: Tuned) -> None:
    """Move what is trained away from the reference."""
    generator = torch.Generator().manual_seed(3)
    for part in tuned.trainable.values():
        part.data.add_(0.1 * torch.randn(part.shape, generator=generator))


def test_the_first_loss_is_log_2_whatever_is_trained(place: Path) -> None:
    for rank in (0, 4):
        chosen, tuned, pairs = begin(place, lora_rank=rank)
        responses = Responses(tuned, pairs.texts, 1e9)
        ratio = responses.logp([0, 1, 2, 3]) - responses.logp_ref[[0, 1, 2, 3]]
        assert ratio.abs().max() < 1e-4
        loss = pair_loss(chosen, ratio, responses.count[[0, 1, 2, 3]], torch.ones(2))
        assert loss.tolist() == pytest.approx([math.log(2.0)] * 2, abs=1e-4)


@pytest.mark.parametrize("rank", [0, 4])
@pytest.mark.parametrize("most_bytes", [0.0, 1e9], ids=["computed again", "kept"])
def test_log_probabilities_are_those_of_plain_transformers(place: Path, rank: int, most_bytes: float) -> None:
    """Of the answer's tokens only, end-of-text among them, padded or not, from kept states or not, for both models."""
    import transformers

    _, tuned, pairs = begin(place, lora_rank=rank)
    stir(tuned)
    responses = Responses(tuned, pairs.texts, most_bytes)
    assert (responses.lower is not None) == (rank > 0 and most_bytes > 0)
    tuned.save(place / f"stirred{rank}")
    theirs = {
        "policy": transformers.LlamaForCausalLM.from_pretrained(place / f"stirred{rank}" / "model"),
        "reference": transformers.LlamaForCausalLM.from_pretrained(place / "model"),
    }
    expected: dict[str, list[float]] = {"policy": [], "reference": []}
    for text, (side, model) in itertools.product(pairs.texts, theirs.items()):
        ids = torch.from_numpy(text.ids.astype(np.int64))[None]
        with torch.no_grad():
            logp = model(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
        expected[side].append(logp[torch.from_numpy(text.loss[1:])].sum().item())
    assert pairs.texts[0].ids[-1] == tuned.tokenizer.eos_token_id
    np.testing.assert_allclose(responses.logp_ref.numpy(), expected["reference"], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(responses.all_logp().numpy(), expected["policy"], rtol=1e-4, atol=1e-4)
    assert np.abs(np.subtract(expected["policy"], expected["reference"])).max() > 0.5
    some = [5, 0, 3]
    np.testing.assert_allclose(responses.logp(some).detach().numpy(), np.array(expected["policy"])[some], rtol=1e-4)


def test_micro_batches_give_the_step_of_the_whole_batch(place: Path) -> None:
    runs = []
    for name, part in (("whole", 8), ("parts", 3)):
        run = cumulant.train(
            "dpo", str(place / "pairs.jsonl"), out=place / name, model=str(place / "model"), precision="float32",
            lora_rank=4, total_steps=2, batch_size=8, micro_batch=part, max_new_tokens=4,
        )  # fmt: skip
        runs.append([json.loads(line) for line in (run.run / "metrics.jsonl").read_text().splitlines()])
    for one, other in zip(*runs):
        for key in ("loss/preference", "loss/grad_norm", "reward/margin"):
            assert one[key] == pytest.approx(other[key], rel=2e-6, abs=2e-7), (
                key
            )  # float32: a few units in the last place
    assert runs[0][1]["loss/preference"] != runs[0][0]["loss/preference"]


@pytest.mark.parametrize("loss", ["sigmoid", "ipo"])
def test_it_learns_what_is_preferred_and_says_what_it_costs(place: Path, loss: str) -> None:
    run = cumulant.train(
        "dpo", str(place / "pairs.jsonl"), out=place / loss, model=str(place / "model"), precision="float32", lora_rank=0,
        total_steps=60, batch_size=8, learning_rate=2e-3, max_new_tokens=6, loss=loss, beta=0.1,
    )  # fmt: skip
    figures = run.evaluation["figures"]
    assert figures["accuracy"]["value"] == 1.0
    assert figures["margin"]["value"] > 0.2
    assert figures["reward_chosen"]["value"] > figures["reward_rejected"]["value"]
    rows = [json.loads(line) for line in (run.run / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["loss/preference"] < 0.7 * rows[0]["loss/preference"]
    fell = figures["logp_change_chosen"]["value"] < 0
    assert ("notice" in run.evaluation) == fell
    if fell:
        assert "less likely" in run.evaluation["notice"]


def test_a_chosen_answer_that_became_less_likely_is_reported(place: Path) -> None:
    """As with answers that share their beginning with the rejected ones and a large step size."""
    rows = [
        {"prompt": f"the {thing}", "chosen": " was so very good", "rejected": " was so very good good"}
        for thing in THINGS
    ]
    other = place / "alike.jsonl"
    other.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = cumulant.train(
        "dpo", str(other), out=place / "fell", model=str(place / "model"), precision="float32", lora_rank=0,
        total_steps=30, batch_size=4, learning_rate=2e-2, max_new_tokens=4,
    )  # fmt: skip
    change = run.evaluation["figures"]["logp_change_chosen"]["value"]
    assert change < -1.0
    assert f"by {-change:.1f} nats" in run.evaluation["notice"]


def test_pairs_that_the_model_writes_are_ranked_by_the_reward(place: Path) -> None:
    chosen, tuned, _ = begin(place)
    prompts = read_prompts(chosen.env, "train", tuned, 8)
    scorer = Scorer(ScoringConfig(reward=f"{place / 'rewards.py'}:vowels"))
    pairs, texts = write_pairs(tuned, scorer, prompts, 8, torch.Generator().manual_seed(0))
    vowels = [[sum(c in "aeiou" for c in text[side]) for side in ("chosen", "rejected")] for text in texts]
    assert all(one > other for one, other in vowels)
    assert [one - other for one, other in vowels] == pairs.margin.tolist()
    end = tuned.tokenizer.eos_token_id
    for pair, text in enumerate(texts):
        for side, index in (("chosen", pairs.chosen[pair]), ("rejected", pairs.rejected[pair])):
            tokens = pairs.texts[index]
            assert tuned.tokenizer.decode(tokens.ids[tokens.loss], skip_special_tokens=True) == text[side]
            assert tuned.tokenizer.decode(tokens.ids[~tokens.loss], skip_special_tokens=True) == text["prompt"]
            assert tokens.loss.sum() == 8 or tokens.ids[-1] == end  # cut off, or ended by itself
    again, _ = write_pairs(tuned, scorer, prompts, 8, torch.Generator().manual_seed(0))
    assert [text.ids.tolist() for text in again.texts] == [text.ids.tolist() for text in pairs.texts]


def test_equal_rewards_leave_nothing_to_learn_from(place: Path) -> None:
    (place / "same.py").write_text("def same(prompts, completions):\n    return [1.0] * len(completions)\n")
    with pytest.raises(DataError, match="score the same"):
        cumulant.train(
            "dpo", str(place / "pairs.jsonl"), out=place / "none", model=str(place / "model"), precision="float32",
            reward=f"{place / 'same.py'}:same", max_new_tokens=4,
        )  # fmt: skip
    assert not (place / "none").exists()


def test_training_on_its_own_answers_raises_their_reward(place: Path) -> None:
    prompts = [f"the {one} {other}" for one, other in itertools.permutations(THINGS, 2)]
    (place / "prompts.jsonl").write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts))
    run = cumulant.train(
        "dpo", str(place / "prompts.jsonl"), out=place / "own", model=str(place / "model"), precision="float32", lora_rank=0,
        reward=f"{place / 'rewards.py'}:vowels", total_steps=100, batch_size=8, learning_rate=4e-3, max_new_tokens=8,
        eval_pairs=8,
    )  # fmt: skip
    rows = [json.loads(line) for line in (run.run / "metrics.jsonl").read_text().splitlines()]
    assert rows[0]["kl/of_reference"] == pytest.approx(0.0, abs=1e-5)
    assert rows[-1]["kl/of_reference"] > 0.01
    assert [table["columns"][1:] for table in run.evaluation["tables"]] == [["dpo", "reference"]]
    tuned = Tuned.finished(config(place, lora_rank=0).tuning, run.run)
    vowels = []
    for of_reference in (False, True):
        asked = [encode_prompt(tuned.tokenizer, prompt) for prompt in prompts * 2]
        written = tuned.write(asked, 8, 1.0, torch.Generator().manual_seed(0), of_reference)
        texts = tuned.tokenizer.batch_decode(written.tokens(), skip_special_tokens=True)
        vowels.append(np.mean([sum(c in "aeiou" for c in text) for text in texts]))
    assert vowels[0] > 1.3 * vowels[1]


def test_what_is_wrong_with_held_out_pairs_is_said_before_the_training(place: Path) -> None:
    long = next(text for text in (f"{number}{' the film' * 40}" for number in itertools.count()) if is_held_out(text))
    row = {"prompt": long, "chosen": " was good", "rejected": " was bad"}
    (place / "long.jsonl").write_text((place / "pairs.jsonl").read_text() + json.dumps(row) + "\n")
    with pytest.raises(DataError, match="leaves nothing of the context"):
        cumulant.train(
            "dpo", str(place / "long.jsonl"), out=place / "long", model=str(place / "model"), context=40, total_steps=1,
            precision="float32",
        )  # fmt: skip
    assert not (place / "long").exists()  # not one step was made
