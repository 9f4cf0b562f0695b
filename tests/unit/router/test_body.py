"""What is read of a body, and what cannot fool the reader."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from router.body import (
    DECIDED_ON,
    DECIDED_ON_STATEFUL,
    LARGE_BYTES,
    LARGE_MEMBERS_MAX,
    LONG_STRING_BYTES,
    QUOTES_APART_MIN,
    QUOTES_FREE,
    STRIPPED_BYTES_MIN,
    BadBody,
    _bytes_unaccounted,
    read_fields,
    without_long_strings,
)
from router.fields import Fields, ResponsesFields


def refusal(body: bytes) -> BadBody:
    with pytest.raises(BadBody) as caught:
        read_fields(body)
    assert str(caught.value).endswith(".")
    return caught.value


def spellings(name: str) -> list[str]:
    """Some ways to write a key in JSON: escapes for one letter, for all of them, in either case of hex."""
    every = "".join(f"\\u{ord(letter):04x}" for letter in name)
    first, rest = f"\\u{ord(name[0]):04x}", name[1:]
    last = f"{name[:-1]}\\u{ord(name[-1]):04x}"
    written = [every, first + rest, last]
    return [*written, *(one.replace("\\u00", "\\U00").upper().replace("\\U", "\\u") for one in [every])]


def test_minimal_body_is_read() -> None:
    assert read_fields(b'{"model":"llama"}') == Fields("llama")


@pytest.mark.parametrize("indent", [None, 2], ids=["compact", "indented"])
def test_chat_body_is_read(indent: int | None) -> None:
    body = {
        "model": "llama",
        "messages": [{"role": "user", "content": 'say "model" and "stream"'}],
        "stream": True,
        "max_tokens": 5,
        "max_completion_tokens": 7,
        "temperature": 0.2,
        "user": "Zoë 🦜",
    }
    assert read_fields(json.dumps(body, indent=indent, ensure_ascii=False).encode()) == Fields("llama", True, 5, 7)
    assert read_fields(bytearray(json.dumps(body, indent=indent).encode())) == Fields("llama", True, 5, 7)


@pytest.mark.parametrize(
    ("body", "tokens_max"),
    [
        (b'{"model":"m"}', None),
        (b'{"model":"m","max_tokens":5}', 5),
        (b'{"model":"m","max_completion_tokens":7}', 7),
        (b'{"model":"m","max_tokens":5,"max_completion_tokens":7}', 7),
        (b'{"model":"m","max_tokens":5,"max_completion_tokens":null}', 5),
        (b'{"model":"m","max_completion_tokens":0,"max_tokens":5}', 0),
    ],
)
def test_newer_name_of_the_token_limit_wins(body: bytes, tokens_max: int | None) -> None:
    assert read_fields(body).tokens_max == tokens_max


# Two copies of a field.

KEYS = [(name, spelled) for name in DECIDED_ON for spelled in [name, *spellings(name)]]
VALUE = {"model": '"x"', "stream": "true", "max_tokens": "1", "max_completion_tokens": "1"}


@pytest.mark.parametrize("space", ["", " ", "\n\t"])
@pytest.mark.parametrize(("name", "spelled"), KEYS)
def test_field_that_stands_twice_is_refused_however_spelled(name: str, spelled: str, space: str) -> None:
    others = "".join(f'"{other}":{VALUE[other]},' for other in DECIDED_ON if other != name)
    for first, second in [(name, spelled), (spelled, name), (spelled, spelled)]:
        body = f'{{{space}{others}"{first}"{space}:{VALUE[name]},"a":[{{}}],{space}"{second}":{VALUE[name]}{space}}}'
        assert refusal(body.encode()).param == name


@pytest.mark.parametrize("name", DECIDED_ON)
def test_two_copies_with_equal_values_are_refused_too(name: str) -> None:
    pair = f'"{name}":{VALUE[name]}'
    assert "more than once" in str(refusal(f'{{"model":"m",{pair},{pair}}}'.encode()))


@pytest.mark.parametrize(("name", "spelled"), KEYS)
def test_same_name_in_a_nested_object_is_no_second_copy(name: str, spelled: str) -> None:
    nested = f'{{"{spelled}":0,"deeper":[{{"{spelled}":1,"{name}":2}}]}}'
    body = f'{{"metadata":{nested}, "model":"m","tools":[{nested}]}}'
    assert read_fields(body.encode()).model == "m"


@pytest.mark.parametrize(
    "text", ['"model"', '{"model":"x"}', "\\u006dodel", 'x","model":"y', "\\", "\\\\", '\\"model\\"']
)
@pytest.mark.parametrize("indent", [None, 1])
def test_prompt_that_speaks_of_fields_is_no_second_copy(text: str, indent: int | None) -> None:
    body = {"messages": [{"content": text}], "model": "m", "prompt": text, text: text}
    assert read_fields(json.dumps(body, indent=indent).encode()).model == "m"


@pytest.mark.parametrize("spelled", spellings("model"))
def test_escaped_key_alone_is_read_as_any_parser_reads_it(spelled: str) -> None:
    assert read_fields(f'{{"{spelled}":"m"}}'.encode()).model == "m"


def test_account_of_bytes_settles_compact_bodies_alone() -> None:
    """OpenAI's clients send these; nothing is searched for then."""
    body = json.dumps({"model": "m", "messages": [{"content": '"model"'}], "n": 1}, separators=(",", ":")).encode()
    assert _bytes_unaccounted(body, msgspec.json.decode(body, type=dict[str, msgspec.Raw])) == 0


def test_other_keys_may_stand_twice() -> None:
    assert read_fields(b'{"user":"a","model":"m","user":"b"}').model == "m"


def test_copies_hidden_behind_keys_outside_ascii_are_found() -> None:
    """A key outside ASCII takes more bytes than letters; the difference must not pay for a second `model`."""
    padding = ",".join(f'"{"é" * 20}{number}":0' for number in range(10))
    assert refusal(f'{{"model":"a",{padding},"model":"b"}}'.encode()).param == "model"


# Wrong bodies.


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        (b"", None, "could not parse"),
        (b"   ", None, "could not parse"),
        (b"hello", None, "could not parse"),
        (b'{"model":"m"', None, "could not parse"),
        (b'{"model":"m",}', None, "could not parse"),
        (b'{"model":"m"} {}', None, "could not parse"),
        (b"{'model':'m'}", None, "could not parse"),
        (b'{"model":"m","x":NaN}', None, "could not parse"),
        (b'{"model":"m","x":Infinity}', None, "could not parse"),
        (b'{"model":"m","x":01}', None, "could not parse"),
        (b'{"model":"m","x":"\x01"}', None, "could not parse"),
        (b'{"model":"m","x":"\\x41"}', None, "could not parse"),
        (b'{"model":"m","\\U006dodel":"x"}', None, "could not parse"),
        (b'{"model":"m"}\x00', None, "could not parse"),
        (b'\xef\xbb\xbf{"model":"m"}', None, "could not parse"),
        ('{"model":"m"}'.encode("utf-16"), None, "could not parse"),
        ('{"model":"m"}'.encode("utf-16-le"), None, "could not parse"),
        (b"[]", None, "must be a JSON object"),
        (b'"model"', None, "must be a JSON object"),
        (b"null", None, "must be a JSON object"),
        (b"7", None, "must be a JSON object"),
        (b"{}", "model", "must provide a model"),
        (b'{"stream":true}', "model", "must provide a model"),
        (b'{"model":""}', "model", "must provide a model"),
        (b'{"Model":"m"}', "model", "must provide a model"),
        (b'{"x":{"model":"m"}}', "model", "must provide a model"),
        (b'{"model":null}', "model", "expected `str`"),
        (b'{"model":7}', "model", "expected `str`"),
        (b'{"model":["m"]}', "model", "expected `str`"),
        (b'{"model":{"name":"m"}}', "model", "expected `str`"),
        (b'{"model":"m","stream":1}', "stream", "expected `bool"),
        (b'{"model":"m","stream":"true"}', "stream", "expected `bool"),
        (b'{"model":"m","max_tokens":true}', "max_tokens", "expected `int"),
        (b'{"model":"m","max_tokens":1.5}', "max_tokens", "expected `int"),
        (b'{"model":"m","max_tokens":1e3}', "max_tokens", "expected `int"),
        (b'{"model":"m","max_tokens":"5"}', "max_tokens", "expected `int"),
        (b'{"model":"m","max_tokens":1e999}', "max_tokens", "out of range"),
        (b'{"model":"m","max_tokens":' + b"9" * 5000 + b"}", "max_tokens", "out of range"),
        (b'{"model":"m","max_completion_tokens":[]}', "max_completion_tokens", "expected `int"),
    ],
)
def test_wrong_body_is_refused_with_its_field(body: bytes, param: str | None, words: str) -> None:
    error = refusal(body)
    assert error.param == param
    assert words in str(error)


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m","prompt":"\xff"}',
        b'{"model":"m", "prompt":"\xc3"}',
        b'{"model":"m","\xff":1}',
        b'{"model":"m","\xc1\xadodel":"x"}',  # An overlong m, which lenient decoders read as one.
        b'{"model":"m","prompt":"\xed\xa0\x80"}',  # A surrogate in UTF-8.
        b'{"model":"\xff"}',
        b'{"model":"m","a":{"b":["\xfe"]}}',
    ],
)
def test_broken_utf8_anywhere_is_refused(body: bytes) -> None:
    refusal(body)


@pytest.mark.parametrize("text", ["\\ud800", "\\udc00", "\\ud800\\u0041", "\\ud83e"])
def test_model_with_half_a_character_is_refused(text: str) -> None:
    refusal(f'{{"model":"{text}"}}'.encode())


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
@pytest.mark.parametrize("closed", [True, False])
def test_nesting_beyond_reason_is_refused(opening: bytes, closed: bool) -> None:
    depth = 100_000
    closing = (b"]" if opening == b"[" else b"}") * depth if closed else b""
    refusal(b'{"model":"m","x":' + opening * depth + b"1" + closing + b"}")
    refusal(opening * depth)


def test_nesting_beyond_reason_is_refused_in_the_strict_pass_too() -> None:
    refusal(b'{"model":"m","y":"\\u0041", "x":' + b"[" * 100_000 + b"]" * 100_000 + b"}")


def test_many_messages_are_not_deep() -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": "[{" * 50}]}] * 300}
    assert read_fields(json.dumps(body).encode()).model == "m"


def test_unterminated_text_full_of_quotes_is_refused_in_one_pass() -> None:
    refusal(b'{"model":"m","a":"' + b'[[\\"' * 100_000)


# Agreement with another parser.

keys = st.one_of(st.sampled_from(DECIDED_ON), st.text(max_size=8))
values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**70), 2**70),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=12),
        st.sampled_from(DECIDED_ON),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)
plausible = st.fixed_dictionaries(
    {"model": st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)},
    optional={
        "stream": st.none() | st.booleans(),
        "max_tokens": st.none() | st.integers(0, 10**6),
        "max_completion_tokens": st.none() | st.integers(0, 10**6),
    },
)
others = st.text(max_size=8).filter(lambda key: key not in DECIDED_ON)
objects = st.builds(lambda some, fields: some | fields, st.dictionaries(others, values, max_size=4), plausible)


def dumped(value: Any, spacing: str, ascii_only: bool) -> bytes:
    separators = (",", ":") if spacing == "compact" else None
    indent = 1 if spacing == "indented" else None
    text = json.dumps(value, ensure_ascii=ascii_only, separators=separators, indent=indent)
    return text.encode("utf-8", "surrogatepass")


def agrees(body: bytes) -> bool:
    """Whether what was read is what json.loads reads; False if the body was refused."""
    try:
        fields = read_fields(body)
    except BadBody:
        return False
    read = json.loads(body)
    assert fields.model == read["model"]
    for name in ("stream", "max_tokens", "max_completion_tokens"):
        assert getattr(fields, name) == read.get(name)
        assert type(getattr(fields, name)) is type(read.get(name))
    return True


@given(objects, st.sampled_from(["compact", "spaced", "indented"]), st.booleans())
def test_plausible_object_is_accepted_and_read_as_another_parser_reads_it(
    value: dict[str, Any], spacing: str, ascii_only: bool
) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return  # Half a character somewhere: may be refused.
    assert agrees(dumped(value, spacing, ascii_only))


@given(st.dictionaries(keys, values, max_size=5), st.sampled_from(["compact", "spaced"]), st.booleans())
def test_any_object_is_refused_or_read_as_another_parser_reads_it(
    value: dict[str, Any], spacing: str, ascii_only: bool
) -> None:
    agrees(dumped(value, spacing, ascii_only))


FRAGMENTS = [
    *('"model"', '"stream"', '"max_tokens"', '"\\u006dodel"', '"mode\\u006c"', '"m"', '"é"', '"\\""', '"\\\\"'),
    *("{", "}", "[", "]", ",", ":", " ", "\n", "1", "true", "null", '""', '"x\\"model"'),
]


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=14))
@example(['"model"', ":", '"m"', ",", '"\\u006dodel"', ":", '"m"'])
@example(['"é"', ":", "1", ",", '"model"', ":", '"m"', ",", '"model"', ":", '"m"'])
def test_no_accepted_body_holds_two_copies_of_a_field(fragments: list[str]) -> None:
    body = ("{" + "".join(fragments) + "}").encode()
    if not agrees(body):
        return
    tops: list[list[tuple[str, Any]]] = []
    json.loads(body, object_pairs_hook=lambda pairs: tops.append(pairs) or {})
    names = [name for name, _ in tops[-1]]
    assert all(names.count(name) <= 1 for name in DECIDED_ON)


pairs = st.lists(
    st.tuples(
        st.sampled_from([*DECIDED_ON, *spellings("model"), *spellings("max_tokens"), "user", "é", "x y"]),
        st.sampled_from(['"m"', "1", "true", "null", '{"model":1}', '["model"]', '"\\u006dodel"', "[[],{}]"]),
    ),
    max_size=5,
)


@given(pairs, st.sampled_from(["", " ", "\r\n"]))
def test_objects_of_well_formed_pairs_are_refused_exactly_when_a_field_stands_twice(
    written: list[tuple[str, str]], space: str
) -> None:
    members = [("model", '"m"'), *((key, value) for key, value in written)]
    body = "{" + f",{space}".join(f'"{key}":{space}{value}' for key, value in members) + "}"
    names = [json.loads(f'"{key}"') for key, _ in members]
    twice = any(names.count(name) > 1 for name in DECIDED_ON)
    types = {"stream": {"true", "null"}, "max_tokens": {"1", "null"}, "max_completion_tokens": {"1", "null"}}
    wrong = any(value not in types.get(name, {value}) for name, (_, value) in zip(names, members, strict=True))
    assert agrees(body.encode()) is (not twice and not wrong)


@given(st.binary(max_size=60))
def test_arbitrary_bytes_raise_nothing_but_bad_body(body: bytes) -> None:
    agrees(body)
    agrees(b'{"model":"m","x":"' + body + b'"}')
    agrees(b'{"model":"m",' + body + b"}")


def test_a_large_body_of_countless_members_is_read_in_one_pass_or_refused() -> None:
    """It must not hold up the event loop; and what cannot be proved is not guessed."""
    members = b",".join(b'"k%d":1' % number for number in range(150_000))
    assert read_fields(b'{"model":"m",%s}' % members).model == "m"
    with pytest.raises(BadBody, match="too intricate"):
        read_fields(b'{"model":"m",%s,"model":"n"}' % members)


# What a call on the Responses path decides on beside the rest.

STATE = DECIDED_ON_STATEFUL[len(DECIDED_ON) :]
STATE_KEYS = [(name, spelled) for name in STATE for spelled in [name, *spellings(name)]]
STATE_VALUE = {"previous_response_id": '"resp_1"', "conversation": '"conv_1"'}


@pytest.mark.parametrize("space", ["", " "])
@pytest.mark.parametrize(
    ("name", "spelled"), [(name, spelled) for name in STATE for spelled in [name, *spellings(name)]]
)
def test_reference_that_stands_twice_is_refused_where_it_counts(name: str, spelled: str, space: str) -> None:
    for first, second in [(name, spelled), (spelled, name), (spelled, spelled)]:
        members = f'"{first}"{space}:{STATE_VALUE[name]},"a":[{{}}],{space}"{second}":{STATE_VALUE[name]}'
        body = f'{{{space}"model":"m",{members}{space}}}'.encode()
        with pytest.raises(BadBody) as caught:
            read_fields(body, stateful=True)
        assert caught.value.param == name
        assert read_fields(body).model == "m"  # On other paths it is the model server's business.


@pytest.mark.parametrize("spelled", ["previous_response_id", *spellings("previous_response_id")])
@pytest.mark.parametrize("space", ["", " "])
def test_reference_is_read_as_any_parser_reads_it(spelled: str, space: str) -> None:
    fields = read_fields(f'{{{space}"model":"m","{spelled}":"resp_1"}}'.encode(), stateful=True)
    assert isinstance(fields, ResponsesFields)
    assert (fields.previous_response_id, bytes(fields.conversation)) == ("resp_1", b"null")


@pytest.mark.parametrize(("value", "read"), [("null", None), ('""', "")])
def test_reference_to_nothing(value: str, read: str | None) -> None:
    fields = read_fields(f'{{"model":"m","previous_response_id":{value}}}'.encode(), stateful=True)
    assert isinstance(fields, ResponsesFields)
    assert fields.previous_response_id == read


def test_reference_of_another_type_is_refused_where_it_counts() -> None:
    body = b'{"model":"m","previous_response_id":5}'
    with pytest.raises(BadBody, match="previous_response_id"):
        read_fields(body, stateful=True)
    assert read_fields(body).model == "m"


def test_reference_in_a_hostile_body_is_read_or_refused() -> None:
    filler = b'"x":{%s}' % b",".join(b'"%d":0' % number for number in range(LARGE_MEMBERS_MAX * 2))
    body = b'{"model":"m","previous_response_id":"resp_1",%s}' % filler
    assert len(body) > LARGE_BYTES
    fields = read_fields(body, stateful=True)
    assert isinstance(fields, ResponsesFields)
    assert fields.previous_response_id == "resp_1"
    with pytest.raises(BadBody, match="too intricate"):
        read_fields(body[:-1] + b',"previous_response_id":"resp_1"}', stateful=True)


# Long bodies, whose long strings are left out before they are taken apart.


def emptied(value: Any) -> Any:
    """What JSON holds, its long strings empty."""
    if isinstance(value, str):
        return "" if len(json.dumps(value)) - 1 > LONG_STRING_BYTES else value
    if isinstance(value, list):
        return [emptied(one) for one in value]
    return {emptied(key): emptied(one) for key, one in value.items()} if isinstance(value, dict) else value


long_text = st.builds(
    lambda pieces, times: "".join(pieces) * times,
    st.lists(st.sampled_from(['"', "\\", "\n", "a", "model", '"model":"b"', "{", "}", "é"]), max_size=6),
    st.sampled_from([1, 1, 300, 2000]),
)
long_values = st.recursive(
    long_text | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(long_text, inner, max_size=3),
    max_leaves=6,
)


@given(long_values, st.sampled_from([None, 1]))
def test_only_long_strings_are_left_out(value: Any, indent: int | None) -> None:
    body = json.dumps(value, indent=indent).encode()
    short = without_long_strings(body)
    assert short is body or json.loads(short) == emptied(value)


@given(st.dictionaries(long_text, long_values, max_size=4), st.sampled_from(["m", 'a "quoted" \\ name']))
def test_long_body_is_read_as_any_parser_reads_it(rest: dict[str, Any], model: str) -> None:
    asked = {**rest, "filling": "x" * STRIPPED_BYTES_MIN, "model": model, "stream": True}
    assert read_fields(json.dumps(asked, separators=(",", ":")).encode()) == Fields(model, True)


@pytest.mark.parametrize("name", DECIDED_ON)
@pytest.mark.parametrize("space", ["", " "])
def test_field_that_stands_twice_in_a_long_body_is_refused(name: str, space: str) -> None:
    filling = "x" * STRIPPED_BYTES_MIN
    value = {"model": '"b"', "stream": "true"}.get(name, "1")
    for spelled in (name, *spellings(name)):
        body = f'{{"model":{space}"a","{name}":{value},"messages":"{filling}","{spelled}":{space}{value}}}'
        assert refusal(body.encode()).param in (name, "model")


def test_what_is_broken_outside_of_strings_is_refused_with_its_place_in_the_body() -> None:
    filling = "x" * STRIPPED_BYTES_MIN
    body = f'{{"messages":"{filling}","model" "m"}}'.encode()
    place = body.index(b' "m"') + 1
    assert f"byte {place})" in str(refusal(body))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('x\\"' * 50_000, id="a quote in every three bytes"),
        pytest.param("\\\\" * 50_000, id="nothing but backslashes"),
        pytest.param("x" * 50_000 + "\\\\" * 100, id="backslashes at the end"),
        pytest.param(("x" * QUOTES_APART_MIN + '\\"') * 200, id="quotes far apart"),
    ],
)
def test_long_text_of_any_kind_is_read(text: str) -> None:
    assert read_fields(f'{{"messages":"{text}","model":"m"}}'.encode()) == Fields("m")


def test_looking_for_quotes_is_given_up_where_it_does_not_pay() -> None:
    body = b'{"a":"' + b'x\\"' * 100_000 + b'"}'
    assert without_long_strings(body) is body
    dense = b'["' + b'","'.join([b"x" * 100] * QUOTES_FREE * 2) + b'","' + b"y" * 100_000 + b'"]'
    assert without_long_strings(dense) is dense
