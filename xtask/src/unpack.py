"""Takes the wanted members out of an archive (a wheel or zip, or a gzipped tar), and nothing else.

Usage: python3 unpack.py ARCHIVE FOLDER        with the rules on stdin: [{"from": ..., "to": ...}, ...]

A `from` that ends in "/" keeps the tree below it, one with "*" puts its matches into the folder `to`, any other is one
file, which with "append" goes on where the file that is there ends. Speaks in lines: `total BYTES`, then `at BYTES`. A
rule that matches nothing is an error: the archive is then not what its pin was written for.
"""

import fnmatch
import json
import os
import sys
import tarfile
import time
import zipfile


def members(archive):
    """(name, size, mode, opener) of each file in the archive."""
    if archive.endswith((".tgz", ".tar.gz")):
        tar = tarfile.open(archive, "r:gz")
        return [(m.name, m.size, m.mode, lambda m=m: tar.extractfile(m)) for m in tar.getmembers() if m.isfile()]
    bundle = zipfile.ZipFile(archive)
    entries = [entry for entry in bundle.infolist() if not entry.is_dir()]
    return [(e.filename, e.file_size, (e.external_attr >> 16) or 0o644, lambda e=e: bundle.open(e)) for e in entries]


def place(rule, name):
    """Where the rule puts this member, or None."""
    wanted, to = rule["from"], rule["to"]
    if wanted.endswith("/"):
        return to + name[len(wanted) :] if name.startswith(wanted) else None
    if "*" in wanted:
        return to + name.rsplit("/", 1)[-1] if fnmatch.fnmatchcase(name, wanted) else None
    return to if name == wanted else None


def main():
    archive, folder = sys.argv[1:]
    rules = json.load(sys.stdin)
    work, unmatched = [], {rule["from"] for rule in rules}
    for name, size, mode, opener in members(archive):
        for rule in rules:
            to = place(rule, name)
            if to is not None:
                if ".." in to.split("/") or to.startswith("/"):
                    sys.exit("%s: the member %s would leave the folder" % (archive, name))
                work.append((to, size, mode, opener, "ab" if rule.get("append") else "wb"))
                unmatched.discard(rule["from"])
    if unmatched:
        sys.exit("%s holds nothing that matches %s" % (archive, ", ".join(sorted(unmatched))))
    print("total", sum(size for _, size, *_ in work), flush=True)
    done, last = 0, 0.0
    for to, _, mode, opener, how in work:
        path = os.path.join(folder, to)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with opener() as source, open(path, how) as out:
            while True:
                chunk = source.read(1 << 20)
                if not chunk:
                    break
                out.write(chunk)
                done += len(chunk)
                if time.monotonic() - last > 0.1:
                    last = time.monotonic()
                    print("at", done, flush=True)
        os.chmod(path, 0o755 if mode & 0o100 else 0o644)
    print("at", done, flush=True)


main()
