"""The server as `streamlit run` starts it: what takes long to load is loading before anybody comes."""

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import asynccontextmanager
from functools import wraps
from weakref import WeakKeyDictionary

from streamlit.runtime.app_session import AppSession
from streamlit.runtime.pages_manager import PagesManager

from ..runs import preset
from .charts import specification
from .door import let_go_of_the_gone

log = logging.getLogger(__name__)


def load():
    """A training of a few steps and a chart of it: whatever they need is loaded then."""
    try:
        import pandas  # noqa: F401  what sends a chart's data asks for it

        from ..figures.curves import accuracies
        from ..training.loop import train

        *_, last = train(preset("standard", 3, d_mlp=8, epochs=2), device="cpu")
        specification(accuracies(last.record))
    except Exception:  # whoever needs it next says what is wrong
        log.exception("loading ahead failed")


def without_late_words(request_rerun: Callable) -> Callable:
    """`AppSession.request_rerun` that does not hear the fragments of a page which its visitor is leaving.

    Streamlit (1.67) would run such a fragment after the new page and under the old one's name: the browser then clears
    what it shows and breaks off.
    """
    here, left = WeakKeyDictionary(), WeakKeyDictionary()

    @wraps(request_rerun)
    def request(session, client_state):
        page = client_state.page_script_hash if client_state is not None else ""
        if page and client_state.fragment_id and page in left.get(session, ()):
            return
        if page and not client_state.fragment_id:
            left[session] = {here.get(session), session._client_state.page_script_hash} - {page}
            here[session] = page
        request_rerun(session, client_state)

    return request


@asynccontextmanager
async def loading(app):
    """The life of the server, for `st.App`."""
    # Or streamlit would open pages/ by itself where an address names one of its pages, without the frame around it.
    PagesManager.uses_pages_directory = False
    threading.Thread(target=load, name="early", daemon=True).start()
    leaving = asyncio.create_task(let_go_of_the_gone())
    request_rerun = AppSession.request_rerun
    AppSession.request_rerun = without_late_words(request_rerun)
    yield
    AppSession.request_rerun = request_rerun
    leaving.cancel()
