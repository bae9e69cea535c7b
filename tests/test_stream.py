"""What the server streams to the browser."""

from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.runtime.forward_msg_cache import create_reference_msg, populate_hash_if_needed
from streamlit.runtime.forward_msg_queue import ForwardMsgQueue


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
