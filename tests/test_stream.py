"""What the server streams to the browser, and what it hears from it."""

from unittest.mock import Mock

import pytest
from streamlit.proto.ClientState_pb2 import ClientState
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.runtime.forward_msg_cache import create_reference_msg, populate_hash_if_needed
from streamlit.runtime.forward_msg_queue import ForwardMsgQueue

from modadd import ui


def delta(path, fragment="watch", size=0):
    """A block of the page, or an element of this size."""
    message = ForwardMsg()
    message.metadata.delta_path.extend(path)
    message.delta.fragment_id = fragment
    if size:
        message.delta.new_element.markdown.body = size * "x"
    else:
        message.delta.add_block.SetInParent()
    populate_hash_if_needed(message)
    return message


def test_no_element_outlives_the_block_it_lies_in():
    """A fragment's tick overtakes what the run of its page has queued; an element without its block ends the page."""
    queue, block, chart = ForwardMsgQueue(), delta([0, 1, 5]), delta([0, 1, 5, 0], size=1_000_000)
    sent = create_reference_msg(chart) if chart.metadata.cacheable else chart  # as streamlit does, the second time
    queue.enqueue(block)
    queue.enqueue(sent)
    queue.clear(retain_lifecycle_msgs=True, fragment_ids_this_run=["watch"])
    assert queue.is_empty()


@pytest.mark.parametrize(
    ("told", "heard"),
    [
        ([("Lottery", "screen")], [True]),
        ([("Grokking", ""), ("Lottery", "screen"), ("Grokking", "screen")], [True, False, True]),
        ([("Grokking", ""), ("Grokking", ""), ("Lottery", "screen")], [True, True, False]),
        ([("Grokking", ""), ("Lottery", ""), ("Lottery", "screen"), ("Grokking", "screen")], [True, True, True, False]),
        ([("", ""), ("Lottery", "screen")], [True, True]),
    ],
)
def test_a_page_that_its_visitor_leaves_is_not_heard_any_more(told, heard):
    """Its fragment would be drawn over the new page, under the name of the old one, and the browser breaks off."""
    asked = []
    request = ui.early.without_late_words(lambda session, state: asked.append(state))
    session = Mock(_client_state=ClientState(page_script_hash="Lottery"))
    for page, fragment in told:
        state = ClientState(page_script_hash=page, fragment_id=fragment)
        request(session, state)
        assert (bool(asked) and asked[-1] is state) == heard.pop(0), (page, fragment)
