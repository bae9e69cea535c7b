"""The lab: the server that `streamlit run` starts, and the frame around every page.

`streamlit run` finds `app` here, which is the server; for each visitor it runs this file again as a script, which
opens the page of the address.
"""

import sys

from streamlit import App
from streamlit.runtime.scriptrunner import get_script_run_ctx

from modadd import ui

if __name__ != "__main__":
    app = App(__file__, lifespan=ui.early.loading, middleware=ui.door.MIDDLEWARE)
elif get_script_run_ctx(suppress_warning=True) is None:
    sys.exit("Start the lab with: streamlit run streamlit_app.py")
else:
    ui.navigate()
