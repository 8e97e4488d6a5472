"""Published files: fetched from servers that are slow, broken, lying or gone, onto disks that are full."""

import hashlib
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from rich.console import Console

from arzhang import downloads
from arzhang.downloads import Published, fetch
from arzhang.types import ArzhangError

CONTENT = bytes(range(256)) * 4000  # about a million


class Server(ThreadingHTTPServer):
    """Serves CONTENT at every path but /missing.

    Args:
        breaks: After how many bytes each answer, by turns, breaks off; None for none.
        ranges: Whether a part is given to who asks for a part.
    """

    daemon_threads = True

    def __init__(self, *, content=CONTENT, breaks=(), ranges=True, seconds=0.0):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.breaks, self.ranges, self.seconds = content, list(breaks), ranges, seconds
        self.asked = []
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def url(self, path="/file"):
        return f"http://127.0.0.1:{self.server_port}{path}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        start = int(re.fullmatch(r"bytes=(\d+)-", self.headers["Range"])[1])
        self.server.asked.append((self.path, start))
        if self.path == "/missing":
            self.send_error(404)
            return
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/file")
            self.end_headers()
            return
        start = start if self.server.ranges else 0
        rest = self.server.content[start:]
        self.send_response(206 if self.server.ranges else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        rest = rest[: self.server.breaks.pop(0) if self.server.breaks else None]
        self.wfile.write(rest[: len(rest) // 2])
        time.sleep(self.server.seconds)
        self.wfile.write(rest[len(rest) // 2 :])

    def log_message(self, *_):
        pass


@pytest.fixture
def serve():
    servers = []

    def start(**options):
        servers.append(Server(**options))
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
        server.server_close()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ARZHANG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def published(*urls, content=CONTENT):
    digest = hashlib.sha256(content).hexdigest()
    return Published(name="weights.bin", sha256=digest, size=len(content), urls=urls)


def get(file):
    return fetch(file, instead="--weights FILE")


def refused(file):
    with pytest.raises(ArzhangError) as caught:
        get(file)
    return str(caught.value)


def test_a_file_is_fetched_once_and_then_found(serve, cache):
    server = serve()
    file = published(server.url())
    assert get(file) == get(file) == cache / "weights.bin"
    assert (cache / "weights.bin").read_bytes() == CONTENT
    assert len(server.asked) == 1
    assert [path.name for path in cache.iterdir()] == ["weights.bin"]


def test_a_file_put_into_the_cache_by_hand_needs_no_server(cache):
    cache.mkdir()
    (cache / "weights.bin").write_bytes(CONTENT)
    assert get(published()).read_bytes() == CONTENT


def test_an_interrupted_download_is_resumed_where_it_broke_off(serve, cache):
    server = serve(breaks=[2**18, 2**17])
    file = published(server.url())
    assert "goes on from the 262,144 bytes that have come" in refused(file)
    assert (cache / "weights.bin.part").read_bytes() == CONTENT[: 2**18]
    assert "goes on from the 393,216 bytes" in refused(file)
    assert get(file).read_bytes() == CONTENT
    assert [start for _, start in server.asked] == [0, 2**18, 2**18 + 2**17]
    assert not (cache / "weights.bin.part").exists()


def test_a_download_is_resumed_behind_a_redirection(serve):
    server = serve(breaks=[2**18])
    refused(published(server.url("/moved")))
    assert get(published(server.url("/moved"))).read_bytes() == CONTENT
    assert server.asked[-1] == ("/file", 2**18)


def test_a_server_that_knows_no_ranges_starts_again(serve):
    server = serve(breaks=[2**18], ranges=False)
    refused(published(server.url()))
    assert get(published(server.url())).read_bytes() == CONTENT


def test_the_next_server_goes_on_where_one_broke_off(serve):
    breaking, whole = serve(breaks=[2**18]), serve()
    assert get(published(breaking.url("/missing"), breaking.url(), whole.url())).read_bytes() == CONTENT
    assert whole.asked == [("/file", 2**18)]


def test_a_download_that_ended_before_it_was_named_needs_no_server(cache):
    cache.mkdir()
    (cache / "weights.bin.part").write_bytes(CONTENT)
    assert get(published("http://127.0.0.1:9/")).read_bytes() == CONTENT


def test_without_file_and_network_one_sentence_says_all(cache):
    file = published("http://127.0.0.1:9/weights.bin")
    said = refused(file)
    for part in ("weights.bin", "1,024,000 bytes", file.sha256, *file.urls, str(cache), "--weights FILE"):
        assert part in said
    assert said.endswith(".")
    assert ". " not in said
    assert "\n" not in said


def test_a_server_that_refuses_says_how(serve):
    assert "/missing answers 404" in refused(published(serve().url("/missing")))


@pytest.mark.parametrize("breaks", [[], [1000]])
def test_another_file_is_named_kept_aside_and_does_not_stand_in_the_way(serve, cache, breaks):
    other = CONTENT[::-1]
    lying, honest = serve(content=other, breaks=breaks), serve()
    file = published(lying.url())
    if breaks:
        refused(file)
    said = refused(file)
    assert said.startswith("weights.bin (1,024,000 bytes")
    assert file.sha256 in said
    assert hashlib.sha256(other).hexdigest() in said
    assert (cache / "weights.bin.wrong").read_bytes() == other
    assert get(published(honest.url())).read_bytes() == CONTENT


def test_a_damaged_file_in_the_cache_is_kept_aside_and_fetched_again(serve, cache):
    cache.mkdir()
    (cache / "weights.bin").write_bytes(b"damaged")
    assert f"what lay in the cache has 7 bytes and SHA-256 {hashlib.sha256(b'damaged').hexdigest()}" in refused(
        published("http://127.0.0.1:9/")
    )
    assert (cache / "weights.bin.wrong").read_bytes() == b"damaged"
    assert get(published(serve().url())).read_bytes() == CONTENT


def test_a_damaged_beginning_is_found_out_and_the_next_try_works(serve, cache):
    cache.mkdir()
    (cache / "weights.bin.part").write_bytes(b"x" * 1000)
    file = published(serve().url())
    assert "kept aside" in refused(file)
    assert get(file).read_bytes() == CONTENT


def test_a_full_disk_is_a_sentence_and_what_has_come_is_gone_on_with(serve, cache, largest_file):
    server = serve()
    file = published(server.url())
    with largest_file(400_000):
        said = refused(file)
    assert "weights.bin.part cannot be written (File too large); make room" in said
    kept = (cache / "weights.bin.part").stat().st_size
    assert 0 < kept <= 400_000
    assert get(file).read_bytes() == CONTENT
    assert server.asked[-1] == ("/file", kept)


def test_a_cache_that_cannot_be_made_is_a_sentence(cache):
    cache.write_text("a file, not a folder")
    assert re.search(r"The cache .* cannot be made \(File exists\); set ARZHANG_CACHE", refused(published()))


def test_those_who_download_at_once_wait_for_the_first(serve):
    server = serve(seconds=0.2)
    file = published(server.url())
    found = []
    threads = [threading.Thread(target=lambda: found.append(get(file).read_bytes())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [CONTENT] * 3
    assert len(server.asked) == 1


def test_a_download_shows_how_far_it_is_only_if_it_takes_long(serve, monkeypatch, capsys):
    monkeypatch.setattr(Console, "is_terminal", True)
    get(published(serve().url()))
    assert "weights.bin" not in capsys.readouterr().err
    monkeypatch.setattr(downloads, "PATIENCE", 0.0)
    (downloads.cache() / "weights.bin").unlink()
    get(published(serve(seconds=0.3).url()))
    assert "weights.bin" in capsys.readouterr().err
