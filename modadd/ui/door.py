"""What every request to the server passes: headers that keep foreign frames out, no numbers for strangers, and bounds
on what visitors upload, whose files are let go of when they leave.
"""

import asyncio
from collections import Counter

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit.runtime import Runtime
from streamlit.runtime.scriptrunner import get_script_run_ctx

from ..jobs import hosting

HEADERS = {
    "Content-Security-Policy": "frame-ancestors 'none'; object-src 'none'; base-uri 'self'; form-action 'self'",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}
METRICS, UPLOAD = "/_stcore/metrics", "/_stcore/upload_file/"
GONE_SECONDS = 20  # between two looks for visitors who left


class Door:
    """An ASGI middleware around the server."""

    def __init__(self, app: ASGIApp):
        self.app = app
        self.coming: Counter[str] = Counter()  # bytes of each session that are on their way

    async def __call__(self, scope: Scope, receive: Receive, send: Send):
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def answer(message: Message):
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        if scope["path"].rstrip("/").endswith(METRICS):
            await PlainTextResponse("Not found", 404)(scope, receive, answer)
        elif scope["method"] == "PUT" and UPLOAD in scope["path"] and hosting.hosted():
            await self._upload(scope, receive, answer)
        else:
            await self.app(scope, receive, answer)

    async def _upload(self, scope: Scope, receive: Receive, send: Send):
        session = scope["path"].partition(UPLOAD)[2].partition("/")[0]
        length = Headers(scope=scope).get("content-length")
        if refused := hosting.refuse_upload(length, session, self.coming + Counter(held())):
            await PlainTextResponse(refused, 413)(scope, receive, send)
            return
        self.coming[session] += int(length)
        try:
            await self.app(scope, receive, send)
        finally:
            self.coming[session] -= int(length)


MIDDLEWARE = [Middleware(Door)]


def held() -> dict[str, int]:
    """Bytes of the files that each session uploaded and that are in memory."""
    storage = Runtime.instance().uploaded_file_mgr.file_storage
    return {session: sum(len(file.data) for file in list(files.values())) for session, files in list(storage.items())}


def let_go(uploads):
    """Drop what this session uploaded, once it has been read."""
    session = get_script_run_ctx()
    for upload in uploads if session else ():
        session.uploaded_file_mgr.remove_file(session.session_id, upload.file_id)


async def let_go_of_the_gone():
    """Drop, now and again, the files of sessions that are connected no longer."""
    while True:
        await asyncio.sleep(GONE_SECONDS)
        runtime = Runtime.instance()
        for session in held():
            if not runtime.is_active_session(session):
                runtime.uploaded_file_mgr.remove_session_files(session)
