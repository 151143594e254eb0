"""Passwords of storages: taken from the environment, and kept out of every file and message."""

import os
import re
from collections.abc import Sequence
from urllib.parse import unquote

PASSWORD = "NAS_STORAGE_PASSWORD"
"""The environment variable that has the password of any database."""
_WITH_PASSWORD = re.compile(r"(\+{0,2}storage=['\"]?[\w+]+://[^:/@'\"]*):([^/]*)@")


def without_passwords(words: Sequence[str]) -> list[str]:
    """Return the command line with the password taken out of `storage=`, into the environment.

    What is left may be written to files and shown.
    """
    kept = []
    for word in words:
        found = _WITH_PASSWORD.match(word)
        if found:
            os.environ[PASSWORD] = unquote(found[2])
            word = f"{found[1]}@{word[found.end() :]}"
        kept.append(word)
    return kept


def advice(backend: str) -> str:
    """Return where a password belongs."""
    if backend == "postgresql":
        return "Put the password into ~/.pgpass, or into the environment variable PGPASSWORD."
    return f"Put the password into the environment variable {PASSWORD}."


def hidden(text: str) -> str:
    """Return a text without what may be a password in it."""
    text = re.sub(r"(://[^:/@\s]*):[^/\s]*@", r"\1:***@", text)
    text = re.sub(r"(password=)[^&\s'\"]+", r"\1***", text, flags=re.IGNORECASE)
    for name in (PASSWORD, "PGPASSWORD"):
        secret = os.environ.get(name)
        if secret and len(secret) > 3:
            text = text.replace(secret, "***")
    return text
