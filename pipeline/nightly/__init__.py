"""Nightly rebuilds: everything from nothing, compared with the last good night, on one page.

``command`` reads what ``./doit nightly`` was told. ``night`` is a dated folder and the ./doit that builds in it,
``timing`` how long its artifacts take to decide, ``record`` what it made. ``comparing`` and ``warnings`` hold that to
the last good night and to ``history``; ``page`` shows it; ``retention`` says which nights go. ``newest`` does the same
with the newest versions of one toolchain after the other, which ``resolving`` finds.
"""
