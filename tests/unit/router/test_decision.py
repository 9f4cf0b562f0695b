"""The words of a decision are part of the contract."""

from router.decision import Place, Reason, Refuse


def test_reasons_are_the_words_that_clients_see() -> None:
    assert [reason.value for reason in Reason] == [
        "nearest",
        "affinity",
        "overflow",
        "failover",
        "resume",
        "spill",
        "panic",
    ]


def test_refusal_drops_nobody_unless_said_otherwise() -> None:
    assert Refuse(known=False, generation=1).drops == {}


def test_decisions_are_values() -> None:
    assert Place((), Reason.NEAREST, 1) == Place((), Reason.NEAREST, 1)
