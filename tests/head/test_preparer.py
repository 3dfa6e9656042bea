"""Jobs beside the loop: in order, none lost, however the loop and the thread interleave."""

import select

from bramble.head.preparer import Preparer


def test_every_result_is_taken_once_and_in_order_by_a_loop_that_never_waits() -> None:
    preparer: Preparer[int] = Preparer()
    taken: list[int] = []
    for number in range(3000):
        preparer.submit(lambda number=number: number)
        while len(taken) <= number:  # so often before the bell has rung
            if (result := preparer.take()) is not None:
                taken.append(result)
    preparer.close()
    assert taken == list(range(3000))


def test_the_bell_wakes_a_loop_that_waits_and_is_silent_afterwards() -> None:
    preparer: Preparer[str] = Preparer()
    preparer.submit(lambda: "done")
    assert select.select([preparer.bell], [], [], 5)[0]
    assert preparer.take() == "done"
    assert preparer.take() is None
    assert not select.select([preparer.bell], [], [], 0.05)[0]
    preparer.close()
