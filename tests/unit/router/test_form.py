"""Multipart bodies: what is read of them, however they are cut, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.body import BadBody
from router.fields import Fields
from router.form import HEAD_BYTES_MAX, PARTS_MAX, VALUE_BYTES_MAX, FormBody, FormReader, boundary_of

B = b"xYzZY"
TYPE = b"multipart/form-data; boundary=xYzZY"


def part(name: str, value: bytes, *more: bytes, parameters: str = "") -> bytes:
    lines = [f'Content-Disposition: form-data; name="{name}"{parameters}'.encode(), *more]
    return b"\r\n".join([b"--" + B, *lines, b"", value, b""])


def form(*parts: bytes, end: bytes = b"--" + B + b"--\r\n") -> bytes:
    return b"".join(parts) + end


MODEL = part("model", b"whisper")
FILE = part("file", b"RIFF\r\n--xYz\r\n--\r\n\0\xff", b"Content-Type: audio/wav", parameters='; filename="a.wav"')


def read(body: bytes, size: int = 1 << 20) -> Fields:
    reader = FormReader(B)
    for at in range(0, len(body), size):
        reader.feed(body[at : at + size])
    return reader.finish()


def refused(body: bytes, size: int = 1 << 20) -> str:
    with pytest.raises(BadBody) as caught:
        read(body, size)
    return str(caught.value)


GOOD = [
    pytest.param(form(MODEL, FILE), None, id="model first"),
    pytest.param(form(FILE, MODEL), None, id="model last"),
    pytest.param(form(FILE, MODEL, part("stream", b"True")), True, id="stream"),
    pytest.param(form(part("stream", b"0"), MODEL), False, id="no stream"),
    pytest.param(form(MODEL, part("stream", b"")), None, id="empty stream"),
    pytest.param(form(MODEL, FILE, end=b"--" + B + b"--"), None, id="no line end at the end"),
    pytest.param(form(part("model[]", b"a"), part("Model", b"b"), part("xmodel", b"c"), MODEL), None, id="others"),
    pytest.param(form(part("file", b""), MODEL), None, id="empty part"),
    pytest.param(form(part("a", b"\r\n"), MODEL), None, id="a line's end alone"),
    pytest.param(form(part("a", b"--xYzZ"), MODEL), None, id="almost a boundary"),
    pytest.param(form(part("a", b"x--" + B), MODEL), None, id="a boundary inside a line"),
    pytest.param(form(part("model", b"whisper", b"Content-Type: text/plain; charset=utf-8")), None, id="typed"),
    pytest.param(form(MODEL.replace(b'"model"', b"model")), None, id="name without quotes"),
    pytest.param(
        form(part("f", b"", parameters="; filename=\"C:\\\\a; name=x.wav\"; filename*=UTF-8''%e4"), MODEL),
        None,
        id="file names",
    ),
    pytest.param(form(MODEL.replace(b"Content-D", b"content-d").replace(b"form-data", b"Form-Data")), None, id="case"),
]


@pytest.mark.parametrize(("body", "stream"), GOOD)
def test_fields_are_read_however_the_body_is_cut(body: bytes, stream: bool | None) -> None:
    for size in range(1, len(body) + 1):
        assert read(body, size) == Fields("whisper", stream)


@given(st.binary(max_size=300), st.integers(1, 60), st.integers(1, 5))
def test_whatever_a_file_holds_is_only_a_file(content: bytes, size: int, repeat: int) -> None:
    content = (content * repeat).replace(b"\r\n--" + B, b"").removeprefix(b"--" + B)
    assert read(form(part("file", content, parameters='; filename="a"'), MODEL), size) == Fields("whisper")


@given(st.lists(st.sampled_from([b"\r", b"\n", b"-", b"--", b"\r\n", b"xYz", b"ZY", B, b"a"]), max_size=30))
def test_near_boundaries_are_told_from_boundaries(pieces: list[bytes]) -> None:
    """Against the plain rule: the part ends at the first line that begins with the boundary."""
    content = b"".join(pieces)
    body = form(MODEL, part("a", content))
    if b"\r\n--" + B in b"\r\n" + content:
        assert refused(body, 1) == refused(body, 7) == refused(body)
    else:
        assert read(body, 1) == read(body, 7) == read(body) == Fields("whisper")


HEADLESS = b"--" + B + b"\r\n\r\nx\r\n"
BAD = [
    pytest.param(b"", "ends before", id="nothing"),
    pytest.param(form(), "must provide a model", id="no part"),
    pytest.param(form(FILE), "must provide a model", id="no model"),
    pytest.param(form(part("model", b"")), "must provide a model", id="empty model"),
    pytest.param(form(MODEL, FILE, MODEL), "more than once", id="twice"),
    pytest.param(form(part("stream", b"1"), MODEL, part("stream", b"1")), "more than once", id="stream twice"),
    pytest.param(form(MODEL, part("stream", b"maybe")), "Invalid value for 'stream'", id="stream maybe"),
    pytest.param(form(part("model", b"\xff")), "must be UTF-8", id="not UTF-8"),
    pytest.param(b"hello\r\n" + form(MODEL), "does not begin with", id="preamble"),
    pytest.param(b"\r\n" + form(MODEL), "does not begin with", id="empty preamble"),
    pytest.param(form(MODEL) + b"x", "follows the last", id="epilogue"),
    pytest.param(form(MODEL) + b"\r\n", "follows the last", id="two line ends"),
    pytest.param(form(MODEL) + form(MODEL), "follows the last", id="another form"),
    pytest.param(form(MODEL, end=b""), "ends before", id="no end"),
    pytest.param(form(MODEL, FILE)[:-6], "ends before", id="cut"),
    pytest.param(form(MODEL)[:-1], "ends before", id="half a line's end"),
    pytest.param(form(MODEL).replace(b"--\r\n", b"-\r\n"), "goes on", id="one dash"),
    pytest.param(form(MODEL.replace(B + b"\r\n", B + b"\n")), "goes on", id="bare LF"),
    pytest.param(form(MODEL.replace(B + b"\r\n", B + b" \r\n")), "goes on", id="padding"),
    pytest.param(form(MODEL.replace(B, B + b"x")), "goes on", id="longer boundary"),
    pytest.param(form(HEADLESS, MODEL), "Content-Disposition", id="no headers"),
    pytest.param(form(part("a", b"--" + B + b"--"), MODEL), "where its value should begin", id="boundary at once"),
    pytest.param(form(MODEL.replace(b"form-data", b"attachment")), "Content-Disposition", id="attachment"),
    pytest.param(form(MODEL.replace(b"; name", b"; x=1; name")), "one plain name", id="unknown parameter"),
    pytest.param(form(MODEL.replace(b"name=", b"name*=")), "one plain name", id="extended name"),
    pytest.param(form(MODEL.replace(b'"model"', b'"model"; name="x"')), "one plain name", id="two names"),
    pytest.param(form(MODEL.replace(b'"model"', b'"mo\\del"')), "backslash", id="escape in the name"),
    pytest.param(
        form(part("f", b"", parameters='; filename="a\\"; name="model"')), "one plain name", id="escaped quote"
    ),
    pytest.param(form(MODEL.replace(b'"model"', b'"model')), "one plain name", id="open quote"),
    pytest.param(form(part("model", b"a", parameters='; filename="x"')), "no file", id="a file"),
    pytest.param(form(part("model", b"YQ==", b"Content-Transfer-Encoding: base64")), "plain text", id="base64"),
    pytest.param(form(part("model", b"a", b"Content-Type: text/plain; charset=utf-16")), "plain text", id="utf-16"),
    pytest.param(form(part("a", b"", b" folded")), "headers that are none", id="folded"),
    pytest.param(form(part("a", b"", b"X: a\nY: b")), "headers that are none", id="LF in a header"),
    pytest.param(form(part("a", b"", b"X: a\0")), "headers that are none", id="NUL"),
    pytest.param(form(part("a", b"", b"X :a")), "headers that are none", id="space before the colon"),
    pytest.param(
        form(part("a", b"", b"Content-Disposition: form-data; name=model")), "one twice", id="two names of it"
    ),
    pytest.param(form(part("model", b"m" * (VALUE_BYTES_MAX + 1))), "longer than", id="long model"),
    pytest.param(form(part("a", b"", b"X: " + b"y" * HEAD_BYTES_MAX)), "larger than", id="long headers"),
    pytest.param(form(part("a", b"", b"X:" + b" " * (HEAD_BYTES_MAX - 100) + b"\0")), "are none", id="many spaces"),
    pytest.param(form(*[part("a", b"")] * (PARTS_MAX + 1)), "more than", id="many parts"),
]


@pytest.mark.parametrize(("body", "sentence"), BAD)
def test_what_is_in_doubt_is_refused_however_it_is_cut(body: bytes, sentence: str) -> None:
    for size in (1, 2, 3, 5, 11, 64, len(body) or 1):
        assert sentence in refused(body, size)


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        (TYPE, B),
        (b'multipart/form-data; boundary="a b:c"', b"a b:c"),
        (
            b"Multipart/Form-Data;boundary=----WebKitFormBoundary7MA4YWxkTrZu0gW",
            b"----WebKitFormBoundary7MA4YWxkTrZu0gW",
        ),
        (b"multipart/form-data; charset=UTF-8; boundary=a", b"a"),
    ],
)
def test_boundary_is_read(content_type: bytes, boundary: bytes) -> None:
    assert boundary_of([(b"accept", b"*/*"), (b"content-type", content_type)]) == boundary


@pytest.mark.parametrize(
    ("types", "sentence"),
    [
        ([], "takes a multipart/form-data"),
        ([b"application/json"], "takes a multipart/form-data"),
        ([b"multipart/mixed; boundary=a"], "takes a multipart/form-data"),
        ([TYPE, TYPE], "takes a multipart/form-data"),
        ([b"multipart/form-data"], "needs one boundary"),
        ([b"multipart/form-data; boundary"], "needs one boundary"),
        ([b"multipart/form-data; boundary=a; boundary=b"], "needs one boundary"),
        ([b"multipart/form-data; boundary=a; Boundary=a"], "needs one boundary"),
        ([b"multipart/form-data; boundary=a; x=b"], "needs one boundary"),
        ([b"multipart/form-data; boundary=a, multipart/form-data"], "needs one boundary"),
        ([b"multipart/form-data; boundary=a; charset=utf-16"], "charset"),
        ([b'multipart/form-data; boundary=""'], "is not one"),
        ([b'multipart/form-data; boundary="a "'], "is not one"),
        ([b"multipart/form-data; boundary=" + b"a" * 71], "is not one"),
        ([b'multipart/form-data; boundary="a;b"'], "is not one"),
    ],
)
def test_doubtful_boundary_is_refused(types: list[bytes], sentence: str) -> None:
    with pytest.raises(BadBody, match=sentence):
        boundary_of([(b"content-type", value) for value in types])


def test_body_is_kept_as_it_came() -> None:
    body = form(FILE, MODEL)
    whole = FormBody(B)
    for at in range(0, len(body), 10):
        whole.take(body[at : at + 10])
    assert whole.finish() == Fields("whisper")
    assert b"".join(whole.pieces) == body
