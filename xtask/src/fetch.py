"""Downloads one pinned file from its registry into a partial file, going on where an earlier try stopped.

Usage: python3 fetch.py INDEX NAME VERSION FILE PARTIAL SIZE      (INDEX is pypi or npm)

Runs with any Python 3.8 and nothing but its standard library. Registry, certificate and proxy are those that pip and
npm are configured with. Speaks to its caller in lines: `at BYTES` is how much of the file is on disk, `note TEXT` is
for people. Exit 0: PARTIAL holds SIZE bytes (the caller checks their hash). Anything else: the reason is on stderr, and
what had arrived stays in PARTIAL for the next try.
"""

import base64
import html.parser
import json
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

TRIES = 5
CHUNK = 1 << 18


def say(kind, value):
    print(kind, value, flush=True)


def configured(command, variables, default=None):
    """The first of the environment variables that is set, else what the tool's own configuration says."""
    for variable in variables:
        if os.environ.get(variable):
            return os.environ[variable]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return default
    value = done.stdout.strip()
    return value if done.returncode == 0 and value not in ("", "undefined", "null") else default


def pip_config(key):
    return [sys.executable, "-m", "pip", "config", "get", key]


class Web:
    """Requests with the configured certificate, and with the user and password of an index URL sent to its host only."""

    def __init__(self, certificate, base):
        context = ssl.create_default_context()
        if certificate and certificate != "None":
            if os.path.isdir(certificate):
                context.load_verify_locations(capath=certificate)
            else:
                context.load_verify_locations(cafile=certificate)
        self.opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context))
        parts = urllib.parse.urlsplit(base)
        self.host, self.authorization = parts.hostname, None
        if parts.username:
            pair = urllib.parse.unquote(parts.username) + ":" + urllib.parse.unquote(parts.password or "")
            self.authorization = "Basic " + base64.b64encode(pair.encode()).decode()
            host = parts.hostname + (":%d" % parts.port if parts.port else "")
            base = urllib.parse.urlunsplit(parts._replace(netloc=host))
        self.base = base.rstrip("/")

    def open(self, url, headers=None):
        request = urllib.request.Request(url, headers=dict(headers or {}))
        request.add_header("User-Agent", "emc-setup")
        if self.authorization and urllib.parse.urlsplit(url).hostname == self.host:
            request.add_unredirected_header("Authorization", self.authorization)
        return self.opener.open(request, timeout=60)


class Links(html.parser.HTMLParser):
    """The links of an index page, for indexes that do not answer in JSON."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        link = dict(attributes).get("href")
        if tag == "a" and link:
            self.found.append(link)


def pypi_url(name, file):
    base = configured(pip_config("global.index-url"), ["PIP_INDEX_URL"], "https://pypi.org/simple")
    certificate = configured(pip_config("global.cert"), ["PIP_CERT", "REQUESTS_CA_BUNDLE"])
    web = Web(certificate, base)
    page = "%s/%s/" % (web.base, name)
    accept = "application/vnd.pypi.simple.v1+json, text/html;q=0.1"
    with web.open(page, {"Accept": accept}) as answer:
        kind, body, page = answer.headers.get("Content-Type", ""), answer.read(), answer.geturl()
    if "json" in kind:
        links = [entry["url"] for entry in json.loads(body)["files"]]
    else:
        reader = Links()
        reader.feed(body.decode("utf-8", "replace"))
        links = reader.found
    for link in links:
        url = urllib.parse.urldefrag(urllib.parse.urljoin(page, link)).url
        if urllib.parse.unquote(url.rsplit("/", 1)[-1]) == file:
            return web, url
    raise LookupError("the index %s has no file %s" % (page, file))


def npm_url(name, version):
    base = configured(
        ["npm", "config", "get", "registry"], ["NPM_CONFIG_REGISTRY", "npm_config_registry"], "https://registry.npmjs.org"
    )
    certificate = configured(["npm", "config", "get", "cafile"], ["NPM_CONFIG_CAFILE", "NODE_EXTRA_CA_CERTS"])
    web = Web(certificate, base)
    with web.open("%s/%s/%s" % (web.base, name, version)) as answer:
        return web, json.loads(answer.read())["dist"]["tarball"]


def receive(web, url, partial, size):
    """One try: appends what is missing, or starts again where the server does not go on in the middle."""
    have = os.path.getsize(partial) if os.path.exists(partial) else 0
    if have > size:
        say("note", "the partial file is too long; starting again")
        os.remove(partial)
        have = 0
    if have == size:
        return
    headers = {"Range": "bytes=%d-" % have} if have else {}
    try:
        answer = web.open(url, headers)
    except urllib.error.HTTPError as error:
        if have and error.code == 416:
            os.remove(partial)
        raise
    with answer:
        resumed = have and answer.status == 206
        expected = "bytes %d-" % have
        if resumed and not answer.headers.get("Content-Range", expected).startswith(expected):
            raise OSError("the server sent another range than the one that was asked for")
        if resumed:
            say("note", "going on after %d of %d bytes" % (have, size))
        elif have:
            say("note", "the server does not resume; starting again")
            have = 0
        last = 0.0
        with open(partial, "ab" if resumed else "wb") as out:
            while True:
                chunk = answer.read(CHUNK)
                if not chunk:
                    break
                out.write(chunk)
                have += len(chunk)
                if time.monotonic() - last > 0.1:
                    last = time.monotonic()
                    out.flush()
                    say("at", have)
        say("at", have)
    if have != size:
        raise OSError("the connection ended after %d of %d bytes" % (have, size))


def by_registry(index, name, version, file, partial, size):
    for attempt in range(1, TRIES + 1):
        try:
            web, url = pypi_url(name, file) if index == "pypi" else npm_url(name, version)
            return receive(web, url, partial, size)
        except LookupError:
            raise
        except urllib.error.HTTPError as error:
            if attempt == TRIES or (error.code < 500 and error.code not in (408, 416, 429)):
                raise
            reason = error
        except (OSError, ValueError) as error:
            if attempt == TRIES:
                raise
            reason = error
        except Exception as error:  # http.client has its own family of errors for a connection that breaks
            if attempt == TRIES:
                raise OSError(repr(error))
            reason = error
        pause = min(2 ** (attempt - 1), 8)
        say("note", "%s; trying again in %d s" % (reason, pause))
        time.sleep(pause)


def by_pip(name, version, file, partial):
    """Lets pip download the file whole: it knows log-ins (netrc, keyring) and mirrors that this script does not."""
    python, abi, platforms = file[: -len(".whl")].split("-")[-3:]
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-cache-dir", "--only-binary=:all:"]
    command += ["--python-version", python.lstrip("cpy").replace("3", "3.", 1).rstrip("."), "--abi", abi]
    command += ["--implementation", "py" if python.startswith("py") else "cp"]
    for platform in platforms.split("."):
        command += ["--platform", platform]
    with tempfile.TemporaryDirectory(dir=os.path.dirname(partial)) as folder:
        done = subprocess.run(command + ["--dest", folder, "%s==%s" % (name, version)], stdout=sys.stderr)
        if done.returncode != 0 or not os.path.exists(os.path.join(folder, file)):
            raise OSError("pip download did not bring %s either" % file)
        shutil.move(os.path.join(folder, file), partial)


def main():
    index, name, version, file, partial, size = sys.argv[1:]
    try:
        by_registry(index, name, version, file, partial, int(size))
    except Exception as error:
        if index != "pypi" or not file.endswith(".whl"):
            sys.exit("%s: %s" % (file, error))
        say("note", "%s; asking pip instead" % error)
        try:
            by_pip(name, version, file, partial)
        except Exception as second:
            sys.exit("%s: %s; %s" % (file, error, second))


main()
