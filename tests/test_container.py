"""The container is made of what the project pins, and opens to the names it was given."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import serving
from serving import ROOT
from streamlit import config

DOCKER = dict(re.findall(r"^(FROM|ENV|CMD) (.+)$", (ROOT / "Dockerfile").read_text().replace("\\\n", ""), re.MULTILINE))
SET = dict(word.split("=", 1) for word in DOCKER["ENV"].split())


def test_the_container_is_made_of_what_the_project_pins():
    made = (ROOT / "Dockerfile").read_text()
    python = re.search(r"python:(\d+\.\d+)", made)[1]
    assert python in re.search(r"requires-python = .>=(\S+)\"", (ROOT / "pyproject.toml").read_text())[1]
    assert re.findall(r"uv==\S+", made) == re.findall(r"uv==\S+", (ROOT / "Makefile").read_text())
    for name in SET:
        if name.startswith("STREAMLIT_"):
            section, _, option = name.removeprefix("STREAMLIT_").lower().partition("_")
            known = {key.replace(".", "").lower() for key in config.get_config_options()}
            assert (section + option).replace("_", "") in known, name


@pytest.mark.slow
def test_the_container_opens_to_the_names_it_was_given_only(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    more = {"STREAMLIT_SERVER_PORT": str(port), "MODADD_CACHE": str(tmp_path), "HOSTS": "one.example two.example",
            "PATH": path}  # fmt: skip
    with subprocess.Popen(["sh", "-c", DOCKER["CMD"]], cwd=ROOT, env=os.environ | SET | more) as lab:
        try:
            serving.wait(lab, port)
            answers = {name: handshake(port, name) for name in ("one.example", "two.example", "three.example")}
        finally:
            lab.terminate()
    assert answers == {"one.example": 101, "two.example": 101, "three.example": 403}


def handshake(port: int, name: str) -> int:
    """The status with which a server answers somebody who typed this name."""
    asked = (
        "GET /_stcore/stream HTTP/1.1", f"Host: {name}", f"Origin: https://{name}", "Connection: Upgrade",
        "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: c2l4dGVlbiBieXRlcyEhIQ==", "", "",
    )  # fmt: skip
    with socket.create_connection(("127.0.0.1", port), timeout=60) as tab:
        tab.sendall("\r\n".join(asked).encode())
        return int(tab.recv(99).split()[1])
