#!/usr/bin/env python3
"""How an image gets into the store and out of it: from where, and by whose word. What a server or
a path gives is bounded, and what is refused is not stored.

usage: test_image_pull.py TEE_COMPILE [NAME...]"""
import hashlib
import http.server
import json
import os
import shutil
import signal
import ssl
import subprocess
import threading

from image_store_case import TOOL, certificate_of, main


def test_pull_list_remove(lab):
    assert "no images yet" in lab.run("image", "list") and lab.list() == []
    assert not lab.store.exists()  # asking makes nothing
    pcrs = lab.image.pcrs()
    (lab.source / "mini.spdx.json").write_text("{}")
    said = json.loads(lab.pull(lab.image, "--json"))
    assert said["verdict"] == "done" and [said[f"pcr{i}"] for i in range(3)] == pcrs, said
    assert said["checks"][0]["result"] == "pass"
    (one,) = lab.list()
    assert one["good"] and one["newest"] and one["name"] == "mini" and one["packages"] == 3
    assert [one[f"pcr{i}"] for i in range(3)] == pcrs
    assert one["size"] == lab.image.eif.stat().st_size + lab.image.erofs.stat().st_size
    assert lab.stored() == [pcrs[0]]
    assert sorted(os.listdir(lab.folder(lab.image))) == ["image.eif", "image.erofs", "image.spdx.json"]
    for path in (lab.store, lab.folder(lab.image), lab.store / "names/mini"):
        assert path.stat().st_mode & 0o077 == 0, path
    measured = json.loads(lab.run("image", "measure", "--json", lab.image.eif))
    assert pcrs[0] in json.dumps(measured)
    lab.pull(lab.image)  # again: the same
    assert lab.stored() == [pcrs[0]]
    lab.run("image", "remove", "mini")
    assert lab.stored() == [] and os.listdir(lab.store / "names") == [] and lab.list() == []
    lab.run("image", "remove", "mini", expect=2)


def test_pull_by_url(lab):
    lab.pull(lab.image, source=f"file://{lab.image.eif}")
    assert lab.stored() == [lab.image.pcrs()[0]]
    lab.run("image", "remove", lab.image.pcrs()[0].upper())
    lab.image.erofs.unlink()
    lab.refuse(lab.image, "mini.erofs", source=f"file://{lab.image.eif}", expect=2)
    lab.refuse(lab.image, "http", source="http://127.0.0.1:1/mini.eif", expect=2)
    lab.refuse(lab.image, ".eif", source="https://127.0.0.1:1/mini.eif?x=1", expect=2)


def test_pull_wants_a_reason(lab):
    pcr0 = lab.image.pcrs()[0]
    said = lab.run("image", "pull", lab.image.eif, expect=1)
    assert f"--pcr0 {pcr0}" in said and "no list that you trust names it" in said
    lab.refuse(lab.image, "another image", pcr0="ab" * 48)
    lab.refuse(lab.image, "96 hex digits", pcr0="ab", expect=2)
    said = lab.run("image", "pull", lab.image.eif, "--pcr0", "ab" * 48, "--pcr0", pcr0, expect=2)
    assert "given twice" in said, said
    lab.run("image", "trust", "add", "--pcr0", pcr0, "--name", "mini")
    assert "by your own word" in lab.run("image", "pull", lab.image.eif)


def signed_list(lab, sequence, key, **changes):
    pcrs = lab.image.pcrs()
    entry = {"name": "mini", "version": "1", "architecture": "x86_64", "pcr0": pcrs[0], "pcr1": pcrs[1],
             "pcr2": pcrs[2], "recipe": hashlib.sha256(b"mini").hexdigest(), "valid_from": "2020-01-01T00:00:00Z",
             "valid_until": "2099-01-01T00:00:00Z", **changes}
    draft = lab.base / "draft.json"
    draft.write_text(json.dumps({"type": "tee-compile/images/1", "sequence": sequence,
                                 "issued": "2026-01-01T00:00:00Z", "next_update": "2099-01-01T00:00:00Z",
                                 "images": [entry]}))
    lab.run("image", "trust", "sign", "--key", key, "-o", lab.base / "list.json", draft)
    lab.run("image", "trust", "update", lab.base / "list.json")


def test_pull_by_a_list(lab):
    key, public = lab.base / "key", lab.base / "public"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", key], check=True)
    subprocess.run(["openssl", "pkey", "-in", key, "-pubout", "-out", public], check=True)
    lab.run("image", "trust", "add", "--key", public)
    signed_list(lab, 1, key)
    assert "by the list of" in lab.run("image", "pull", lab.image.eif)
    lab.run("image", "remove", "mini")
    signed_list(lab, 2, key, pcr2="00" * 48)
    lab.refuse(lab.image, "PCR2 is not the entry's")
    signed_list(lab, 3, key, valid_until="2021-01-01T00:00:00Z")
    assert "no list that you trust" in lab.run("image", "pull", lab.image.eif, expect=1)
    signed_list(lab, 4, key, revoked={"reason": "leaked a key"})
    lab.refuse(lab.image, "leaked a key")  # also with --pcr0
    # The entry must say what the image says of itself.
    signed_list(lab, 5, key, name="rust")
    lab.refuse(lab.image, "the image's name is not the entry's")
    signed_list(lab, 6, key, recipe="ee" * 32)
    lab.refuse(lab.image, "the image's recipe is not the entry's")
    signed_list(lab, 7, key)
    lab.run("image", "pull", lab.image.eif)
    lab.run("image", "remove", "mini")
    lab.run("image", "trust", "add", "--pcr0", lab.image.pcrs()[0], "--name", "mini", "--recipe", "ee" * 32)
    lab.refuse(lab.image, "recipe is not the one you gave")


def test_revoked_after_it_was_pulled(lab):
    """What is in the store, or lies in a folder, is no longer used, and is shown as what it is."""
    key, public = lab.base / "key", lab.base / "public"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", key], check=True)
    subprocess.run(["openssl", "pkey", "-in", key, "-pubout", "-out", public], check=True)
    lab.run("image", "trust", "add", "--key", public)
    lab.spec("false")
    lab.pull(lab.image)
    assert lab.list()[0]["revoked"] is False and "REVOKED" not in lab.run("image", "list")
    signed_list(lab, 1, key, recipe="ee" * 32)
    assert "recipe is not the entry's" in lab.build(expect=1)
    assert lab.list()[0]["revoked"] is False
    signed_list(lab, 2, key, revoked={"reason": "leaked \x1b a key"})
    for words in ([], ["--image", "mini"], ["--image", lab.image.pcrs()[0]], ["--image", lab.image.eif]):
        said = lab.build(*words, expect=1)
        assert "is revoked by the list of" in said and "leaked \\x1b a key" in said, said
    assert lab.list()[0]["revoked"] is True and "leaked" in lab.list()[0]["revocation"]
    assert "REVOKED mini 1 is revoked by the list of" in lab.run("image", "list")
    lab.run("image", "remove", "mini")


def test_pull_by_a_certificate(lab):
    """Such a list speaks of images that were signed with the certificate, and of no others."""
    key, certificate = certificate_of(lab)
    lab.run("image", "trust", "add", "--key", certificate)
    signed_list(lab, 1, key)
    assert "no list that you trust" in lab.run("image", "pull", lab.image.eif, expect=1)
    signed = lab.source / "signed.eif"
    lab.run("image", "sign", lab.image.eif, "--key", key, "--cert", certificate, "-o", signed)
    shutil.copy(lab.image.erofs, lab.source / "signed.erofs")
    assert "by the list of" in lab.run("image", "pull", signed)


class Server:
    """Serves a folder by https on the loopback, but for the files that a test has put
    something else in place of: those go on for as long as somebody takes them."""
    ENOUGH = 64 << 20  # of which nobody should ever ask for so much

    def __init__(self, lab, endless=None, size=None):
        server, self.sent, self.broke_off = self, 0, False

        class Handler(http.server.SimpleHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def __init__(self, *args):
                super().__init__(*args, directory=str(lab.source))

            def log_message(self, *_):
                pass

            def do_GET(self):
                if self.path != f"/{endless}":
                    super().do_GET()
                    return
                self.send_response(200)
                self.send_header(*(("Content-Length", size) if size else ("Transfer-Encoding", "chunked")))
                self.end_headers()
                piece = bytes(1 << 16)
                try:
                    while server.sent < server.ENOUGH:
                        self.wfile.write(piece if size else b"10000\r\n" + piece + b"\r\n")
                        server.sent += len(piece)
                except OSError:
                    server.broke_off = True
                self.close_connection = True

        key, certificate = lab.base / "server.key", lab.base / "server.crt"
        if not key.exists():
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                            "-nodes", "-keyout", key, "-out", certificate, "-days", "30", "-subj",
                            "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
                           check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = False
        self.http.socket = context.wrap_socket(self.http.socket, server_side=True)
        self.url = f"https://localhost:{self.http.server_port}/mini.eif"
        self.env = {"SSL_CERT_FILE": str(certificate)}
        self.thread = threading.Thread(target=self.http.serve_forever)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


def test_pull_by_https(lab):
    with Server(lab) as server:
        lab.pull(lab.image, source=server.url, env=server.env)
        assert lab.stored() == [lab.image.pcrs()[0]]


def test_servers_without_an_end(lab):
    """Of a file system as much is taken as the image says, and no disk is filled."""
    for size in (None, 1 << 40):
        with Server(lab, "mini.erofs", size) as server:
            lab.refuse(lab.image, "larger than", source=server.url, env=server.env)
        assert server.broke_off and server.sent < server.ENOUGH // 2, server.sent


def test_a_file_system_that_is_too_large(lab):
    """The same by a path: what is too much is not copied first."""
    size = len(lab.image.data + lab.image.tree)
    for more in (1, 1 << 26):
        os.truncate(lab.image.erofs, size + more)
        lab.refuse(lab.image, f"larger than the {size} bytes")
        lab.refuse(lab.image, "larger than", source=f"file://{lab.image.eif}")


def test_a_list_of_contents_that_is_too_large(lab):
    sbom = lab.source / "mini.spdx.json"
    sbom.write_text("{}")
    os.truncate(sbom, (64 << 20) + 1)
    lab.refuse(lab.image, "larger than")


def test_odd_sources(lab):
    image = lab.image
    image.erofs.unlink()
    lab.refuse(image, "mini.erofs", expect=2)
    image.erofs.mkdir()
    lab.refuse(image, "mini.erofs", expect=2)
    image.erofs.rmdir()
    os.mkfifo(image.erofs)
    lab.refuse(image, "no regular file", expect=2)
    lab.refuse(image, ".eif", source=lab.base, expect=2)
    lab.refuse(image, "cannot open", source=lab.base / "none.eif", expect=2)
    os.mkfifo(lab.base / "pipe.eif")
    lab.refuse(image, "no regular file", source=lab.base / "pipe.eif", expect=2)
    lab.run("image", "pull", expect=2)
    lab.run("image", "pull", "a.eif", "b.eif", expect=2)
    lab.run("image", "list", "x", expect=2)
    lab.run("image", "remove", expect=2)
    lab.run("image", "remove", "../x", expect=2)


def test_interrupted_pull(lab):
    """A signal that is there from the start is heeded before anything has a name."""
    def block():
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        os.kill(os.getpid(), signal.SIGTERM)
    done = subprocess.run([TOOL, "image", "pull", lab.image.eif, "--pcr0", lab.image.pcrs()[0]],
                          env=lab.env, capture_output=True, text=True, preexec_fn=block)
    assert done.returncode == 2 and "interrupted" in done.stderr, done
    assert lab.stored() == [], lab.stored()


main(globals())
