"""What every algorithm that learns from text promises, present and future: found by listing, tested alike.

A new one adds its smallest settings to TINY. All get the same file of texts, prompts with completions, and pairs, and a model of
some thousand weights with its tokenizer, both made here; nothing is downloaded.
"""

import ast
import dataclasses
import itertools
import json
import math
import shutil
import typing
from types import SimpleNamespace

import pytest
import torch

from cumulant import api, catalogue
from cumulant.errors import ConfigError
from cumulant.report.load import load_run
from cumulant.run.config import from_dict, to_dict

STAGES = sorted(name for name, listed in catalogue.algorithms().items() if listed.is_text)
# Fields that make an iteration small. A function is given what the fixture `tiny` holds: `model`, a Hugging Face directory, and
# `reward`, a function of the user's own as `file.py:name`.
TINY = {
    "rlhf": {
        "model": lambda tiny: tiny.model, "reward": lambda tiny: tiny.reward, "precision": "float32", "lora_rank": 2,
        "batch_size": 4, "micro_batch": 2, "max_new_tokens": 5, "reference_samples": 40, "eval_prompts": 3,
    },
    "grpo": {
        "model": lambda tiny: tiny.model, "reward": lambda tiny: tiny.reward, "precision": "float32", "lora_rank": 0,
        "batch_size": 8, "group_size": 4, "micro_batch": 3, "max_new_tokens": 5, "eval_prompts": 3,
    },
    "dpo": {
        "model": lambda tiny: tiny.model, "precision": "float32", "lora_rank": 2, "batch_size": 4, "micro_batch": 3,
        "context": 40, "max_new_tokens": 5, "eval_pairs": 3,
    },
    "pretrain": {
        "vocabulary": 280, "width": 16, "layers": 2, "heads": 2, "key_value_heads": 1, "inner": 24, "batch_size": 4,
        "micro_batch": 3, "context": 24, "eval_documents": 6, "sample_tokens": 4,
    },
    "sft": {
        "model": lambda tiny: tiny.model, "lora_rank": 0, "batch_size": 4, "micro_batch": 3, "context": 40,
        "eval_examples": 4, "sample_tokens": 4,
    },
    "reward_model": {
        "model": lambda tiny: tiny.model, "depth": 1.0, "trained_layers": 1, "batch_size": 4, "context": 40,
        "learning_rate": 0.01,
    },
}  # fmt: skip
PLACES = ("env", "env_options", "device", "tokenizer", "model")  # names and paths: any text may be one


@pytest.fixture(params=STAGES)
def stage(request):
    return request.param


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A file of data, a model that has learned nothing, and a reward function."""
    from cumulant.data.tokenizer import train_tokenizer
    from cumulant.nn.causal_lm import save_model, special_tokens
    from cumulant.nn.llama import Llama, LlamaConfig

    place = tmp_path_factory.mktemp("tiny")
    words = ["red", "blue", "old", "small", "wet", "loud"]
    rows = [
        {"prompt": f"the {one} {two}", "completion": f" house is {two}", "chosen": f" is {one}", "rejected": " no no"}
        for one, two in itertools.permutations(words, 2)
    ]
    (place / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    texts = [row["prompt"] + row["completion"] for row in rows]
    tokenizer = train_tokenizer(texts, 280)
    shape = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=48, tie_word_embeddings=True, **special_tokens(tokenizer),
    )  # fmt: skip
    save_model(Llama(shape, torch.Generator().manual_seed(0)), tokenizer, place / "model")
    (place / "rewards.py").write_text(
        "def short(prompts, completions):\n    return [-len(c) / 10 for c in completions]\n"
    )
    return SimpleNamespace(
        data=str(place / "rows.jsonl"), model=str(place / "model"), reward=f"{place / 'rewards.py'}:short"
    )


def config_class(stage):
    return catalogue.load_algorithm(stage).Config


def fields_of(stage, tiny, steps=2):
    assert stage in TINY, f"add the smallest settings of {stage} to TINY"
    return {name: value(tiny) if callable(value) else value for name, value in TINY[stage].items()} | {
        "total_steps": steps
    }


def fingerprint(run):
    """Every byte that follows from the training."""
    names = [run / name for name in ("metrics.jsonl", "samples.jsonl", "evaluation.json")]
    names += [file for folder in ("model", "adapter") for file in sorted((run / folder).rglob("*"))]
    return {str(file.relative_to(run)): file.read_bytes() for file in names if file.is_file()}


def accepted(cls, name, values):
    """The first of some values of a field that its class takes."""
    for value in values:
        try:
            return from_dict(cls, {name: value})
        except ConfigError:
            continue
    raise AssertionError(f"{name}: say here which other value is valid")


def other_values(hint, value):
    """Values that might be valid besides the one that a field has."""
    if typing.get_origin(hint) is typing.Literal:
        return [each for each in typing.get_args(hint) if each != value]
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int | float) or value is None:
        start = value or 0
        return [other for other in (start + 1, start * 2, start + 0.25, start / 2, 0.5) if other != value]
    if isinstance(value, str):
        return ["other"]
    if isinstance(value, tuple):
        return [[*value, *(value[:1] or ["other"])]]
    return [{"a": 1}]


def plain_hint(hint):
    options = [each for each in typing.get_args(hint) if each is not type(None)]
    if typing.get_origin(hint) is typing.Annotated:
        return plain_hint(typing.get_args(hint)[0])
    is_optional = type(None) in typing.get_args(hint)
    return (options[0] if is_optional else hint), is_optional


# -- what it says of itself, and its Config --------------------------------------------------------------------------------


def test_it_says_what_it_is_and_when_to_use_it(stage):
    listed = catalogue.algorithms()[stage]
    assert 20 <= len(listed.summary) <= 110
    assert listed.summary.endswith(".")
    assert 20 <= len(listed.use) <= 120


def test_every_field_has_a_line_of_help_and_there_are_not_too_many(stage):
    tree = ast.parse(catalogue.source_of(stage).read_text(encoding="utf-8"))
    (body,) = [node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Config"]
    names = [field.name for field in dataclasses.fields(config_class(stage))]
    assert len(names) <= 25
    helped = []
    for field, following in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign):
            assert isinstance(following, ast.Expr), f"{field.target.id} has no help"
            assert ast.literal_eval(following.value).endswith("."), field.target.id
            helped.append(field.target.id)
    assert helped == names


def survives(cls):
    for name, hint in typing.get_type_hints(cls, include_extras=True).items():
        hint, _ = plain_hint(hint)
        if dataclasses.is_dataclass(hint):
            survives(hint)
            continue
        value = getattr(cls(), name)
        config = accepted(cls, name, other_values(hint, value))
        assert getattr(config, name) != value
        assert from_dict(cls, json.loads(json.dumps(to_dict(config)))) == config


def test_config_survives_json(stage):
    cls = config_class(stage)
    assert from_dict(cls, json.loads(json.dumps(to_dict(cls())))) == cls()
    survives(cls)


def refuses(cls, build):
    for name, hint in typing.get_type_hints(cls, include_extras=True).items():
        hint, is_optional = plain_hint(hint)
        if dataclasses.is_dataclass(hint):
            refuses(hint, lambda fields, name=name: build({name: fields}))
            continue
        wrong = {int: [-1, 0.5, "x", True], float: [-1.0, math.nan, "x", True], str: [1, 0.5], bool: [1, "x"]}.get(
            hint, [3]
        )
        if typing.get_origin(hint) is typing.Literal:
            wrong = ["nonsense", 1]
        for value in wrong if is_optional else [*wrong, None]:
            with pytest.raises(ConfigError, match=rf"\b{name} = "):
                build({name: value})


def test_nonsense_is_refused_by_name(stage):
    refuses(config_class(stage), lambda fields: from_dict(config_class(stage), fields))


# -- its training ----------------------------------------------------------------------------------------------------------


def test_two_iterations_leave_a_model_that_plain_transformers_loads(stage, tiny, train_one):
    import transformers

    seen = []
    run = train_one(stage, tiny.data, **fields_of(stage, tiny), progress=lambda seed, row: seen.append(row))
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [(row["iteration"], row["steps"]) for row in rows] == [(0, 1), (1, 2)]
    assert all(math.isfinite(value) for row in rows for value in row.values())
    assert [{**row, "seconds": 0} for row in rows] == [{**row, "seconds": 0} for row in seen]
    assert any(key.startswith("loss/") for key in rows[-1])
    assert load_run(run).problems == ()  # a report can show all of it
    evaluation = json.loads((run / "evaluation.json").read_text())
    assert evaluation["kind"] == "text"
    assert evaluation["episodes"] >= 1
    for name, figure in evaluation["figures"].items():
        assert figure.get("low", -math.inf) <= figure["value"] <= figure.get("high", math.inf), name
    (architecture,) = json.loads((run / "model" / "config.json").read_text())["architectures"]
    loaded, said = getattr(transformers, architecture).from_pretrained(run / "model", output_loading_info=True)
    assert not any(said[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert sum(part.numel() for part in loaded.parameters()) > 1000
    transformers.AutoTokenizer.from_pretrained(run / "model")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_refused_before_anything_is_made(stage, tiny, cli, workspace):
    found = cli("train", stage, tiny.data, "--device", "cuda", "--out", "run")
    assert (found.code, found.out) == (2, "")
    assert "device = cuda: there is none here; torch sees cpu" in found.err
    assert not (workspace / "run").exists()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_on_a_gpu_the_first_losses_are_those_of_the_processor(stage, tiny, train_one):
    rows = []
    for device in ("cpu", "cuda"):
        run = train_one(stage, tiny.data, **fields_of(stage, tiny), device=device, name=device)
        rows.append(json.loads((run / "metrics.jsonl").read_text().splitlines()[0]))
    for name in (name for name in rows[0] if name.startswith("loss/")):
        assert rows[1][name] == pytest.approx(rows[0][name], rel=0.02, abs=1e-3), name


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(stage, tiny, train_one):
    fields = fields_of(stage, tiny)
    runs = [
        fingerprint(train_one(stage, tiny.data, seed, **fields, name=name))
        for name, seed in (("first", 3), ("again", 3), ("other", 4))
    ]
    assert "model/model.safetensors" in runs[0]
    assert runs[0] == runs[1]
    for name in ("metrics.jsonl", "model/model.safetensors"):
        assert runs[0][name] != runs[2][name]


@pytest.mark.filterwarnings("ignore:.* imports .*rewards.py")  # evaluating a run says whose code it imports
def test_the_saved_model_is_the_one_that_was_judged(stage, tiny, train_one):
    """An evaluation of what was saved is the evaluation at the end of the training."""
    run = train_one(stage, tiny.data, **fields_of(stage, tiny))
    assert json.loads(json.dumps(api.evaluate(run))) == json.loads((run / "evaluation.json").read_text())


@pytest.mark.parametrize("checkpoint_seconds", [0.0, 1000.0], ids=["from a checkpoint", "from the start"])
def test_stopped_and_resumed_is_undisturbed(stage, tiny, train_one, checkpoint_seconds):
    fields = fields_of(stage, tiny, steps=4) | {"checkpoint_seconds": checkpoint_seconds}

    def stop(seed, row):
        if row["iteration"] == 2:
            raise KeyboardInterrupt

    whole = train_one(stage, tiny.data, 1, **fields, name="whole")
    with pytest.raises(KeyboardInterrupt):
        train_one(stage, tiny.data, 1, **fields, name="torn", progress=stop)
    torn = whole.with_name("torn")
    assert not (torn / "evaluation.json").exists()
    (torn / "state" / "00000003.pt").unlink(missing_ok=True)  # as when it stopped between its row and its checkpoint
    assert bool(list((torn / "state").glob("*.pt"))) == (checkpoint_seconds == 0.0)
    again = []
    api.train_one(api.read_spec(torn), torn, resume=True, progress=lambda _, row: again.append(row["iteration"]))
    assert again == ([2, 3] if checkpoint_seconds == 0.0 else [0, 1, 2, 3])
    assert fingerprint(torn) == fingerprint(whole)


def test_a_copy_trains_and_is_the_same(stage, tiny, train_one, workspace):
    copy = api.copy(stage, workspace / "mine" / f"{stage}.py")
    original = train_one(stage, tiny.data, **fields_of(stage, tiny), name="original")
    copied = train_one(str(copy), tiny.data, **fields_of(stage, tiny), name="copied")
    assert fingerprint(copied) == fingerprint(original)


def test_a_finished_run_resumes_to_itself_and_its_model_may_be_gone(stage, tiny, train_one):
    """A kill between the last row and the evaluation leaves a run whose resume makes the model again."""
    run = train_one(stage, tiny.data, **fields_of(stage, tiny))
    before = fingerprint(run)
    (run / "evaluation.json").unlink()
    shutil.rmtree(run / "model")
    api.train_one(api.read_spec(run), run, resume=True)
    assert fingerprint(run) == before
