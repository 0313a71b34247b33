"""Every error of the tree has a status, and only some may speak."""

from __future__ import annotations

import inspect

import pytest

from dsdc import errors
from dsdc.errors import DsdcError
from dsdc.web.errors import problem_of, slug, status_of, telling

TREE = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, DsdcError)]
SECRET = "postgresql://owner:hunter2@db:5432/x at /srv/dsdc/.secrets"
EXPECTED = {
    "EmptyFile": 422,
    "CorruptFile": 422,
    "EncryptedFile": 422,
    "UnsupportedType": 415,
    "TooLarge": 413,
    "NotFound": 404,
    "Conflict": 409,
    "Busy": 503,
    "InvalidCredentials": 401,
    "InvalidToken": 401,
    "Forbidden": 403,
    "TooManyAttempts": 429,
    "NoChampion": 503,
    "DatabaseUnavailable": 503,
    "WeightsError": 503,
    "StorageError": 500,
    "DsdcError": 500,
}


@pytest.mark.parametrize("name", EXPECTED)
def test_status(name: str) -> None:
    assert status_of(getattr(errors, name)()) == EXPECTED[name]


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
def test_every_error_becomes_a_problem(kind: type[DsdcError]) -> None:
    response = problem_of(kind(), "the-request")
    assert response.media_type == "application/problem+json"
    assert response.status_code >= 400


@pytest.mark.parametrize("name", ["DatabaseUnavailable", "WeightsError", "StorageError", "SecretsError", "DsdcError"])
def test_what_was_not_written_for_clients_stays_inside(name: str) -> None:
    assert b"hunter2" not in bytes(problem_of(getattr(errors, name)(SECRET), None).body)


def test_what_was_written_for_clients_is_told_with_its_hint() -> None:
    assert telling(errors.CorruptFile("No page opens.", hint="Save it again.")) == "No page opens. Save it again."


def test_waiting_is_told_in_seconds() -> None:
    assert problem_of(errors.Busy(retry_after_s=7), None).headers["retry-after"] == "7"
    assert problem_of(errors.TooManyAttempts(retry_after_s=9), None).headers["retry-after"] == "9"
    assert problem_of(errors.NoChampion(), None).headers["retry-after"] == "5"
    assert problem_of(errors.InvalidToken(), None).headers["www-authenticate"].startswith("Bearer")


def test_types_are_the_class_names() -> None:
    assert slug(errors.UnsupportedType) == "unsupported-type"
    assert len({slug(kind) for kind in TREE}) == len(TREE)
