"""A user's files: every format gives the same rows, nothing held out is trained on, and errors say where."""

import json

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cumulant.data.rows import HELD_OUT, read_rows
from cumulant.errors import DataError

ROWS = [{"prompt": f"question {n}", "completion": f" answer {n}"} for n in range(60)]


def both(data):
    return [[dict(row.values) for row in read_rows(data, split)] for split in ("train", "held-out")]


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_every_format_gives_the_same_two_parts(tmp_path):
    expected = both(ROWS)
    (tmp_path / "list.json").write_text(json.dumps(ROWS))
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "rows.parquet")
    dataset = datasets.Dataset.from_list(ROWS)
    dataset.save_to_disk(tmp_path / "saved")
    (tmp_path / "folder").mkdir()
    write_jsonl(tmp_path / "folder" / "a.jsonl", ROWS[:20])
    pq.write_table(pa.Table.from_pylist(ROWS[20:]), tmp_path / "folder" / "b.parquet")
    assert both(write_jsonl(tmp_path / "rows.jsonl", ROWS)) == expected
    for other in ("list.json", "rows.parquet", "saved", "folder"):
        assert both(tmp_path / other) == expected
        assert both(str(tmp_path / other)) == expected
    assert both(dataset) == expected
    assert both({"train": ROWS}) == expected
    assert [*expected[0], *expected[1]] != ROWS
    assert sorted(row["prompt"] for part in expected for row in part) == sorted(row["prompt"] for row in ROWS)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 3)), min_size=1, max_size=80))
def test_a_prompt_is_never_in_both_parts_and_there_is_always_one_held_out(drawn):
    rows = [{"prompt": f"p{prompt}", "completion": f"c{completion}"} for prompt, completion in drawn]
    prompts = {row["prompt"] for row in rows}
    train = {row.values["prompt"] for row in read_rows(rows, "train")}
    assert train
    if len(prompts) == 1:
        with pytest.raises(DataError, match="all its rows have one prompt"):
            read_rows(rows, "held-out")
        return
    held_out = {row.values["prompt"] for row in read_rows(rows, "held-out")}
    assert held_out
    assert train | held_out == prompts
    assert not train & held_out


def test_more_rows_move_no_other_and_about_one_in_twenty_is_held_out():
    few, many = ([{"text": f"text {n}"} for n in range(size)] for size in (1000, 4000))
    held_few, held_many = ({row.values["text"] for row in read_rows(rows, "held-out")} for rows in (few, many))
    assert held_few <= held_many
    assert len(held_many) == pytest.approx(HELD_OUT * 4000, rel=0.25)


@pytest.mark.parametrize("column", ["prompt", "messages"])
def test_dialogues_are_held_out_by_what_the_user_says_first(column):
    asked = [{"role": "user", "content": f"question {n}"} for n in range(60)]
    rows = [{column: [first, {"role": "assistant", "content": reply}]} for first in asked for reply in ("yes", "no")]
    held_out = [json.dumps(row.values[column][0]) for row in read_rows(rows, "held-out")]
    if column == "messages":
        assert all(held_out.count(text) == 2 for text in held_out)
    assert 0 < len(held_out) < 30


@pytest.mark.parametrize("more", [{}, {"prompt": ""}])
def test_a_pair_without_a_prompt_is_in_one_part_whoever_compared_it(more):
    pairs = [(f"text {n}", f"text {n + 1}") for n in range(0, 200, 2)]
    rows = [{"chosen": one, "rejected": other, "rater": "ann", **more} for one, other in pairs]
    rows += [{"chosen": other, "rejected": one, "rater": "bob", **more} for one, other in pairs]
    train, held_out = (
        {frozenset((row.values["chosen"], row.values["rejected"])) for row in read_rows(rows, split)}
        for split in ("train", "held-out")
    )
    assert held_out
    assert not train & held_out
    question = [{"role": "user", "content": "why?"}]
    said = [[*question, {"role": "assistant", "content": reply}] for reply in ("so", "because", "no")]
    rows = [{"chosen": one, "rejected": other} for one in said for other in said if one != other]
    with pytest.raises(DataError, match="all its rows have one prompt"):
        read_rows(rows, "held-out")


def test_files_and_parts_that_name_themselves_are_taken_at_their_word(tmp_path):
    for name in ("train-00000-of-00001", "validation-00000-of-00001"):
        write_jsonl(tmp_path / f"{name}.jsonl", [{"text": f"{name}-{n}"} for n in range(3)])
    write_jsonl(tmp_path / "test.jsonl", [{"text": "test"}])
    train, held_out = both(tmp_path)
    assert [row["text"][:5] for row in train] == ["train"] * 3
    assert [row["text"][:4] for row in held_out] == ["test"] + ["vali"] * 3
    parts = datasets.DatasetDict(
        {name: datasets.Dataset.from_list([{"text": name}]) for name in ("train", "test", "dev")}
    )
    parts.save_to_disk(tmp_path / "saved")
    assert both(parts) == both(tmp_path / "saved") == [[{"text": "train"}], [{"text": "test"}, {"text": "dev"}]]


def test_text_is_cut_at_blank_lines_or_else_at_every_line(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("one\ntwo\n\n\nthree\n")
    rows = sorted((row for split in ("train", "held-out") for row in read_rows(path, split)), key=lambda row: row.where)
    assert [(row.values["text"], row.where) for row in rows] == [
        ("one\ntwo", f"{path}, line 1"),
        ("three", f"{path}, line 5"),
    ]
    path.write_text("one\ntwo")
    rows = [row for split in ("train", "held-out") for row in read_rows(path, split)]
    assert sorted((row.values["text"], row.where) for row in rows) == [
        ("one", f"{path}, line 1"),
        ("two", f"{path}, line 2"),
    ]


def test_line_separators_inside_a_text_are_no_new_line(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a\u2028b"}\n\r\n{"text": "c"}\r\n', encoding="utf-8")
    rows = [row for split in ("train", "held-out") for row in read_rows(path, split)]
    assert sorted((row.values["text"], row.where[-6:]) for row in rows) == [("a\u2028b", "line 1"), ("c", "line 3")]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"text": "x"}\n{"text": \n', r"a.jsonl, line 2: is no JSON"),
        ("a.jsonl", b'{"text": "x"}\n["x"]\n', r"a.jsonl, line 2: must be an object"),
        ("a.json", b'[{"text": "x"}, 3]', r"a.json, item 2: must be an object"),
        ("a.jsonl", b'{"text": "\xff"}\n', r"a.jsonl: is not UTF-8 at byte 10"),
        ("a.parquet", b"PAR1 not really", r"a.parquet: is no readable Parquet file"),
        ("a.csv", b"text\nx\n", r"a.csv: its name must end in .jsonl"),
        ("a.jsonl", b"", r"a.jsonl: nothing for the part 'train'"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_the_place(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_rows(tmp_path / name, "train")


def test_a_place_without_data_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere.jsonl: there is no such file or folder"):
        read_rows(tmp_path / "nowhere.jsonl", "train")
    with pytest.raises(DataError, match=r"holds no file that ends in .jsonl"):
        read_rows(tmp_path, "train")
    with pytest.raises(DataError, match="no split 'test'"):
        read_rows(ROWS, "test")
    with pytest.raises(DataError, match="list, row 2: must be a mapping"):
        read_rows([{"text": "a"}, "b"], "train")


def test_a_missing_column_is_named_with_the_misspelled_one():
    row = read_rows({"train": [{"prompt": "p", "chosn": "a", "rejected": None}]}, "train")[0]
    with pytest.raises(DataError) as problem:
        row.shape("pairs", ("prompt", "chosen", "rejected"))
    assert str(problem.value) == (
        "part 'train', row 1: pairs need prompt and chosen and rejected; the columns here are 'prompt', 'chosn'; "
        "'chosn' looks like 'chosen' misspelled"
    )


@pytest.mark.parametrize(
    ("read", "column", "value", "message"),
    [
        ("text", "prompt", 3, "column 'prompt': must be a text, and is 3"),
        ("number", "margin", "1", "column 'margin': must be a finite number, and is '1'"),
        ("number", "margin", float("nan"), "column 'margin': must be a finite number, and is nan"),
        ("number", "margin", True, "must be a finite number"),
        ("flag", "tie", 1, "column 'tie': must be true or false, and is 1"),
        ("texts", "responses", "abc", "column 'responses': must be a list of texts"),
        ("texts", "responses", ["a", 1], "column 'responses': must be a list of texts"),
    ],
)
def test_a_wrong_value_is_named_with_its_place(read, column, value, message):
    row = read_rows({"train": [{column: value}]}, "train")[0]
    with pytest.raises(DataError, match=f"part 'train', row 1, {message}" if message[0] == "c" else message):
        getattr(row, read)(column)
