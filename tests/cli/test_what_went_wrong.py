"""What the command line says when something went wrong is short enough to be read."""

from datetime import UTC, datetime

import pytest
import typer

from arable.cli.faults import told
from arable.client.errors import NotFound, OperationFailed
from arable.wire.common import FieldError, Problem
from arable.wire.operations import FailureOut, OperationOut


def failure(detail: str, *causes: FailureOut) -> FailureOut:
    return FailureOut(
        type="urn:arable:problem:no-room", title="Not enough room", detail=detail, causes=[*causes]
    )


def failed(error: FailureOut) -> OperationFailed:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return OperationFailed(
        OperationOut(
            id="operation-1", kind="machine.deploy", target="", state="failed", total=3, pending=0,
            steps=[], result=None, error=error, account="account-1", user="user-1",
            created_at=at, changed_at=at,
        )
    )  # fmt: skip


def test_causes_that_are_alike_are_said_once_and_counted(capsys) -> None:
    full, dear = failure("4 lack memory"), failure("2 lack a tag", failure("of gpu"))
    with pytest.raises(typer.Exit) as left, told():
        raise failed(failure("parts of this failed", full, dear, full, full))
    assert left.value.exit_code == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if "because" in line] == [
        "  because: 4 lack memory (3 times)",
        "  because: 2 lack a tag",
        "    because: of gpu",
    ]


@pytest.mark.parametrize(
    ("field", "said"),
    [("offering", "`arable offering list`"), ("networks.0.network", "`arable network list`")],
)
def test_what_is_not_there_is_followed_by_where_to_look(capsys, field, said) -> None:
    problem = Problem(
        type="urn:arable:problem:not-found",
        title="Not found",
        status=404,
        detail="there is no such thing",
        instance="",
        errors=[FieldError(field=field, reason="there is no such thing")],
    )
    with pytest.raises(typer.Exit), told():
        raise NotFound(problem)
    assert said in capsys.readouterr().err
