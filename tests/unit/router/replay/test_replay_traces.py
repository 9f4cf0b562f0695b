"""Reading traces of real traffic."""

import pytest

from router.replay.traces import Arrival, BadTrace, parse_trace

AZURE = """\
TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:50.9951690,396,109
"""
MOONCAKE = """\
{"timestamp": 1000, "input_length": 600, "output_length": 5, "hash_ids": [0, 1]}

{"timestamp": 1500, "input_length": 700, "output_length": 6, "hash_ids": [0, 2]}
"""


def test_azure_rows_become_arrivals_from_zero() -> None:
    first, second = parse_trace(AZURE.splitlines(), "t.csv.gz")
    assert first == Arrival(0.0, 374, 44)
    assert second.at_s == pytest.approx(4.314579, abs=1e-5)
    assert (second.prompt_tokens, second.output_tokens) == (396, 109)


def test_mooncake_lines_keep_their_blocks() -> None:
    assert parse_trace(MOONCAKE.splitlines(), "t.jsonl") == [Arrival(0.0, 600, 5, (0, 1)), Arrival(0.5, 700, 6, (0, 2))]


def test_columns_may_stand_in_any_order_and_times_may_have_an_offset() -> None:
    text = "\ufeffGeneratedTokens,TIMESTAMP,ContextTokens\n"
    text += "1,2024-05-10 02:00:01+02:00,10\n2,2024-05-10 00:00:00+00:00,20\n"
    assert parse_trace(text.splitlines(), "t.csv") == [Arrival(0.0, 20, 2), Arrival(1.0, 10, 1)]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("t.txt", "x", "t.txt: what format is this? expected a name that ends in .csv or .jsonl"),
        ("t.csv", "", "t.csv:1: expected a header with TIMESTAMP, ContextTokens, GeneratedTokens, found []"),
        ("t.csv", "a,b\n1,2\n", "t.csv:1: expected a header with TIMESTAMP"),
        ("t.csv", AZURE.splitlines()[0] + "\n", "t.csv:1: no arrivals in it"),
        ("t.csv", AZURE + "2023-11-16,1\n", "t.csv:4: expected 3 columns, found 2"),
        ("t.csv", AZURE + "soon,1,2\n", "t.csv:4: expected a time like 2023-11-16 18:15:46.68, found 'soon'"),
        ("t.csv", AZURE + "2023-11-16,many,2\n", "t.csv:4: expected a number of tokens, found 'many'"),
        ("t.csv", AZURE + "2023-11-16,-1,2\n", "t.csv:4: expected 0 to 10000000 tokens, found -1"),
        ("t.jsonl", MOONCAKE + "{}\n", "t.jsonl:4: expected timestamp, input_length, output_length and hash_ids"),
        ("t.jsonl", "not json\n", "t.jsonl:1: expected timestamp"),
        ("t.jsonl", MOONCAKE.replace("1000", "-1"), "t.jsonl:1: expected a timestamp in ms, found -1"),
        ("t.jsonl", "\n", "t.jsonl:1: no arrivals in it"),
    ],
)
def test_a_mistake_says_file_line_and_what_was_expected(name: str, text: str, expected: str) -> None:
    with pytest.raises(BadTrace) as caught:
        parse_trace(text.splitlines(), name)
    assert str(caught.value).startswith(expected)
