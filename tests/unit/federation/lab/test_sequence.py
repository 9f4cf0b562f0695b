"""What a sequence cannot be."""

import pytest

from federation.lab.sequence import Sequence, Stage


@pytest.mark.parametrize(("prompt", "output"), [(0, 1), (1, -1)])
def test_an_empty_prompt_or_a_negative_answer_is_refused(prompt, output) -> None:
    with pytest.raises(ValueError, match="at least one token"):
        Sequence("a", prompt, output)


def test_a_new_sequence_has_no_times() -> None:
    sequence = Sequence("a", 3, 1)
    assert sequence.stage is Stage.NEW
    assert sequence.arrived_at == sequence.first_token_at == sequence.finished_at == -1.0
