"""Release bundles: what passed of an agent in one deterministic archive, and how a stranger's is checked.

``packing`` says what goes in: from ``statement`` (provenance), ``bill`` (of materials, by ``licences`` and ``locks``),
``telling`` (texts for people) and ``portable`` (the config without this machine's paths). ``archive`` is the file's
format. ``opening`` reads it without trusting it, ``verifying`` holds what was read to what it says of itself,
``golden`` runs it, and ``signing`` asks ``ssh-keygen``.
"""
