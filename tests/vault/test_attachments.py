# SPDX-License-Identifier: Apache-2.0
"""Attachments: sealed at rest, whole or absent, gone with record and person."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
import sqlalchemy as sa

from protocol.attachment import MAX_ATTACHMENTS, AttachmentInfo
from protocol.canonical import b64url
from protocol.errors import CannotOpen, TooLarge
from protocol.ids import RecordId
from protocol.stream import CHUNK_BYTES, Span
from tests.vault.world import HANDLE, NOW_MS, World, grant, push, wire
from vault import discards
from vault.attachment_files import AttachmentFiles, StorageFull
from vault.attachments import Upload
from vault.errors import Conflict, NotFound, Rejected
from vault.keyring import SubjectId
from vault.queries import Held
from vault.tables import attachments, discarded_files

CONTENT = b"\xff\xd8 an X-ray of the chest " * 9000  # more than three chunks


@pytest.fixture
def files(tmp_path: Path) -> AttachmentFiles:
    """Return a folder for files."""
    return AttachmentFiles(tmp_path / "attachments", max_bytes=2 << 20)


def begin(world: World, record: str, field: str = "result", **more: str) -> Upload:
    """Begin an upload."""
    given = {"media_type": "image/jpeg", "name": "chest.jpg", **more}
    return world.write(
        lambda c: world.vault.attachments.begin(
            c, record, field, given["media_type"], given["name"], NOW_MS
        )
    )


def write(files: AttachmentFiles, upload: Upload, content: bytes) -> tuple[int, str]:
    """Write the file of an upload in odd pieces."""
    writer = files.writer(upload.id, upload.key)
    try:
        for at in range(0, len(content), 50_001):
            writer.write(content[at : at + 50_001])
        return writer.finish()
    finally:
        writer.close()


def attach(
    world: World, files: AttachmentFiles, record: str, content: bytes = CONTENT
) -> AttachmentInfo:
    """Attach a file to a record."""
    upload = begin(world, record)
    size, digest = write(files, upload, content)
    return world.write(
        lambda c: world.vault.attachments.finish(c, upload, size, digest, NOW_MS)
    )


def read(world: World, files: AttachmentFiles, name: str) -> bytes:
    """Return the content of an attachment."""
    known = world.read(lambda c: world.vault.attachments.get(c, name))
    size = known.info.size
    return bytes(files.read(name, known.key, Span(0, size, size)))


def tidy(world: World, files: AttachmentFiles) -> None:
    """Remove the files of discarded attachments."""
    for name in world.read(discards.discarded):
        files.remove(name)
        world.write(lambda c, name=name: discards.leave(c, name))  # type: ignore[misc]


def on_disk(files: AttachmentFiles) -> list[Path]:
    """Return every file."""
    return [p for p in files._folder.rglob("*") if p.is_file()]


def record_of(world: World, person: SubjectId) -> RecordId:
    """Store a checkup and return its id."""
    stored: RecordId = world.store(person, {"result": "A"}).record
    return stored


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, 16 * CHUNK_BYTES + 1, 2 << 20])
def test_what_was_attached_is_read_after_a_restart(
    world: World, files: AttachmentFiles, size: int
) -> None:
    """Media type, name, size and digest with it."""
    content = os.urandom(size)
    info = attach(world, files, record_of(world, world.person()), content)
    world.restart()
    assert read(world, files, info.id) == content
    assert info.size == size
    assert info.sha256 == b64url(hashlib.sha256(content).digest())
    assert (info.media_type, info.name, info.field) == (
        "image/jpeg",
        "chest.jpg",
        "result",
    )


def test_any_part_is_read_alone(world: World, files: AttachmentFiles) -> None:
    """A resumed transfer starts where it ended."""
    info = attach(world, files, record_of(world, world.person()))
    known = world.read(lambda c: world.vault.attachments.get(c, info.id))
    span = Span(2 * CHUNK_BYTES, CHUNK_BYTES, info.size)
    part = files.read(info.id, known.key, span)
    assert part == CONTENT[2 * CHUNK_BYTES : 3 * CHUNK_BYTES]


def test_disk_shows_nothing_of_it(world: World, files: AttachmentFiles) -> None:
    """Neither the content nor what kind of file it is."""
    attach(world, files, record_of(world, world.person()))
    (file,) = on_disk(files)
    stolen = world.bytes_on_disk() + file.read_bytes()
    for word in (b"X-ray", b"jpeg", b"chest"):
        assert word not in stolen
    assert file.stat().st_mode & 0o777 == 0o600


def test_altered_or_exchanged_files_do_not_open(
    world: World, files: AttachmentFiles
) -> None:
    """A changed byte, a cut file, another attachment's file in its place."""
    record = record_of(world, world.person())
    info = attach(world, files, record)
    (file,) = on_disk(files)
    whole = file.read_bytes()
    other = attach(world, files, record)
    (foreign,) = [p for p in on_disk(files) if p != file]
    assert read(world, files, other.id) == CONTENT
    for broken in (
        whole[:-1],
        whole[:100] + bytes([whole[100] ^ 1]) + whole[101:],
        foreign.read_bytes(),
        b"",
    ):
        file.write_bytes(broken)
        with pytest.raises(CannotOpen):
            read(world, files, info.id)
    file.unlink()
    with pytest.raises(CannotOpen):
        read(world, files, info.id)


def test_row_moved_to_another_record_does_not_open(
    world: World, files: AttachmentFiles
) -> None:
    """The seal names the record, the field and the size."""
    person = world.person()
    info = attach(world, files, record_of(world, person))
    record = record_of(world, person)
    for column, value in (
        ("record", record.rpartition(":")[2]),
        ("field", "note"),
        ("size", 1),
    ):
        (before,) = world.rows(attachments)
        world.write(
            lambda c, n=column, v=value: c.execute(  # type: ignore[misc]
                sa.update(attachments).values({n: v})
            )
        )
        with pytest.raises(CannotOpen):
            world.read(lambda c: world.vault.attachments.get(c, info.id))
        world.write(
            lambda c, n=column, v=before[column]: c.execute(  # type: ignore[misc]
                sa.update(attachments).values({n: v})
            )
        )


def test_upload_that_was_cut_off_leaves_nothing(
    world: World, files: AttachmentFiles
) -> None:
    """Also when the node died in the middle of it."""
    record = record_of(world, world.person())
    upload = begin(world, record)
    writer = files.writer(upload.id, upload.key)
    writer.write(CONTENT * 8)
    writer.close()
    world.restart()
    assert on_disk(files)
    with pytest.raises(NotFound):
        world.read(lambda c: world.vault.attachments.get(c, upload.id))
    tidy(world, files)
    assert on_disk(files) == []
    assert world.rows(attachments) == world.rows(discarded_files) == []


def test_attachments_go_with_their_record(world: World, files: AttachmentFiles) -> None:
    """Files follow; those of other records stay."""
    person = world.person()
    first, second = record_of(world, person), record_of(world, person)
    gone, kept = attach(world, files, first), attach(world, files, second)
    world.write(lambda c: world.vault.records.delete(c, first))
    tidy(world, files)
    assert [file.name for file in on_disk(files)] == [kept.id]
    with pytest.raises(NotFound):
        read(world, files, gone.id)


def test_deleted_attachment_goes_alone(world: World, files: AttachmentFiles) -> None:
    """The record stays, and deleting twice is an error."""
    record = record_of(world, world.person())
    info = attach(world, files, record)
    world.write(lambda c: world.vault.attachments.delete(c, info.id))
    tidy(world, files)
    assert on_disk(files) == []
    assert world.read(lambda c: world.vault.records.get(c, record)).version == 1
    with pytest.raises(NotFound):
        world.write(lambda c: world.vault.attachments.delete(c, info.id))


def test_erasure_closes_and_removes_the_files(
    world: World, files: AttachmentFiles
) -> None:
    """A file and a row that a backup brings back stay closed, then they are swept."""
    person = world.person()
    info = attach(world, files, record_of(world, person))
    (row,) = world.rows(attachments)
    (file,) = on_disk(files)
    copy = file.read_bytes()
    world.write(lambda c: world.vault.erasure.erase(c, person, NOW_MS))
    world.vault.keyring.forget(person)
    tidy(world, files)
    assert on_disk(files) == []
    world.write(lambda c: c.execute(attachments.insert(), [row]))
    file.write_bytes(copy)
    with pytest.raises(NotFound):
        read(world, files, info.id)
    assert world.write(world.vault.erasure.sweep) >= 1
    tidy(world, files)
    assert on_disk(files) == []


def test_person_who_turns_out_to_be_another_keeps_attachments(
    world: World, files: AttachmentFiles
) -> None:
    """They are sealed anew under the key that stays."""
    other = world.person("P-2")
    handle = world.write(
        lambda c: world.vault.subjects.ensure_handle(c, HANDLE, NOW_MS)
    )
    info = attach(world, files, record_of(world, handle))
    world.write(lambda c: world.vault.linking.link(c, "P-2", grant(), NOW_MS))
    world.restart()
    known = world.read(lambda c: world.vault.attachments.get(c, info.id))
    assert known.subject == other
    assert read(world, files, info.id) == CONTENT


def test_received_records_take_no_attachments(world: World) -> None:
    """What is passed on is what came, under the consent it came under."""
    person = world.person()
    push(world, person, wire())
    (received,) = world.read(
        lambda c: world.vault.queries.of_subject(
            c, person, "health.checkup", held=Held.RECEIVED
        )
    )
    with pytest.raises(NotFound):
        begin(world, received.id)


@pytest.mark.parametrize(
    "wrong",
    [
        {"field": "colour"},
        {"media_type": "jpeg"},
        {"media_type": "a/b\n"},
        {"name": "n" * 201},
    ],
)
def test_what_an_attachment_cannot_be_is_refused_at_once(
    world: World, wrong: dict[str, str]
) -> None:
    """Before the first byte is written; nothing is left to remove."""
    record = record_of(world, world.person())
    with pytest.raises(Rejected):
        begin(world, record, **wrong)
    assert world.rows(discarded_files) == []


def test_record_has_so_many_attachments_and_no_more(
    world: World, files: AttachmentFiles
) -> None:
    """An answer lists them all, so their number is bounded."""
    record = record_of(world, world.person())
    for _ in range(MAX_ATTACHMENTS):
        attach(world, files, record, b"")
    with pytest.raises(Conflict):
        begin(world, record)


def test_upload_beyond_the_limit_ends(world: World, files: AttachmentFiles) -> None:
    """While it comes, not when it is there."""
    upload = begin(world, record_of(world, world.person()))
    with pytest.raises(TooLarge):
        write(files, upload, bytes((2 << 20) + 1))


def test_disk_that_fails_is_told_as_such(world: World, tmp_path: Path) -> None:
    """The caller learns a stable code, not an operating system's error."""
    (tmp_path / "plain file").write_text("in the way")
    files = AttachmentFiles(tmp_path / "plain file")
    upload = begin(world, record_of(world, world.person()))
    with pytest.raises(StorageFull):
        files.writer(upload.id, upload.key)


def test_record_that_went_during_the_upload_takes_no_attachment(
    world: World, files: AttachmentFiles
) -> None:
    """The file is removed like any other that is nobody's."""
    record = record_of(world, world.person())
    upload = begin(world, record)
    size, digest = write(files, upload, CONTENT)
    world.write(lambda c: world.vault.records.delete(c, record))
    with pytest.raises(NotFound):
        world.write(
            lambda c: world.vault.attachments.finish(c, upload, size, digest, NOW_MS)
        )
    tidy(world, files)
    assert on_disk(files) == []
