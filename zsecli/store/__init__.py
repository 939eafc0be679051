"""HDF5 stores: what every one has, and one module a kind.

HDF5's own locks are off, as some file systems have none: `zsecli.runtime.locks` keeps writers apart, and a finished
store is never written to. HDF5 looks at the environment when it is first imported, so that this module comes before.
"""

import os

_LOCKING = "HDF5_USE_FILE_LOCKING"
_before = os.environ.get(_LOCKING)
os.environ[_LOCKING] = "FALSE"
try:
    import h5py as h5py
finally:
    if _before is None:
        del os.environ[_LOCKING]
    else:
        os.environ[_LOCKING] = _before
