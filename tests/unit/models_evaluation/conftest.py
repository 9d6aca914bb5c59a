"""wfdb 4.3 warns of pandas 3.1 when it is imported; a warning of theirs is no error of ours."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import wfdb  # noqa: F401
