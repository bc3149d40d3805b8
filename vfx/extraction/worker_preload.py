"""What the server that decoding workers are forked from imports, once for all of them."""

import gc

gc.disable()  # it would look through all that is imported again and again

import vfx.extraction.parallel_reader  # noqa: E402  (and with it torch and all that reads)
import vfx.sampling.samplers  # noqa: E402, F401

gc.freeze()  # a worker that collected would write to all of this, and so have 45 MB of its own
gc.enable()
