"""Asking a server for a file over the network: where it may lead, how long it may take.

Only what a person asked to download comes through here; nothing else in medmeta has a network.
"""

from __future__ import annotations

import http.client
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from email.message import Message
from typing import IO
from urllib.parse import urlsplit

from medmeta.errors import DataError, SettingsError
from medmeta.version import __version__

TIMEOUT = 30.0  # seconds without a byte
MAX_TEXT_BYTES = 4_000_000
_HERE = {"127.0.0.1", "localhost", "::1"}
_RETRIED = {408, 425, 429, 500, 502, 503, 504}


class BrokenOffError(Exception):
    """The connection failed or the server was busy: worth another try."""

    def __init__(self, why: str, *, wait: float | None = None, reached: bool = True) -> None:
        super().__init__(why)
        self.wait = wait  # seconds that the server asks for
        self.reached = reached  # whether there was any answer


def checked_address(url: str, *, plain_here: bool = False) -> str:
    """An address that may be asked: https, or http on this machine where that is wanted.

    Raises ``SettingsError``.

    >>> checked_address("https://zenodo.org/records/1")
    'https://zenodo.org/records/1'
    """
    parts = urlsplit(url)
    here = plain_here and parts.scheme == "http" and parts.hostname in _HERE
    if not parts.hostname or not (parts.scheme == "https" or here):
        raise SettingsError(
            f"{_shown(url)} is no https address; nothing is downloaded over a connection that "
            "others could change (http is taken from 127.0.0.1 only)."
        )
    if parts.username or parts.password:
        raise SettingsError(f"{_shown(url)} has a name or password in it; leave them out.")
    return url


class Server:
    """A server that files are asked from; it may lead on to another one, over https only."""

    def __init__(self, base: str, *, timeout: float = TIMEOUT) -> None:
        self.base = checked_address(base.rstrip("/"), plain_here=True)
        self.timeout = timeout
        plain_here = urlsplit(base).scheme == "http"
        handlers = (
            urllib.request.ProxyHandler(),
            urllib.request.HTTPHandler(),
            urllib.request.HTTPSHandler(context=ssl.create_default_context()),
            urllib.request.HTTPErrorProcessor(),
            urllib.request.HTTPDefaultErrorHandler(),
            _Redirects(plain_here=plain_here),
        )
        self._opener = urllib.request.OpenerDirector()
        for handler in handlers:
            self._opener.add_handler(handler)

    def ask(self, path: str, headers: Mapping[str, str] | None = None) -> http.client.HTTPResponse:
        """The answer to a request, its body not read yet; 200, 206 or 416.

        Raises ``BrokenOffError`` where another try may help, else ``DataError``.
        """
        asked = {
            "User-Agent": f"medmeta/{__version__}",
            "Accept-Encoding": "identity",
            **(headers or {}),
        }
        url = self.base + path
        request = urllib.request.Request(url, headers=asked)
        try:
            answer: http.client.HTTPResponse = self._opener.open(request, timeout=self.timeout)
        except urllib.error.HTTPError as error:
            if error.code == 416:
                return error  # type: ignore[return-value]
            error.close()
            raise self._refused(url, error) from None
        except (OSError, http.client.HTTPException) as error:
            raise self._unreached(error) from None
        return answer

    def text(self, path: str) -> bytes:
        """A short answer as a whole."""
        with self.ask(path) as answer:
            try:
                content = answer.read(MAX_TEXT_BYTES + 1)
            except (OSError, http.client.HTTPException) as error:
                raise BrokenOffError(reason(error)) from None
        if len(content) > MAX_TEXT_BYTES:
            raise DataError(f"{self.name} answered with more than was asked for; nothing is kept.")
        return content

    @property
    def name(self) -> str:
        """The server's name."""
        return urlsplit(self.base).netloc

    def _refused(self, url: str, error: urllib.error.HTTPError) -> Exception:
        said = f"{error.code} {error.reason or ''}".strip()
        if error.code in _RETRIED:
            return BrokenOffError(f"{self.name} answered {said}", wait=_seconds(error.headers))
        if error.code in (404, 410):
            return DataError(
                f"{_shown(url)} is not there ({self.name} answered {said}); it was moved or taken "
                "back. Look for a newer medmeta, or for the file at its publisher's."
            )
        return DataError(f"{self.name} will not give {_shown(url)}: it answered {said}.")

    def _unreached(self, error: Exception) -> Exception:
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(cause, ssl.SSLCertVerificationError):
            return DataError(
                f"{self.name} cannot prove that it is what it says ({cause.verify_message}); "
                "nothing is downloaded. A hospital's proxy with a certificate of its own "
                "is made known with SSL_CERT_FILE."
            )
        return BrokenOffError(f"{self.name}: {reason(error)}", reached=False)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a server that leads on, to https only and not for ever."""

    max_redirections = 5
    max_repeats = 2

    def __init__(self, *, plain_here: bool) -> None:
        self._plain_here = plain_here

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """The next request; Range and If-Range go with it."""
        try:
            checked_address(newurl, plain_here=self._plain_here)
        except SettingsError as error:
            raise DataError(
                f"{_shown(req.full_url)} leads on to another address: {error}"
            ) from None
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def reason(error: BaseException) -> str:
    """What went wrong with a connection, in a few words."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return "no answer in time"
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return str(cause) or type(cause).__name__


def _seconds(headers: Message) -> float | None:
    text = headers.get("Retry-After") or ""
    return min(float(text), 60.0) if text.isdigit() else None


def _shown(url: str) -> str:
    """An address without what follows a question mark, which may be a key."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}" if parts.scheme else url
