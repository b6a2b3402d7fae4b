"""The address of a mirror, and the credentials that it may hold."""

from urllib.parse import unquote_to_bytes, urlsplit

Credentials = tuple[bytes, bytes]
"""A user and a password."""


def without_credentials(mirror: str) -> tuple[str, Credentials | None]:
    """Return ``mirror``, a URL or a folder, without the credentials in its URL, and those.

    Raises ``ValueError`` for a URL that names no server.
    """
    parts = urlsplit(mirror)
    # The port is not a number where a password holds a slash that is not escaped.
    if parts.scheme in ("http", "https") and (not parts.hostname or parts.port == 0):
        raise ValueError("the URL names no server")
    held, separator, host = parts.netloc.rpartition("@")
    if not separator:
        return mirror, None
    user, _, password = held.partition(":")
    return parts._replace(netloc=host).geturl(), (unquote_to_bytes(user), unquote_to_bytes(password))


def shareable(mirror: str) -> str | None:
    """Return ``mirror`` as it may stand in files that others read: None if it holds credentials or cannot be read."""
    try:
        return mirror if without_credentials(mirror)[1] is None else None
    except ValueError:
        return None
