"""What makes pixels: a scene goes in, a clip comes out. Knows nothing of Gradio, browser tabs or users."""

__version__ = "0.1.0"

import logging as _logging

# bitsandbytes warns at import that it could have fetched a faster CPU kernel from a hub; nothing here fetches code.
_logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(_logging.ERROR)
