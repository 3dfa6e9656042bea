"""Stop strings are found across the borders of pieces, and nothing of them is shown."""

from bramble.head.stop import StopMatcher
from hypothesis import given
from hypothesis import strategies as st

text = st.text("ab\n", max_size=30)


def test_a_stop_string_over_three_pieces_is_found() -> None:
    matcher = StopMatcher(("\n\nUser:",))
    assert matcher.push("fine.\n") == ("fine.", False)
    assert matcher.push("\nUs") == ("", False)
    assert matcher.push("er: and") == ("", True)


def test_what_only_looks_like_a_stop_string_is_shown_late() -> None:
    matcher = StopMatcher(("END",))
    assert matcher.push("EN") == ("", False)
    assert matcher.push("VY") == ("ENVY", False)


def test_the_earliest_of_two_stop_strings_counts() -> None:
    matcher = StopMatcher(("ab", "b"))
    assert matcher.push("xxb ab") == ("xx", True)
    assert matcher.met == "b"


def test_of_two_stop_strings_at_one_place_the_first_is_named() -> None:
    matcher = StopMatcher(("abc", "ab"))
    assert matcher.push("xxabc") == ("xx", True)
    assert matcher.met == "abc"


@given(st.lists(text, max_size=6), st.lists(text.filter(bool), min_size=1, max_size=3))
def test_pieces_give_what_the_whole_text_gives(pieces: list[str], stops: list[str]) -> None:
    matcher, shown, is_met = StopMatcher(tuple(stops)), "", False
    for piece in pieces:
        if not is_met:
            new, is_met = matcher.push(piece)
            shown += new
    shown += "" if is_met else matcher.flush()
    whole = "".join(pieces)
    assert is_met == any(stop in whole for stop in stops)
    # The first stop to be completed ends the text; one that began earlier may lie around it.
    ends = [whole.find(stop) for stop in stops if stop in whole]
    assert shown in ([whole[:end] for end in ends] if is_met else [whole])
