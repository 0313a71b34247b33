"""Bytes are found by their hash, whole or not at all; folders and object stores keep one contract."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path

import pytest

from dsdc import failpoints
from dsdc.errors import BytesMissing, HashMismatch, StorageError
from dsdc.storage import FolderStorage, ObjectStorage, Storage, Stored, key_of, verify


@pytest.fixture(params=["folder", "object"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "folder":
        return FolderStorage(tmp_path / "raw", tmp_path / "processed")
    return ObjectStorage(f"memory://{tmp_path.name}")


def test_what_goes_in_comes_out(storage: Storage) -> None:
    data = os.urandom(3_000_000)
    stored = storage.put("raw", io.BytesIO(data))
    assert stored.sha256 == hashlib.sha256(data).hexdigest()
    assert stored.key == key_of("raw", stored.sha256)
    assert stored.size == len(data)
    assert storage.read(stored.key) == data
    with storage.local(stored.key) as path:
        assert path.read_bytes() == data
    assert storage.put_bytes("raw", data) == stored
    assert list(storage.keys("raw")) == [stored.key]
    assert list(storage.keys("processed")) == []
    verify(storage, stored.key)
    storage.delete(stored.key)
    storage.delete(stored.key)
    assert not storage.exists(stored.key)


def test_missing_bytes_are_named(storage: Storage) -> None:
    with pytest.raises(BytesMissing, match="raw/00/00"):
        storage.read(key_of("raw", "0" * 64))
    with pytest.raises(BytesMissing), storage.local(key_of("raw", "0" * 64)):
        pass


def test_a_changed_file_is_found(tmp_path: Path) -> None:
    storage = FolderStorage(tmp_path / "raw", tmp_path / "processed")
    stored = storage.put_bytes("raw", b"original")
    (tmp_path / "raw" / stored.key.removeprefix("raw/")).write_bytes(b"changed!")
    with pytest.raises(HashMismatch, match=stored.sha256):
        verify(storage, stored.key)


def test_a_reader_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    class Broken(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            raise OSError(5, "Input/output error")

    storage = FolderStorage(tmp_path / "raw", tmp_path / "processed")
    with pytest.raises(OSError, match="Input/output error"):
        storage.put("raw", Broken())  # type: ignore[arg-type]
    assert not [p for p in (tmp_path / "raw").rglob("*") if p.is_file()]


def test_what_a_check_refuses_is_not_in_the_store(storage: Storage) -> None:
    seen: list[Stored] = []

    def refuse(stored: Stored) -> None:
        seen.append(stored)
        raise LookupError("changed")

    with pytest.raises(LookupError):
        storage.put("raw", io.BytesIO(b"data"), refuse)
    assert seen == [Stored(key_of("raw", hashlib.sha256(b"data").hexdigest()), hashlib.sha256(b"data").hexdigest(), 4)]
    assert list(storage.keys("raw")) == []
    assert list(storage.drafts()) == []


@pytest.mark.parametrize("damage", ["missing", "changed", "cut"])
def test_the_right_bytes_put_damaged_ones_right(damage: str, tmp_path: Path) -> None:
    storage = FolderStorage(tmp_path / "raw", tmp_path / "processed")
    stored = storage.put_bytes("raw", b"original")
    path = tmp_path / "raw" / stored.key.removeprefix("raw/")
    path.unlink() if damage == "missing" else path.write_bytes(b"changed!" if damage == "changed" else b"")
    assert storage.put_bytes("raw", b"original") == stored
    verify(storage, stored.key)


def test_bytes_have_an_age(storage: Storage) -> None:
    stored = storage.put_bytes("raw", b"data")
    assert -1 < storage.age_s(stored.key) < 60
    with pytest.raises(BytesMissing):
        storage.age_s(key_of("raw", "0" * 64))


@pytest.mark.parametrize("place", ["storage.drafted", "storage.before_rename", "storage.renamed"])
def test_a_full_disk_is_a_fault_of_the_store_and_leaves_no_draft(place: str, storage: Storage) -> None:
    failpoints.arm(f"{place}=nospace")
    try:
        with pytest.raises(StorageError, match="No space left") as caught:
            storage.put("raw", io.BytesIO(b"data"))
    finally:
        failpoints.arm("")
    assert caught.value.hint
    assert list(storage.drafts()) == []
    storage.put("raw", io.BytesIO(b"data"))


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "raw").write_text("a file where the folder should be")
    storage = FolderStorage(tmp_path / "raw", tmp_path / "processed")
    with pytest.raises(StorageError, match=str(tmp_path / "raw")):
        storage.put_bytes("raw", b"data")
