"""The levels at which the package reports, through the logger of each module below "zsecli".

INFO: what is being done. The command line shows it where a person watches.
NOTICE: an input was handled in a way that nobody asked for. The command line shows it unless --quiet is given.
WARNING: something changes what the result means. The command line always shows it.
"""

from __future__ import annotations

NOTICE = 25  # between logging.INFO and logging.WARNING
