"""What a stage does while files of gigabytes are hashed and loaded."""

from concurrent.futures import Future

from bramble.stage.loading import _result


def test_a_stage_tells_that_it_lives_while_one_file_takes_long() -> None:
    future: Future[str] = Future()
    signs = []

    def alive() -> None:
        signs.append(future.done())
        if len(signs) == 2:
            future.set_result("session")

    assert _result(future, alive) == "session"
    assert signs == [False, False, True]
