"""Audio files as the emulated model server reads them."""

import json

import pytest

from federation.lab.recording import FIELD_BYTES_MAX, Recording, TranscriptionFrames
from federation.lab.request import BadRequest

TYPE = b"multipart/form-data; boundary=bnd"
USED = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}


def form(**fields: bytes) -> bytes:
    parts = [
        b'--bnd\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
        % (name.encode(), b'; filename="a.wav"' if name == "file" else b"", value)
        for name, value in fields.items()
    ]
    return b"".join(parts) + b"--bnd--\r\n"


def read(body: bytes, size: int, content_type: bytes = TYPE) -> Recording:
    recording = Recording(content_type)
    for at in range(0, len(body), size):
        recording.feed(body[at : at + size])
    return recording


def test_file_and_fields_are_read_however_the_body_is_cut() -> None:
    content = b"RIFF\r\n--bn\r\n\0\xff" * 20
    body = form(model=b"w", file=content, language=b"en")
    whole = read(body, len(body))
    whole.check()
    for size in (1, 2, 3, 7, 50):
        recording = read(body, size)
        recording.check()
        assert (recording.digest, recording.file_bytes) == (whole.digest, len(content))
        assert recording.fields == {"model": "w", "language": "en"}


def test_every_byte_of_the_file_counts() -> None:
    digests = {read(form(file=content, model=b"w"), 5).digest for content in (b"", b"a", b"b", b"a\0", b"\r\n")}
    assert len(digests) == 5


@pytest.mark.parametrize(
    ("body", "content_type", "sentence"),
    [
        (form(file=b"x"), b"application/json", "complete multipart"),
        (form(file=b"x"), b"multipart/form-data", "complete multipart"),
        (form(file=b"x")[:-8], TYPE, "complete multipart"),
        (form(model=b"x" * (FIELD_BYTES_MAX + 5_000)), TYPE, "complete multipart"),
        (form(model=b"w"), TYPE, "Field required"),
    ],
)
def test_what_is_no_form_with_a_file_is_refused(body: bytes, content_type: bytes, sentence: str) -> None:
    with pytest.raises(BadRequest, match=sentence):
        read(body, 1000, content_type).check()


def test_text_is_told_plainly_or_as_json_or_in_events() -> None:
    choice = ("so it is", "stop", None)
    assert TranscriptionFrames(plain=True).whole([choice], USED) == b"so it is\n"
    frames = TranscriptionFrames(plain=False)
    told = json.loads(frames.whole([choice], USED))
    assert (told["text"], told["usage"]["total_tokens"]) == ("so it is", 7)
    stream = frames.opening(0) + frames.writer(0)("so") + frames.last_event(0, " it is", "stop", None, None)
    *deltas, done, end = (stream + frames.tail([choice], USED)).split(b"\n\n")[:-1]
    assert "".join(json.loads(one.removeprefix(b"data: "))["delta"] for one in deltas) == "so it is"
    assert json.loads(done.removeprefix(b"data: "))["text"] == "so it is"
    assert end == b"data: [DONE]"
