"""Tasks of the workshop: one after another, with progress, stopped when asked, a sentence for what went wrong."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from engine.errors import InputError, UserError
from studio.workshop import Report, TaskState, Workshop
from tests.patience import PATIENCE_S


@pytest.fixture
def workshop() -> Iterator[Workshop]:
    workshop = Workshop()
    yield workshop
    assert workshop.close(PATIENCE_S)


def ended(workshop: Workshop, task_id: str) -> TaskState:
    while not (task := workshop.look(task_id, 5)).final:
        pass
    return task.state


def test_tasks_run_in_order_and_tell_how_far_they_are(workshop: Workshop) -> None:
    order: list[int] = []
    go_on = threading.Event()

    def work(number: int, report: Report) -> dict[str, Any]:
        report(1, 2)
        assert go_on.wait(PATIENCE_S)
        order.append(number)
        report(2, 2)
        return {"number": number}

    first = workshop.begin(lambda report: work(1, report)).id
    second = workshop.begin(lambda report: work(2, report)).id
    task = workshop.look(first, PATIENCE_S, seen=0)
    assert (task.state, task.num_done, task.num_all) == (TaskState.running, 1, 2)
    assert workshop.look(second).state is TaskState.waiting
    go_on.set()
    assert ended(workshop, second) is TaskState.done
    assert order == [1, 2]
    assert workshop.look(second).result == {"number": 2}


def test_a_task_can_be_stopped_whether_it_waits_or_runs(workshop: Workshop) -> None:
    running = threading.Event()

    def endless(report: Report) -> dict[str, Any]:
        while True:
            running.set()
            report(1, 9)

    first = workshop.begin(endless).id
    second = workshop.begin(endless).id
    assert running.wait(PATIENCE_S)
    workshop.cancel(second)
    assert workshop.look(second).state is TaskState.cancelled
    workshop.cancel(first)
    assert ended(workshop, first) is TaskState.cancelled
    workshop.cancel("unknown")
    with pytest.raises(InputError, match="anew"):
        workshop.look("unknown")


def test_what_goes_wrong_is_a_sentence_and_the_next_task_runs(
    workshop: Workshop, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_report: Report) -> dict[str, Any]:
        raise InputError("Choose another clip.")

    def break_down(_report: Report) -> dict[str, Any]:
        raise RuntimeError("a secret of the program's inside")

    refused, broken = workshop.begin(refuse).id, workshop.begin(break_down).id
    good = workshop.begin(lambda _: {}).id
    assert ended(workshop, good) is TaskState.done
    assert workshop.look(refused).error == "Choose another clip."
    fault = workshop.look(broken).error
    assert fault is not None
    assert "secret" not in fault
    assert "secret" in caplog.text


def test_after_closing_nothing_begins() -> None:
    workshop = Workshop()
    assert workshop.close(PATIENCE_S)
    with pytest.raises(UserError, match="closing"):
        workshop.begin(lambda _: {})
