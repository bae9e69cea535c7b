"""Records on disk: bytes only, checked on the way back, the user's own before the atlas."""

import contextlib
import io
import json
import os
import pickle
import sqlite3
import subprocess
import sys
import threading
import zipfile
from dataclasses import replace

import diskcache
import filelock
import numpy as np
import pytest
from conftest import SMALL, assert_same_training, finish
from hypothesis import given
from hypothesis import strategies as st

import modadd.records.store
from modadd.records.bin import MOST
from modadd.records.index import BytesOnly, Index
from modadd.records.store import SEEDS, Damaged, Store, from_bytes, to_bytes, write_archive, write_atlas
from modadd.runs import PUBLISHED_STEPS, Run, preset

BRIEF = replace(SMALL, epochs=20)


@pytest.fixture(scope="module")
def brief(one_thread):
    """A record small enough to be kept inside the index instead of in a file of its own."""
    return finish(BRIEF)


@pytest.fixture
def reopen(store):
    """Close the store of this test and open what is on its disk anew."""
    opened = []

    def again():
        store.close()
        opened.append(Store(store.folder, store.atlas))
        return opened[-1]

    yield again
    for one in opened:
        one.close()


def files_of(store):
    return sorted(store.folder.rglob("*.val"))


@contextlib.contextmanager
def index(store):
    """The index as a bare database, behind the store's back."""
    with contextlib.closing(sqlite3.connect(store.folder / "cache.db")) as database, database:
        yield database


class Bomb:
    """Unpickling this makes a folder: whoever runs planted code leaves a trace."""

    def __init__(self, trace):
        self.trace = str(trace)

    def __reduce__(self):
        return os.mkdir, (self.trace,)


def test_the_bomb_would_go_off(tmp_path):
    pickle.loads(pickle.dumps(Bomb(tmp_path / "trace")))
    assert (tmp_path / "trace").exists()


# -- keeping ------------------------------------------------------------------------------------


def test_what_is_put_is_what_one_gets(store, record, brief):
    for one in (record, brief):
        store.put(one)
        assert_same_training(store.get(one.run.id), one)
        assert store.get(one.run.id).provenance == one.provenance


def test_records_of_both_sizes_survive_reopening(store, record, brief, reopen):
    store.put(record)
    store.put(brief)
    again = reopen()
    assert_same_training(again.get(record.run.id), record)
    assert_same_training(again.get(brief.run.id), brief)


def test_putting_again_replaces(store, record):
    store.put(record)
    store.put(record.without_state())
    assert store.get(record.run.id).state is None
    assert len(store.cards()) == 1
    assert len(files_of(store)) <= 1


def test_a_run_nobody_trained_is_none(store):
    assert store.get(SMALL.id) is None
    assert store.where(SMALL.id) is None
    assert store.version(SMALL.id) == ""
    assert store.cards() == {}


@pytest.mark.parametrize(
    "name", ["", "p007", "../../etc/passwd", "p007-custom-../../x", "p007-custom-0123456789x", "*"]
)
def test_a_name_that_is_no_id_finds_nothing(store, name):
    assert store.get(name) is None
    assert store.where(name) is None


def test_deleting_removes_the_record_and_its_file(store, record):
    store.put(record)
    assert store.delete(record.run.id)
    assert store.get(record.run.id) is None
    assert store.cards() == {}
    assert files_of(store) == []
    assert not store.delete(record.run.id)


def test_a_deleted_record_comes_back_as_it_was(store, record):
    store.put(record)
    name = store.delete(record.run.id)
    assert store.restore(name) == record.run.id
    assert_same_training(store.get(record.run.id), record)
    assert store.get(record.run.id).provenance == record.provenance
    assert store.bin.names() == []


def test_the_bin_keeps_the_last_deleted_and_nothing_takes_the_place_of_a_run(store, brief):
    names = []
    for _ in range(MOST + 2):
        store.put(brief)
        names.append(store.delete(brief.run.id))
    assert store.bin.names() == names[:1:-1]
    store.put(brief)
    with pytest.raises(ValueError, match=f"^{brief.run.id} is among your runs again: delete that one first$"):
        store.restore(names[-1])
    store.delete(brief.run.id)
    with pytest.raises(ValueError, match=f"^{brief.run.id} is not in the bin any more$"):
        store.restore(names[0])


def test_the_bin_survives_a_broken_index(store, record, reopen):
    store.put(record)
    name = store.delete(record.run.id)
    break_index(store)
    again = reopen()
    assert again.cards() == {}
    again.restore(name)
    assert_same_training(again.get(record.run.id), record)


@pytest.mark.parametrize("name", ["", "../00000001.p007-custom-0123456789", "00000001.x", "p007-custom-0123456789"])
def test_nothing_else_is_in_the_bin(store, name):
    with pytest.raises(ValueError, match=r"in the bin|checksum"):
        store.restore(name)
    store.bin.drop(name)


def test_cards_tell_a_record_without_its_arrays(store, record, brief):
    store.put(record)
    store.put(brief)
    cards = store.cards()
    assert set(cards) == {record.run.id, brief.run.id}
    for one in (record, brief):
        card = cards[one.run.id]
        assert card["run"] == one.run
        assert card["summary"] == one.summary
        assert card["provenance"] == one.provenance
        assert card["where"] == "cache"
        assert card["bytes"] == len(to_bytes(one))


def test_a_version_changes_with_the_record(store, record):
    store.put(record)
    before = store.version(record.run.id)
    store.put(replace(record, provenance=record.provenance | {"finished": "2000-01-01T00:00:00Z"}))
    assert store.version(record.run.id) != before


def test_a_version_changes_within_a_second(store, record):
    store.put(record)
    before = store.version(record.run.id)
    store.put(replace(record, provenance=record.provenance | {"steps": 5}))
    assert store.version(record.run.id) != before


def test_a_folder_that_is_made_is_its_owners_alone_and_one_that_is_given_stays_as_it_is(store, tmp_path):
    assert store.folder.stat().st_mode & 0o777 == 0o700
    given = tmp_path / "of-a-group"
    given.mkdir()
    given.chmod(0o2775)
    Store(given, None).close()
    assert given.stat().st_mode & 0o7777 == 0o2775  # it was somebody's choice


# -- bytes only ---------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path):
    cache = diskcache.Cache(str(tmp_path / "cache"), disk=BytesOnly)
    yield cache
    cache.close()


@pytest.mark.parametrize("value", ["text", 3, 0.5, None, [b"x"], {"a": 1}, bytearray(b"x"), memoryview(b"x")])
def test_a_value_that_is_not_bytes_is_refused(cache, value):
    with pytest.raises(TypeError, match=f"^values are bytes, got {type(value).__name__}$"):
        cache.set("key", value)
    assert len(cache) == 0


@pytest.mark.parametrize("key", [b"key", 3, None, ("a", "b"), 0.5])
def test_a_key_that_is_not_text_is_refused(cache, key):
    with pytest.raises(TypeError, match=f"^keys are strings, got {type(key).__name__}$"):
        cache.set(key, b"value")
    assert len(cache) == 0


def test_a_planted_key_is_refused(cache, tmp_path):
    cache.set("key", b"value")
    with contextlib.closing(sqlite3.connect(tmp_path / "cache" / "cache.db")) as database, database:
        database.execute("UPDATE Cache SET raw = 0, key = ?", (pickle.dumps(Bomb(tmp_path / "trace")),))
    with pytest.raises(Damaged, match="foreign key"):
        list(cache)
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize("size", [0, 10, 100_000])
def test_bytes_come_back(cache, size):
    cache.set("key", b"x" * size)
    assert cache.get("key") == b"x" * size
    assert list(cache) == ["key"]


@pytest.mark.parametrize("in_file", [False, True])
def test_a_planted_pickle_never_runs(store, record, tmp_path, in_file, tried):
    store.put(record)
    bomb = pickle.dumps(Bomb(tmp_path / "trace"))
    with index(store) as database:
        if in_file:
            files_of(store)[0].write_bytes(bomb)
            database.execute("UPDATE Cache SET mode = ?", (diskcache.core.MODE_PICKLE,))
        else:
            database.execute(
                "UPDATE Cache SET mode = ?, filename = NULL, value = ?", (diskcache.core.MODE_PICKLE, bomb)
            )
    with pytest.raises(Damaged):
        store.get(record.run.id)
    with contextlib.suppress(Damaged):
        store.cards()
    assert not (tmp_path / "trace").exists()
    tried("a pickle in the index or in place of a record", 1, "never unpickled")


def test_a_planted_text_row_is_refused(store, record):
    store.put(record)
    with index(store) as database:
        database.execute("UPDATE Cache SET mode = ?", (diskcache.core.MODE_TEXT,))
    with pytest.raises(Damaged):
        store.get(record.run.id)


def test_a_row_that_is_not_a_file_is_refused_by_its_id(store, record, brief):
    store.put(record)
    store.put(brief)
    with index(store) as database:
        database.execute("UPDATE Cache SET filename = NULL, mode = 1, value = x'00' WHERE key = ?", (record.run.id,))
    with pytest.raises(Damaged, match=f"{record.run.id}.*delete it"):
        store.get(record.run.id)
    assert set(store.cards()) == {brief.run.id}


def test_a_planted_key_never_runs(store, record, tmp_path):
    store.put(record)
    with index(store) as database:
        database.execute("UPDATE Cache SET raw = 0, key = ?", (pickle.dumps(Bomb(tmp_path / "trace")),))
    with contextlib.suppress(Damaged):
        store.cards()
    assert store.get(record.run.id) is None
    assert not (tmp_path / "trace").exists()


def test_a_foreign_row_is_refused_by_its_id(store, record):
    store.put(record)
    with index(store) as database:
        database.execute("UPDATE Cache SET mode = ?", (diskcache.core.MODE_PICKLE,))
    with pytest.raises(Damaged, match=f"{record.run.id}.*delete it"):
        store.get(record.run.id)


@pytest.mark.parametrize("damage", ["mode = 4", "raw = 0", "key = 3"])
def test_a_foreign_row_does_not_hide_the_others(store, record, brief, damage):
    store.put(record)
    store.put(brief)
    with index(store) as database:
        database.execute(f"UPDATE Cache SET {damage} WHERE key = ?", (brief.run.id,))
    assert set(store.cards()) == {record.run.id}


def test_a_pickled_array_inside_a_valid_checksum_never_runs(record, tmp_path):
    buffer = io.BytesIO()
    np.save(buffer, np.array([Bomb(tmp_path / "trace")], dtype=object), allow_pickle=True)
    archive = io.BytesIO(write_archive(record.to_arrays()))
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("state/planted.npy", buffer.getvalue())
    body = archive.getvalue()
    blob = modadd.records.store.MAGIC + modadd.records.store.hashlib.sha256(body).digest() + body
    with pytest.raises(ValueError, match="allow_pickle"):
        from_bytes(blob)
    assert not (tmp_path / "trace").exists()


def test_a_record_of_objects_cannot_be_written(record):
    strange = replace(record, state={"m": np.array([{}], dtype=object)})
    with pytest.raises(ValueError, match="allow_pickle"):
        to_bytes(strange)


# -- damage -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def blob(brief):
    return to_bytes(brief)


@given(st.data())
def test_any_changed_bit_is_noticed(blob, data):
    at = data.draw(st.integers(0, len(blob) - 1))
    changed = bytearray(blob)
    changed[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(Damaged, match=r"^its checksum does not match its content$"):
        from_bytes(bytes(changed))


@given(st.data())
def test_any_truncation_is_noticed(blob, data):
    with pytest.raises(Damaged):
        from_bytes(blob[: data.draw(st.integers(0, len(blob) - 1))])


def test_anything_appended_is_noticed(blob):
    with pytest.raises(Damaged):
        from_bytes(blob + b"\0")


@pytest.mark.parametrize(
    "damage",
    [lambda b: b[:-1], lambda b: b[:50], lambda b: b"", lambda b: b[:999] + bytes([b[999] ^ 4]) + b[1000:]],
    ids=["cut", "short", "empty", "flipped"],
)
def test_a_damaged_file_is_refused_by_its_id_and_can_be_mended(store, record, damage, tried):
    store.put(record)
    [file] = files_of(store)
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(Damaged, match=f"^the stored run {record.run.id} cannot be read: .*; delete it or train it ag"):
        store.get(record.run.id)
    assert set(store.cards()) == {record.run.id}  # it can still be listed, and so be deleted
    store.put(record)
    assert_same_training(store.get(record.run.id), record)
    tried(
        "a record file that is cut off, emptied, or has a bit flipped", 1, "named by its id; training it again mends it"
    )


@pytest.mark.parametrize("schema", [0, 99])
def test_a_record_of_another_schema_is_refused_by_its_id(store, record, brief, schema, monkeypatch, tried):
    with monkeypatch.context() as patch:
        patch.setattr(modadd.records.record, "SCHEMA", schema)
        store.put(record)
    store.put(brief)
    with pytest.raises(
        Damaged, match=f"^the stored run {record.run.id} cannot be read: this record has schema {schema}"
    ):
        store.get(record.run.id)
    assert store.cards().keys() == {brief.run.id}
    tried("a record of an older or a newer schema", 1, "refused in one sentence; the others are read")


def test_a_lost_file_is_a_lost_record(store, record):
    store.put(record)
    files_of(store)[0].unlink()
    assert store.get(record.run.id) is None


# -- a broken index -----------------------------------------------------------------------------


def break_index(store):
    store.close()
    for file in store.folder.glob("cache.db-*"):
        file.unlink()
    (store.folder / "cache.db").write_bytes(b"this was a database\n" * 500)


def test_a_broken_index_is_rebuilt_from_the_files(store, record, reopen, tried):
    store.put(record)
    break_index(store)
    again = reopen()
    assert_same_training(again.get(record.run.id), record)
    tried("a corrupt index at the start", 1, "set aside and rebuilt from the files")
    assert again.cards()[record.run.id]["summary"] == record.summary
    assert (store.folder / "damaged-cache.db").read_bytes().startswith(b"this was")


def test_an_index_with_a_torn_page_is_rebuilt_too(store, brief, reopen, tried):
    ids = set()
    for seed in range(8):
        store.put(replace(brief, run=replace(BRIEF, seed=seed)))
        ids.add(replace(BRIEF, seed=seed).id)
    store.close()
    for file in store.folder.glob("cache.db-*"):
        file.unlink()
    index = store.folder / "cache.db"
    page, content = 4096, bytearray(index.read_bytes())
    middle = len(content) // page // 2 * page
    content[middle : middle + 3 * page] = b"\xff" * 3 * page
    index.write_bytes(content)
    there = set(reopen().cards())
    assert there == ids
    tried("a corrupt index at the start", 1, "set aside and rebuilt from the files", len(ids - there))


def test_a_rebuilt_store_can_be_used(store, record, brief, reopen):
    store.put(record)
    break_index(store)
    again = reopen()
    again.put(brief)
    assert again.delete(record.run.id)
    assert set(again.cards()) == {brief.run.id}


def test_rebuilding_leaves_damaged_files_out(store, record, reopen):
    other = replace(record, run=replace(SMALL, seed=1))
    store.put(record)
    store.put(other)
    files_of(store)[0].write_bytes(b"nonsense")
    break_index(store)
    assert len(reopen().cards()) == 1


def test_rebuilding_a_whole_index_finds_nothing_new(store, record, brief):
    store.put(record)
    store.put(brief)
    assert store.rebuild() == 0
    assert len(store.cards()) == 2


def test_rebuilding_prefers_what_the_index_knows_to_a_leftover(store, record):
    store.put(record.without_state())
    leftover = store.folder / "00" / "00" / f"{0:028x}.val"
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(to_bytes(record))
    assert store.rebuild() == 0
    assert store.get(record.run.id).state is None
    assert len(files_of(store)) == 1


@pytest.mark.parametrize("names", [("aa", "bb"), ("bb", "aa")])
@pytest.mark.parametrize("worse", ["fewer steps", "earlier"])
def test_of_two_leftovers_the_longer_training_is_kept_then_the_later(store, record, names, worse):
    changes = {"fewer steps": {"steps": 20, "stop_reason": None}, "earlier": {"finished": "2000-01-01T00:00:00Z"}}
    for name, about in zip(names, (changes[worse], {}), strict=True):  # in either order of their names
        leftover = store.folder / f"{name}/00/{0:028x}.val"
        leftover.parent.mkdir(parents=True)
        leftover.write_bytes(to_bytes(replace(record, provenance=record.provenance | about)))
    assert store.rebuild() == 1
    assert store.get(record.run.id).provenance == record.provenance
    assert len(files_of(store)) == 1


def test_a_deleted_record_stays_deleted(store, record, reopen):
    store.put(record)
    break_index(store)
    again = reopen()
    again.delete(record.run.id)
    assert files_of(again) == []
    assert again.rebuild() == 0


def test_a_small_record_survives_a_broken_index(store, brief, reopen):
    store.put(brief)
    break_index(store)
    assert reopen().get(brief.run.id) is not None


def test_a_busy_index_is_not_set_aside(store, brief, monkeypatch):
    store.put(brief)

    def busy(self):
        raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr(Index, "_connect", busy)
    with pytest.raises(sqlite3.OperationalError):
        Store(store.folder, store.atlas)
    assert (store.folder / "cache.db").exists()


# -- the atlas ----------------------------------------------------------------------------------


def test_the_atlas_answers_for_what_the_user_has_not_trained(store, record, brief):
    write_atlas(store.atlas, 7, [record, brief])
    assert store.where(record.run.id) == "atlas"
    assert store.version(record.run.id) == "atlas"
    for one in (record, brief):
        assert_same_training(store.get(one.run.id), one.without_state())
    cards = store.cards()
    assert {card["where"] for card in cards.values()} == {"atlas"}
    assert cards[record.run.id]["summary"] == record.summary
    size = (store.atlas / "p007.npz").stat().st_size
    assert 0.5 * size < sum(card["bytes"] for card in cards.values()) <= size


def test_cards_of_the_atlas_follow_its_files(store, record, brief):
    write_atlas(store.atlas, 7, [record])
    (card,) = store.cards_of_atlas().values()
    card.clear()  # what one reader does to its cards is not seen by the next
    assert store.cards_of_atlas()[record.run.id]["summary"] == record.summary
    write_atlas(store.atlas, 7, [brief])
    assert set(store.cards_of_atlas()) == {brief.run.id}
    (store.atlas / "p007.npz").unlink()
    assert store.cards_of_atlas() == {}


def test_cards_of_the_atlas_are_read_once(store, record, monkeypatch):
    write_atlas(store.atlas, 7, [record])
    first = store.cards_of_atlas()
    monkeypatch.setattr(zipfile, "ZipFile", None)
    assert store.cards_of_atlas() == first


def test_the_atlas_is_not_the_users_own(store, record):
    write_atlas(store.atlas, 7, [record])
    assert store.mine(record.run.id) is None
    store.put(record)
    assert_same_training(store.mine(record.run.id), record)


def test_the_users_own_run_comes_before_the_atlas(store, record):
    write_atlas(store.atlas, 7, [record])
    own = replace(record, provenance=record.provenance | {"seconds": 12345.0})
    store.put(own)
    assert store.where(record.run.id) == "cache"
    assert store.get(record.run.id).provenance["seconds"] == 12345.0
    assert store.get(record.run.id).state is not None
    assert store.cards()[record.run.id]["where"] == "cache"
    store.delete(record.run.id)
    assert store.where(record.run.id) == "atlas"
    assert store.get(record.run.id).provenance["seconds"] == record.provenance["seconds"]


def test_the_atlas_cannot_be_deleted(store, record):
    file = write_atlas(store.atlas, 7, [record])
    assert not store.delete(record.run.id)
    assert file.exists()
    assert store.get(record.run.id) is not None


def test_an_atlas_of_another_modulus_is_not_asked(store, record):
    write_atlas(store.atlas, 7, [record])
    assert store.get(Run(p=23).id) is None
    assert store.get(replace(SMALL, seed=1).id) is None


def test_an_atlas_is_the_same_bytes_each_time(store, record, tmp_path):
    one, other = (write_atlas(tmp_path / name, 7, [record]).read_bytes() for name in ("a", "b"))
    assert one == other
    assert sorted(file.name for file in (tmp_path / "a").iterdir()) == ["p007.npz"]


def test_a_store_needs_no_atlas(tmp_path, record):
    for atlas in (None, tmp_path / "nowhere"):
        store = Store(tmp_path / "alone", atlas)
        assert store.get(record.run.id) is None
        assert store.where(record.run.id) is None
        assert store.cards() == {}
        store.close()


def test_a_planted_pickle_in_the_atlas_never_runs(store, record, tmp_path):
    arrays = {f"{record.run.id}/{name}": array for name, array in record.to_arrays().items()}
    arrays[f"{record.run.id}/steps"] = np.array([Bomb(tmp_path / "trace")], dtype=object)
    np.savez(store.atlas / "p007.npz", **arrays, allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle"):
        store.get(record.run.id)
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99])
def test_a_damaged_atlas_is_refused_by_name_and_hides_nobody(store, record, brief, keep):
    file = write_atlas(store.atlas, 7, [record])
    file.write_bytes(file.read_bytes()[: int(keep * file.stat().st_size)])
    store.put(brief)
    assert set(store.cards()) == {brief.run.id}
    with pytest.raises(Damaged, match=record.run.id):
        store.get(record.run.id)


def changed(file, run_id, change):
    """Write an atlas file anew with other arrays, in a zip without fault."""
    with np.load(file) as there:
        arrays = {name.removeprefix(f"{run_id}/"): there[name] for name in there}
    change(arrays)
    file.write_bytes(write_archive({f"{run_id}/{name}": array for name, array in arrays.items()}))


def drop(arrays):
    del arrays["frames/probability"]


def exchange(arrays):
    one, other = "history/train_loss", "history/test_loss"
    arrays[one], arrays[other] = arrays[other], arrays[one]


def nudge(arrays):
    arrays["steps"] = arrays["steps"].astype(np.int64)


def praise(arrays):
    card = json.loads(bytes(arrays["card"]))
    card["summary"]["test_accuracy"] = 1.0
    arrays["card"] = np.frombuffer(json.dumps(card).encode(), np.uint8)


@pytest.mark.parametrize("change", [drop, exchange, nudge, praise])
def test_a_record_of_the_atlas_is_what_was_written_array_for_array(store, brief, change):
    changed(write_atlas(store.atlas, 7, [brief]), brief.run.id, change)
    with pytest.raises(Damaged, match=f"^the record {brief.run.id} of the atlas cannot be read: its checksum does not"):
        store.get(brief.run.id)


def test_a_record_of_the_atlas_under_the_name_of_another_is_refused(store, brief):
    other = replace(BRIEF, seed=1).id
    file = write_atlas(store.atlas, 7, [brief])
    with np.load(file) as there:
        arrays = {name.replace(brief.run.id, other): there[name] for name in there}
    file.write_bytes(write_archive(arrays))
    with pytest.raises(Damaged, match=r"it is that of another run$"):
        store.get(other)


@given(st.data())
def test_any_changed_bit_of_the_atlas_is_noticed(tmp_path_factory, brief, data):
    folder = tmp_path_factory.mktemp("flips")
    file = write_atlas(folder / "atlas", 7, [brief])
    content = bytearray(file.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    file.write_bytes(content)
    store = Store(folder / "runs", folder / "atlas")
    try:
        seen = store.shipped(brief.run.id)
    except ValueError:
        return
    finally:
        store.close()
    if seen is not None:  # a bit that says nothing, such as a date; or None, which is a missing record
        assert_same_training(seen, brief.without_state())


def test_outlines_of_other_seeds_are_found_apart_from_records(store):
    own, other = preset("standard", 7), preset("standard", 7, seed=1)
    done = finish(BRIEF)
    write_atlas(store.atlas, 7, [replace(done, run=own)])
    write_atlas(store.atlas / SEEDS, 7, [replace(done, run=replace(other, precision="tf32")).outline({"bets": 3.0})])
    assert store.get(other.id) is None
    assert store.where(other.id) is None
    assert store.outlined(own) is None
    assert store.outlined(other).summary["train_loss"] == done.summary["train_loss"]
    (card,) = store.cards_of_seeds().values()
    assert (card["where"], card["run"].seed, card["measured"]) == (SEEDS, 1, {"bets": 3.0})
    assert set(store.cards()) == {own.id}


# -- siblings -----------------------------------------------------------------------------------


def test_a_sibling_is_the_longest_run_of_the_same_trajectory(store):
    lengths = (20, 40, 90)
    for epochs in lengths:
        store.put(finish(replace(SMALL, epochs=epochs)))
    store.put(finish(replace(SMALL, epochs=60, lr=0.5)))
    assert store.sibling(replace(SMALL, epochs=100)).step == 90
    assert store.sibling(replace(SMALL, epochs=90)).step == 90
    assert store.sibling(replace(SMALL, epochs=89)).step == 40
    assert store.sibling(replace(SMALL, epochs=19)) is None
    assert store.sibling(replace(SMALL, epochs=100, seed=1)) is None


def test_a_run_without_state_is_nobodys_sibling(store, brief):
    store.put(brief.without_state())
    assert store.sibling(SMALL) is None


def test_a_longer_run_without_state_does_not_hide_a_shorter_one(store, brief):
    store.put(brief)
    store.put(finish(replace(SMALL, epochs=40)).without_state())
    assert store.sibling(SMALL).step == 20


def test_a_run_that_stops_itself_does_not_go_on_from_beyond_its_stop(store, monkeypatch):
    module = sys.modules["modadd.training.loop"]
    monkeypatch.setattr(module, "PLATEAU_FROM", 100)
    monkeypatch.setattr(module, "PLATEAU_EVERY", 20)
    still = replace(SMALL, lr=1e-8)
    store.put(finish(replace(still, epochs=150)))
    stopping = replace(still, plateau=True)
    assert_same_training(finish(stopping, store.sibling(stopping)), finish(stopping))


# -- locks --------------------------------------------------------------------------------------


def test_a_lock_excludes_within_a_process(store):
    with store.lock(SMALL.id), pytest.raises(filelock.Timeout), store.lock(SMALL.id):
        pass
    with store.lock(SMALL.id):
        pass


def test_a_lock_excludes_other_processes(store):
    script = """
import filelock, sys
try:
    filelock.FileLock(sys.argv[1], timeout=0).acquire()
except filelock.Timeout:
    sys.exit(7)
"""
    command = [sys.executable, "-c", script, store.lock(SMALL.id).lock_file]
    with store.lock(SMALL.id):
        assert subprocess.run(command, check=False).returncode == 7
    assert subprocess.run(command, check=False).returncode == 0


def test_a_record_is_written_once_nobody_else_writes(store, record):
    writer = threading.Thread(target=store.put, args=(record,))
    with filelock.FileLock(store.folder / "locks" / "index.lock"):  # as another program holds it
        writer.start()
        writer.join(0.5)
        assert writer.is_alive()
        assert store.get(record.run.id) is None
    writer.join(30)
    assert_same_training(store.get(record.run.id), record)


def test_a_lock_is_for_one_run(store):
    with store.lock(SMALL.id), store.lock(BRIEF.id):
        pass


@pytest.mark.parametrize("place", ["cache", "atlas"])
def test_a_preset_in_tf32_stands_in_for_float32(store, place):
    exact = preset("standard", 7)
    done = finish(replace(SMALL, epochs=20))
    fast = replace(done, run=replace(exact, precision="tf32"))
    store.put(fast) if place == "cache" else write_atlas(store.atlas, 7, [fast])
    assert store.get(exact.id).run.precision == "tf32"
    assert store.where(exact.id) == place
    assert store.version(exact.id)
    assert store.get(preset("standard", 7, seed=1).id) is None
    assert store.get(preset("quad_random", 7).id) is None
    # Wherever the run itself is, it comes first.
    write_atlas(store.atlas, 7, [replace(done, run=exact)])
    assert store.get(exact.id).run == exact
    assert store.where(exact.id) == "atlas"


@pytest.mark.parametrize("precision", ["fp32", "tf32"])
def test_the_first_half_of_a_single_frequency_preset_stands_in_for_the_whole(store, precision):
    whole = preset("quad_single_freq", 7)
    half = replace(whole, epochs=PUBLISHED_STEPS, precision=precision)
    done = finish(replace(SMALL, epochs=20))
    write_atlas(store.atlas, 7, [replace(done, run=half)])
    assert half.trajectory == replace(whole, precision=precision).trajectory
    assert store.get(whole.id).run == half
    assert store.get(preset("standard", 7).id) is None
    assert store.get(replace(whole, seed=1).id) is None
    write_atlas(store.atlas, 7, [replace(done, run=half), replace(done, run=replace(whole, precision="tf32"))])
    assert store.get(whole.id).run.epochs == 2 * PUBLISHED_STEPS


@pytest.mark.parametrize(("name", "p"), [("transformer", 113), ("addition", 97), ("addpow", 97), ("add3", 31)])
def test_the_transformers_of_the_presets_come_along(tmp_path, name, p):
    assert Store(tmp_path).where(preset(name, p).id) == "atlas"
