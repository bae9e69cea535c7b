"""The server as `streamlit run` starts it: what takes long to load is loading before anybody comes."""

import asyncio
import logging
import threading
from contextlib import asynccontextmanager

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


@asynccontextmanager
async def loading(app):
    """The life of the server, for `st.App`."""
    # Or streamlit would open pages/ by itself where an address names one of its pages, without the frame around it.
    PagesManager.uses_pages_directory = False
    threading.Thread(target=load, name="early", daemon=True).start()
    leaving = asyncio.create_task(let_go_of_the_gone())
    yield
    leaving.cancel()
