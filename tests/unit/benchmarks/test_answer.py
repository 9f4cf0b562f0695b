from tests.benchmarks import answer


def test_answers_have_the_sizes_that_the_report_tells() -> None:
    assert 640 <= len(answer.PLAIN) <= 670
    assert 240 <= len(answer.EVENT) <= 260
    assert answer.EVENT.count(answer.MARK) == 1  # Which is how they are counted.
    assert answer.MARK not in answer.FIRST_EVENT + answer.LAST_EVENT + answer.DONE


def test_untouched_answers_pass() -> None:
    assert answer.wrong(answer.PLAIN, answer.stream_body(3), 3, same_bytes=True) is None


def test_rewritten_answers_pass_only_where_that_is_expected() -> None:
    plain = answer.PLAIN.replace(b'":', b'": ')
    stream = answer.stream_body(3).replace(b'":', b'": ')
    assert answer.wrong(plain, stream, 3, same_bytes=False) is None
    assert "other bytes" in str(answer.wrong(plain, answer.stream_body(3), 3, same_bytes=True))
    assert "other bytes" in str(answer.wrong(answer.PLAIN, stream, 3, same_bytes=True))


def test_lost_doubled_and_cut_text_is_found() -> None:
    assert answer.wrong(b"{}", answer.stream_body(3), 3, same_bytes=False)
    assert answer.wrong(answer.PLAIN, answer.stream_body(2), 3, same_bytes=False)
    assert answer.wrong(answer.PLAIN, answer.stream_body(4), 3, same_bytes=False)
    assert answer.wrong(answer.PLAIN, answer.stream_body(3).removesuffix(answer.DONE), 3, same_bytes=False)
    assert answer.wrong(answer.PLAIN, b"", 3, same_bytes=False)
