"""What a request passes on its way in: the server's own door, and the proxy that SECURITY.md shows."""

import asyncio
import base64
import http.client
import re
import shutil
import socket
import ssl
import subprocess
import time
from contextlib import closing, contextmanager
from types import SimpleNamespace

import pytest
import serving
from serving import ROOT

from modadd.ui import door

NAME, PATIENCE = "lab.example.org", 60
KEY = base64.b64encode(bytes(16)).decode()


def closed_to_frames(headers) -> bool:
    policy = headers["content-security-policy"]
    return (
        "frame-ancestors 'none'" in policy
        and headers["x-frame-options"] == "DENY"
        and headers["x-content-type-options"] == "nosniff"
    )


# -- uploads ------------------------------------------------------------------------------------


@pytest.fixture
def put(monkeypatch):
    """put(session, length) sends a file through a door that nobody waits behind, and says what came back."""
    there = {}
    monkeypatch.setattr(door, "held", lambda: there)
    monkeypatch.setenv("MODADD_HOSTED", "1")
    monkeypatch.setenv("MODADD_HOSTED_UPLOAD", "30")
    monkeypatch.setenv("MODADD_HOSTED_UPLOAD_ALL", "50")

    async def keep(scope, receive, send):
        await asyncio.sleep(0)  # others come in meanwhile
        session = scope["path"].split("/")[-2]
        there[session] = there.get(session, 0) + int(dict(scope["headers"])[b"content-length"])
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    entrance = door.Door(keep)

    async def one(session, length):
        got = []

        async def send(message):
            got.append(message)

        headers = [] if length is None else [(b"content-length", str(length).encode())]
        scope = {"type": "http", "method": "PUT", "path": f"/lab/_stcore/upload_file/{session}/x", "headers": headers}
        await entrance(scope, None, send)
        return got[0]["status"], got[1]["body"].decode()

    def together(*files):
        async def all_of_them():
            return await asyncio.gather(*(one(*file) for file in files))

        return asyncio.run(all_of_them())

    return together


def test_a_visitor_uploads_up_to_a_bound(put, tried):
    assert [status for status, _ in (*put(("a", (20e6).__int__())), *put(("a", 20_000_000)))] == [204, 413]
    assert put(("a", 20_000_000)) == [(413, "Your files take 40 MB and this server allows 30: remove some.")]
    tried(
        "uploads beyond what a server for strangers takes, alone, many at once and without a length",
        1,
        "refused before they are read",
    )


def test_all_visitors_together_upload_up_to_a_bound_however_many_files_come_at_once(put, tried):
    files = [(session, 20_000_000) for session in "abcde"]
    assert sorted(status for status, _ in put(*files)) == [204, 204, 413, 413, 413]
    assert put(("f", 1_000_000))[0][0] == 204
    tried(
        "uploads beyond what a server for strangers takes, alone, many at once and without a length",
        1,
        "refused before they are read",
    )


@pytest.mark.parametrize("length", [None, "-1", "1e3", "٣"])
def test_an_upload_that_does_not_say_how_long_it_is_is_refused(put, length, tried):
    assert put(("a", length))[0][0] == 413
    tried(
        "uploads beyond what a server for strangers takes, alone, many at once and without a length",
        1,
        "refused before they are read",
    )


def test_files_of_who_left_are_let_go_of(monkeypatch):
    removed = []
    files = SimpleNamespace(file_storage={"here": {}, "gone": {}}, remove_session_files=removed.append)
    runtime = SimpleNamespace(uploaded_file_mgr=files, is_active_session=lambda session: session == "here")
    monkeypatch.setattr(door, "Runtime", SimpleNamespace(instance=lambda: runtime))
    monkeypatch.setattr(door, "GONE_SECONDS", 0)

    async def a_while():
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(door.let_go_of_the_gone(), 0.05)

    asyncio.run(a_while())
    assert set(removed) == {"gone"}


# -- the server ---------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["", "lab"], ids=["at the root", "under a path"])
def hosted(tmp_path_factory, request):
    """(server for strangers under NAME, the path it is under)."""
    told = {"MODADD_HOSTED": "1", "STREAMLIT_SERVER_ALLOWED_HOSTS": NAME} | (
        {"STREAMLIT_SERVER_BASE_URL_PATH": request.param} if request.param else {}
    )
    with serving.server(tmp_path_factory.mktemp("cache"), **told) as lab:
        yield lab, f"/{request.param}/" if request.param else "/"


def answer(connection, path, **headers):
    """(status, headers) of a GET."""
    connection.request("GET", path, headers={"Host": NAME} | headers)
    got = connection.getresponse()
    got.read()
    return got.status, {name.lower(): value for name, value in got.getheaders()}


def test_the_server_itself_closes_frames_and_numbers(hosted, tried):
    lab, base = hosted
    with closing(http.client.HTTPConnection("127.0.0.1", lab.port, timeout=PATIENCE)) as connection:
        for path in (base, f"{base}_stcore/health", f"{base}Weights"):
            status, headers = answer(connection, path)
            assert status == 200
            assert closed_to_frames(headers), path
        assert answer(connection, f"{base}_stcore/metrics")[0] == 404
    tried(
        "frames of other sites, and the numbers of the server, directly and through the nginx of the example",
        1,
        "closed",
    )


# -- the proxy of the example -------------------------------------------------------------------


@contextmanager
def nginx(folder, port: int, base: str):
    """The nginx of SECURITY.md before the server at this port; gives the port it listens at."""
    text = (ROOT / "SECURITY.md").read_text()
    example = next(block for block in re.findall(r"```\n(.*?)```", text, re.DOTALL) if "proxy_pass" in block)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        mine = free.getsockname()[1]
    for was, now in {
        "listen 443 ssl": f"listen 127.0.0.1:{mine} ssl", "127.0.0.1:8501": f"127.0.0.1:{port}",
        "/etc/ssl": str(folder), "/etc/nginx": str(folder), "location / {": f"location {base} {{",
    }.items():  # fmt: skip
        assert was in example
        example = example.replace(was, now)
    certificate = f"req -x509 -newkey rsa:2048 -nodes -subj /CN={NAME} -days 1".split()
    keep = ["-keyout", folder / "lab.key", "-out", folder / "lab.pem"]
    subprocess.run(["openssl", *certificate, *keep], check=True, capture_output=True)
    secret = subprocess.run(["openssl", "passwd", "-apr1", "sesame"], check=True, capture_output=True, text=True).stdout
    (folder / "visitors").write_text(f"ali:{secret}")
    temporary = "".join(f"{kind}_temp_path {folder};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (folder / "nginx.conf").write_text(
        f"user root; daemon off; pid {folder}/pid; error_log {folder}/errors; events {{}} "
        f"http {{ access_log off; {temporary}\n{example}\n}}"
    )
    process = subprocess.Popen([shutil.which("nginx"), "-e", folder / "errors", "-c", folder / "nginx.conf"])
    try:
        until = time.monotonic() + PATIENCE
        while True:
            with socket.socket() as probe:
                if not probe.connect_ex(("127.0.0.1", mine)):
                    break
            assert process.poll() is None, (folder / "errors").read_text()
            assert time.monotonic() < until
            time.sleep(0.05)
        yield mine
    finally:
        process.terminate()
        process.wait(PATIENCE)


@pytest.mark.skipif(not (shutil.which("nginx") and shutil.which("openssl")), reason="needs nginx and openssl")
def test_the_nginx_of_the_example_asks_who_comes_and_leads_to_the_lab(hosted, tmp_path, tried):
    lab, base = hosted
    login = {"Authorization": "Basic " + base64.b64encode(b"ali:sesame").decode()}
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    secured = {"timeout": PATIENCE, "context": trusting}
    with nginx(tmp_path, lab.port, base) as port, closing(
        http.client.HTTPSConnection("127.0.0.1", port, **secured)
    ) as connection:  # fmt: skip
        assert answer(connection, base)[0] == 401
        status, headers = answer(connection, base, **login)
        assert status == 200
        assert closed_to_frames(headers)
        assert answer(connection, f"{base}_stcore/metrics", **login)[0] == 404
        for origin, expected in ((f"https://{NAME}", 101), ("https://evil.example", 403)):
            with closing(http.client.HTTPSConnection("127.0.0.1", port, **secured)) as stream:
                stream.request("GET", f"{base}_stcore/stream", headers=login | {
                    "Host": NAME, "Origin": origin, "Upgrade": "websocket", "Connection": "Upgrade",
                    "Sec-WebSocket-Key": KEY, "Sec-WebSocket-Version": "13",
                })  # fmt: skip
                with closing(stream.getresponse()) as got:
                    assert got.status == expected
    tried(
        "frames of other sites, and the numbers of the server, directly and through the nginx of the example",
        1,
        "closed",
    )
