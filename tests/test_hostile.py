"""Whatever comes from outside, the answer is a result or one sentence, and the page stays what it is.

LAWS are functions that read foreign text or bytes, each with what to throw at it and how often; the long form
throws more.  A ValueError (Damaged is one) with a sentence is an answer, any other exception is not.
"""

import contextlib
import hashlib
import io
import json
import os
import re
import string
import sys
import tempfile
import tracemalloc
import zipfile
from dataclasses import asdict, fields
from pathlib import Path
from unittest import mock

import cli
import numpy as np
import pytest
import safetensors.numpy
import tyro
from conftest import SMALL, weights
from hypothesis import given, settings
from hypothesis import strategies as some
from serving import ROOT
from streamlit.testing.v1 import AppTest

from modadd import ui
from modadd.exchange import bundle, reading, tensors
from modadd.exchange.files import File
from modadd.jobs import hosting
from modadd.many import seeds, sweep
from modadd.records.record import SCHEMA, Record, read_card
from modadd.records.store import ID, MAGIC, Damaged, Store, default_folder, from_bytes, to_bytes, write_archive
from modadd.runs import Run, preset
from modadd.training import forks
from modadd.ui import links

LONGER = 5  # times as many cases in the long form
SENTENCE = 1000  # characters

text = some.text(max_size=60)
odd_text = some.sampled_from(
    ["", "\0", "../" * 8 + "etc/passwd", "<script>alert(1)</script>", "'; DROP TABLE Cache; --", "\ud800", "😀" * 30,
     "9" * 5000, "-0", "nan", "inf", "1e999", "p023", "../x", "%2e%2e%2f", "\u202egnp", "[x](javascript:a)", "p٠٢٣"]
)  # fmt: skip
word = text | odd_text
run_id = (
    word
    | some.from_regex(r"p\d{3}-[a-z_]{1,8}-[0-9a-f]{10}", fullmatch=True)
    | some.just(SMALL.id)
    | some.tuples(some.just(SMALL.id), word).map("".join)
)
value = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | word,
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(word, inner, max_size=3),
    max_leaves=6,
)
names = some.sampled_from([*asdict(SMALL), "schema", "card"])
nearly_a_run = some.builds(
    lambda changes: asdict(SMALL) | changes, some.dictionaries(names, value, min_size=1, max_size=3)
)
parent = some.from_regex(r"p\d{3}-[a-z_]{1,8}-[0-9a-f]{10}@\d{1,7}(/weights)?", fullmatch=True) | word
settings_text = some.builds(
    lambda name, values: f"{name}={','.join(values)}",
    some.sampled_from([*asdict(SMALL), "lr ", "weight-decay"]) | word,
    some.lists(some.floats().map(str) | some.integers().map(str) | word, max_size=4),
)
seeds_text = some.text(string.digits + "-, ٣²x", max_size=40) | word


def damaged(blob: bytes):
    """Real bytes of a record, cut, flipped, patched, doubled, or sealed anew after that."""

    def change(how, at, bits, piece, sealed):
        body = blob[len(MAGIC) + 32 :]
        at %= len(body)
        body = {
            "cut": body[:at],
            "flip": body[:at] + bytes([body[at] ^ bits]) + body[at + 1 :],
            "patch": body[:at] + piece + body[at + len(piece) :],
            "insert": body[:at] + piece + body[at:],
            "foreign": piece,
        }[how]
        return (MAGIC + hashlib.sha256(body).digest() if sealed else blob[: len(MAGIC) + 32]) + body

    ways = some.sampled_from(["cut", "flip", "patch", "insert", "foreign"])
    place = some.integers(0, len(blob)) | some.integers(len(blob) - 600, len(blob))  # the directory is at the end
    return some.builds(change, ways, place, some.integers(1, 255), some.binary(max_size=40), some.booleans())


def strange_arrays(arrays: dict):
    """The arrays of a record with some of another kind, length or content."""
    array = some.builds(
        lambda kind, shape, fill: np.full(shape, fill).astype(kind),
        some.sampled_from(["f8", "i4", "u1", "?", "S3", "U2", "f2", "c8", "m8[s]", "S0"]),
        some.lists(some.integers(0, 4), max_size=3).map(tuple),
        some.sampled_from([0, 1, -1, 3]),
    )
    where = some.sampled_from([*arrays, "held/theta", "held/phi", "state/w", "frames/phi", "frames/new"])
    changed = some.dictionaries(where, array, max_size=3)
    gone = some.sets(some.sampled_from(list(arrays)), max_size=2)
    return some.builds(lambda new, lost: {k: v for k, v in arrays.items() if k not in lost} | new, changed, gone)


def mutated(blob: bytes):
    """These bytes, cut, with some changed, or with some put in."""

    def change(how, at, piece):
        at %= len(blob) + 1
        return blob[:at] + {"cut": b"", "patch": piece + blob[at + len(piece) :], "insert": piece + blob[at:]}[how]

    place = some.integers(0, len(blob)) | some.integers(0, 600) | some.integers(len(blob) - 600, len(blob))
    return some.builds(
        change, some.sampled_from(["cut", "patch", "insert"]), place, some.binary(min_size=1, max_size=20)
    )


def network_of(name: str, content: bytes):
    return reading.find([File(name, lambda: content)])


def checkpoint_of(record) -> bytes:
    theta, xi = weights(record)
    return safetensors.numpy.save({"theta": np.ascontiguousarray(theta), "xi": np.ascontiguousarray(xi)})


whole = links.whole(3, 199)
flag = word | some.builds(
    lambda name, value: f"--{name}={value}",
    some.sampled_from([f.name.replace("_", "-") for f in fields(cli.RunFlags)]) | word, word | some.integers().map(str),
)  # fmt: skip


def runs_in_a_link(text: str):
    known = links.several()(text)
    assert len(known) <= links.LISTED
    assert all(ID.fullmatch(word) for word in known)


def limit_in_the_environment(text: str):
    with mock.patch.dict(os.environ, {"MODADD_HOSTED_P": text}):
        assert 1 <= hosting.limits().p <= hosting.MOST


def cache_in_the_environment(home: Path, name: str):
    """A store in a folder of this name is there and nowhere else."""
    inside = Path(tempfile.mkdtemp(dir=home)) / "x" / name.replace("/", "|")[:60]
    with mock.patch.dict(os.environ, {"MODADD_CACHE": str(inside), "HOME": str(home)}):
        store = Store(default_folder(), None)
    store.close()
    assert store.folder.is_relative_to(home)
    assert (store.folder / "cache.db").exists()


def run_of_flags(given: list[str]):
    quiet = contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO())
    with quiet[0], quiet[1], contextlib.suppress(SystemExit):  # it leaves with a sentence on stderr
        tyro.cli(cli.RunFlags, args=given).run()


def sealed(arrays: dict) -> bytes:
    body = write_archive(arrays)
    return MAGIC + hashlib.sha256(body).digest() + body


@pytest.fixture(scope="module")
def kept(record, tmp_path_factory):
    """A store that holds one record, and everything around it that nobody should touch."""
    folder = tmp_path_factory.mktemp("kept")
    (folder / "atlas").mkdir()
    np.savez(folder / "x.npz", secret=np.arange(3))  # ../x of the atlas
    store = Store(folder / "runs", folder / "atlas")
    store.put(record)
    yield store
    store.close()


@pytest.fixture(scope="module")
def laws(kept, record):
    """{name: (cases, what to throw, at what)}"""
    card = json.loads(bytes(record.to_arrays()["card"]))
    arrays = {name: array for name, array in record.to_arrays().items() if not name.startswith("frames/t")}
    nearly_a_card = some.builds(
        lambda changes: json.dumps(card | changes).encode(),
        some.dictionaries(some.sampled_from([*card]), value | some.integers(0, 2), max_size=2),
    ) | some.builds(
        lambda changes: json.dumps(card | {"provenance": card["provenance"] | changes}).encode(),
        some.dictionaries(some.sampled_from([*card["provenance"]]), value, max_size=2),
    )
    asked = {f"store.{name}": (120, run_id, getattr(kept, name))
             for name in ("get", "where", "version", "mine", "shipped", "intact")}  # fmt: skip
    return asked | {
        "Run.from_json of text": (150, word | value.map(json.dumps), Run.from_json),
        "Run.from_json of nearly a run": (300, nearly_a_run.map(json.dumps), Run.from_json),
        "a fork of anything": (150, parent, lambda place: forks.left_at(Run(parent=place))),
        "sweep.axis": (200, settings_text, sweep.axis),
        "sweep.Grid": (150, settings_text, lambda axis: sweep.Grid("standard", 5, sweep.join([sweep.axis(axis)])).runs),
        "sweep.value": (100, some.tuples(names, word), lambda pair: sweep.value(*pair)),
        "seeds.parse": (250, seeds_text, seeds.parse),
        "read_card of bytes": (150, some.binary(max_size=80) | value.map(json.dumps).map(str.encode), read_card),
        "read_card of nearly a card": (200, nearly_a_card, read_card),
        "from_bytes of damaged bytes": (200, damaged(to_bytes(record)), from_bytes),
        "from_bytes of strange arrays": (60, strange_arrays(arrays), lambda arrays: from_bytes(sealed(arrays))),
        "preset": (60, some.tuples(word, value), lambda pair: preset(*pair)),
        "plain": (200, word, lambda foreign: inert(ui.plain(foreign))),
        "an address: whole": (80, word | some.integers().map(str), lambda text: whole(text) in range(3, 200) or 1 / 0),
        "an address: one_of": (40, word, lambda text: links.one_of(("a", "b"))(text) in "ab" or 1 / 0),
        "an address: several runs": (80, some.lists(run_id, max_size=20).map(",".join), runs_in_a_link),
        "an address: words": (60, word, lambda text: links.words(9)(text).isprintable() or 1 / 0),
        "an address: text": (60, value, lambda value: isinstance(links.text_of(value), str | None) or 1 / 0),
        "an upload: a bundle": (60, mutated(bundle.write(record, with_figures=False)), bundle.read),
        "an upload: a record": (100, mutated(tensors.to_safetensors(record)), bundle.read),
        "an upload: a network": (100, mutated(checkpoint_of(record)), lambda it: network_of("x.safetensors", it)),
        "an upload: any bytes": (
            100, some.tuples(word.map(lambda name: name + ".zip") | word, some.binary(max_size=200)),
            lambda file: bundle.read(file[1], file[0]) if bundle.is_bundle(*file) else network_of(*file),
        ),
        "the environment: a limit": (100, word | some.integers().map(str), limit_in_the_environment),
        "the environment: a cache folder": (25, word, lambda name: cache_in_the_environment(kept.folder.parent, name)),
        "flags of a script": (30, some.lists(flag, max_size=4), run_of_flags),
    }  # fmt: skip


NAMES = [
    *(f"store.{name}" for name in ("get", "where", "version", "mine", "shipped", "intact")),
    "Run.from_json of text", "Run.from_json of nearly a run", "a fork of anything", "sweep.axis", "sweep.Grid",
    "sweep.value", "seeds.parse", "read_card of bytes", "read_card of nearly a card", "from_bytes of damaged bytes",
    "from_bytes of strange arrays", "preset", "plain", "an address: whole", "an address: one_of",
    "an address: several runs", "an address: words", "an address: text", "an upload: a bundle",
    "an upload: a record", "an upload: a network", "an upload: any bytes", "the environment: a limit",
    "the environment: a cache folder", "flags of a script",
]  # fmt: skip

opened: list[str] | None = None


@sys.addaudithook
def _watch(event, args):
    if opened is not None and event in ("open", "os.remove", "os.mkdir", "os.rename") and isinstance(args[0], str):
        opened.append(args[0])


def inert(shown: str):
    """Text on which neither Markdown nor HTML has a hold."""
    assert shown.replace("\u2060", "").isprintable()
    bare = shown.replace("\\\\", "")
    for sign in "`*_{}[]()#!|<>$~:":
        assert f"\\{sign}" * bare.count(sign) == "".join(
            bare[i - 1 : i + 1] for i in range(len(bare)) if bare[i] == sign
        ), f"{sign} is bare in {shown!r}"


def hold(throw, law, cases: int):
    """The law of this file, for so many cases."""

    @settings(max_examples=cases)
    @given(throw)
    def holds(foreign):
        said = None
        try:
            law(foreign)
        except ValueError as error:
            said = str(error)
        assert said is None or 0 < len(said) < SENTENCE

    holds()


@pytest.mark.parametrize("name", NAMES)
def test_whatever_comes_the_answer_is_a_result_or_a_sentence(laws, name):
    cases, throw, law = laws[name]
    hold(throw, law, cases)


def tell(tried, name: str, cases: int):
    """For the table of faults."""
    if name.startswith(("an upload", "from_bytes", "read_card")):
        tried("hostile uploads and stored bytes: cut, patched, foreign, sealed anew", cases, "refused in one sentence")
    elif name.startswith(("an address", "store.", "plain")):
        tried("hostile text in addresses, ids and names", cases, "found nothing, or one sentence; shown without markup")
    else:
        tried("hostile settings, flags, environment variables", cases, "refused in one sentence")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", NAMES)
def test_and_so_it_is_when_it_comes_for_long(laws, name, tried):
    cases, throw, law = laws[name]
    hold(throw, law, LONGER * cases)
    tell(tried, name, LONGER * cases)


def test_every_law_is_tried_in_two_thousand_cases_and_more(laws):
    assert set(NAMES) == set(laws)
    assert sum(cases for cases, _, _ in laws.values()) >= 2000


def test_no_name_leads_out_of_the_cache(kept, tried):
    global opened
    home = str(kept.folder.parent)

    @settings(max_examples=300)
    @given(run_id)
    def stays(asked):
        global opened
        opened = []
        try:
            for look in (kept.get, kept.mine, kept.shipped, kept.where, kept.version, kept.intact, kept.delete):
                if look == kept.delete and asked == SMALL.id:
                    continue
                with contextlib.suppress(ValueError):
                    look(asked)
            outside = [
                file for file in map(os.path.abspath, opened)
                if not file.startswith((f"{home}/runs/", f"{home}/atlas/")) and not file.endswith((".py", ".pyc"))
            ]  # fmt: skip
        finally:
            opened = None
        assert not outside

    stays()
    tried("ids that would lead out of the cache", 300, "no file outside was opened, made, renamed or removed")


# -- sizes --------------------------------------------------------------------------------------


def archive(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return MAGIC + hashlib.sha256(buffer.getvalue()).digest() + buffer.getvalue()


def header(shape, kind="<f8") -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": kind, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def test_a_small_file_that_unpacks_to_a_huge_one_is_refused_unread():
    bomb = archive(steps=header((8_000_000,)) + bytes(64_000_000))
    assert len(bomb) < 100_000
    tracemalloc.start()
    with pytest.raises(Damaged, match=r"its arrays would take 64 MB, the most is 1$"):
        from_bytes(bomb, most=1_000_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.parametrize(
    "lie", [header((10**15,)), header((10**12, 0)), header((10**12,), "|S0"), header((2**62, 2**62)), header((-1,))]
)
def test_an_array_that_lies_about_its_length_is_refused(record, lie):
    arrays = {name: _bytes(array) for name, array in record.to_arrays().items() if "/" not in name}
    with pytest.raises(ValueError, match=r"\S"):
        from_bytes(archive(**arrays | {"frame_steps": lie}))


def _bytes(array) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


@pytest.mark.parametrize("schema", [0, SCHEMA + 1, "1", None, [1]])
def test_a_record_of_another_schema_says_which(record, schema):
    arrays = record.to_arrays()
    card = json.loads(bytes(arrays["card"])) | {"schema": schema}
    arrays["card"] = np.frombuffer(json.dumps(card).encode(), np.uint8)
    with pytest.raises(ValueError, match=rf"this program reads {SCHEMA}$"):
        Record.from_arrays(arrays)


def test_json_of_any_depth_is_refused_and_not_climbed():
    for deep in ("[" * 200_000, '{"p":' * 100_000):
        with pytest.raises(ValueError, match="not the settings of a run"):
            Run.from_json(deep)
        with pytest.raises(ValueError, match="not a record"):
            read_card(deep.encode())


# -- whole pages --------------------------------------------------------------------------------

HOSTILE = {
    "markup": "<img src=x onerror=alert(1)>**b** [x](javascript:alert(1)) ![y](//evil.example/y) :red[z]",
    "path": "../../../../../../etc/passwd",
    "number": "9" * 400,
    "null": "p023\0-standard",
    "emoji": "👩‍🔬" * 40 + "\u202e https://evil.example www.evil.example",
}
SAID = "\n".join(file.read_text() for folder in ("pages", "modadd/ui") for file in (ROOT / folder).glob("*.py"))
PARAMETERS = sorted(
    {"run", "runs", "neuron", "pair", "seeds", "decays", "vary", "step", "lock", "hide", "unknown"}
    | set(re.findall(r'(?:carry|read)\("(\w+)"', SAID)) - {"p"}
)
ADDRESSES = 100  # cases of whole pages
QUICK = [(page, [*HOSTILE][(i + j) % len(HOSTILE)]) for i, page in enumerate(ui.PAGES) for j in (0, 2)]
EVERY = [(page, kind) for page in ui.PAGES for kind in HOSTILE]


def unharmed(test: AppTest):
    """A page without an error in the program, and without the markup of a foreign address."""
    assert not test.exception, [error.message for error in test.exception]
    shown = [
        element.value
        for part in ("markdown", "caption", "error", "warning", "info", "success", "title", "subheader", "header")
        for element in getattr(test, part)
    ]
    for raw in ("<img", "<script", "[x](", "![y]", ":red[z]", "https://evil", "www.evil", "\0", "\u202e"):
        assert raw not in " ".join(shown).replace("\\<", "").replace("\\[", ""), raw


def bears(app, page, kind):
    """A page with one foreign text in every parameter of its address but, perhaps, p."""
    foreign = HOSTILE[kind]
    for modulus in (foreign, "7"):
        test = app(page, **dict.fromkeys(PARAMETERS, foreign), p=modulus)
        unharmed(test)
        if modulus == foreign:
            named = [element.value for element in test.error if "p must be odd" in element.value]
            assert named
            assert ui.plain(foreign)[:20] in named[0]
            assert test.session_state["p"] == 23


@pytest.mark.parametrize(("page", "kind"), QUICK)
def test_a_page_bears_a_foreign_address(app, page, kind):
    bears(app, page, kind)


@pytest.mark.slow
@pytest.mark.parametrize(("page", "kind"), [case for case in EVERY if case not in QUICK])
def test_every_page_bears_every_foreign_address(app, page, kind):
    bears(app, page, kind)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_any_address_opens_a_page(app, tried):
    odd = word | run_id | some.integers().map(str) | some.lists(run_id, max_size=3).map(",".join)
    likely = some.integers(-3, 300).map(str) | some.sampled_from(["0", "1", "sidebar,controls", "p,run", SMALL.id])

    @settings(max_examples=ADDRESSES)
    @given(some.sampled_from([*ui.PAGES]), some.dictionaries(some.sampled_from([*PARAMETERS, "p"]), odd | likely))
    def opens(page, asked):
        unharmed(app(page, **{name: said for name, said in asked.items() if said.isprintable()}))

    opens()
    tried("pages opened with hostile addresses: every parameter, one text and all together",
          ADDRESSES, "the page, with a sentence where it could not follow")  # fmt: skip
