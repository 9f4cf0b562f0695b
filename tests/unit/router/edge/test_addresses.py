"""Whose turn it is among the addresses of one endpoint."""

from router.edge.addresses import REST_S, REST_S_MAX, AddressBook


def texts(book: AddressBook, now: float = 0.0) -> list[str]:
    return [address.text for address in book.order(now)]


def test_each_begins_with_the_next() -> None:
    book = AddressBook(["a", "b", "c"])
    assert [texts(book) for _ in range(4)] == [["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"], ["a", "b", "c"]]


def test_nobody_and_one_alone_have_no_turns() -> None:
    assert texts(AddressBook()) == []
    assert [texts(AddressBook(["a"])) for _ in range(2)] == [["a"], ["a"]]


def test_an_address_that_failed_is_tried_last_until_it_has_rested() -> None:
    book = AddressBook(["a", "b", "c"])
    a, _, _ = book
    a.failed(10.0)
    assert {tuple(texts(book, 10.0 + REST_S - 0.1)) for _ in range(3)} == {("b", "c", "a"), ("c", "b", "a")}
    assert texts(book, 10.0 + REST_S) in (["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"])


def test_where_all_rest_the_one_that_is_ready_first_is_tried_first() -> None:
    book = AddressBook(["a", "b", "c"])
    for address, when in zip(book, (3.0, 1.0, 2.0), strict=True):
        address.failed(when)
    assert texts(book, 3.5) == ["b", "c", "a"]


def test_rest_doubles_with_each_failure_in_a_row_up_to_a_bound() -> None:
    (address,) = AddressBook(["a"])
    rests = []
    for _ in range(6):
        address.failed(100.0)
        rests.append(address.rests_until - 100.0)
    assert rests == [REST_S, 2 * REST_S, 4 * REST_S, 8 * REST_S, REST_S_MAX, REST_S_MAX]
    address.answered()
    assert address.rests_until == 0.0
    address.failed(0.0)
    assert address.rests_until == REST_S


def test_what_is_no_longer_named_is_gone_and_the_rest_keep_what_is_known_of_them() -> None:
    book = AddressBook(["a", "b"])
    a, b = book
    b.failed(0.0)
    assert book.replace(["c", "b", "b"])
    assert book.texts == ("b", "c")
    assert (a.gone, b.gone) == (True, False)
    assert texts(book) == ["c", "b"]
    assert not book.replace(["c", "b"])


def test_new_terms_end_the_use_of_every_connection() -> None:
    book = AddressBook(["a", "b"])
    before = list(book)
    book.renew()
    assert all(address.gone for address in before)
    assert book.texts == ("a", "b")
    assert not any(address.gone for address in book)
