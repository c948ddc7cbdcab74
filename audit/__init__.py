"""An append-only, verifiable log of opaque records: Merkle tree, payload store, proofs and checks.

The package knows bytes. It needs the standard library, ``cryptography`` and ``apsw`` alone, so that
an auditor can run ``python -m audit verify DIR`` with nothing else installed.
"""
