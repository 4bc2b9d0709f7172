"""The table of states and reasons."""

from agent.contract.reasons import Reason
from harness.state.vocabulary import MEANINGS, Retry, known_words, meant, rank


def test_every_reason_has_a_row_and_what_is_fixed_says_how() -> None:
    assert set(MEANINGS) == set(Reason)
    assert all(bool(meaning.fix) == (meaning.retry is Retry.FIX) for meaning in MEANINGS.values())


def test_a_word_for_several_reasons_stands_for_those_that_go_by_it() -> None:
    assert meant("oom") - {"oom"} == {"gpu_oom", "host_oom"}
    assert meant("failed") - {"failed"} == {"code_error", "killed", "record", "nan", "not_started", "lost"}
    assert meant("timeout") == {"timeout"}
    assert {"oom", "failed", "timeout", "queued"} <= set(known_words())


def test_states_come_in_their_order_before_all_reasons() -> None:
    assert sorted(["timeout", "planned", "code_error", "running", "done"], key=rank) == [
        "done", "running", "planned", "code_error", "timeout",
    ]  # fmt: skip
