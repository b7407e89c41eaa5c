#!/usr/bin/env python3
"""Servers whose certificate or answer ends a build unsigned, whatever its command makes of it.

usage: test_network_ends.py TEE_COMPILE [NAME...]"""
import os
import shutil
import ssl

import image_lab
from network_case import main, sha256

PLACE = "etc/tee-compile/denied-certificates"
GO_ON = "curl -sS --max-time 60 https://{}/hello > out || true; echo > out"


def test_wrong_name(p):
    p.fails("wrong.test", "other names", cmd=GO_ON.format("wrong.test"))


def test_expired(p):
    p.fails("expired.test", cmd=GO_ON.format("expired.test"))


def test_unknown_authority(p):
    p.fails("stranger.test", "network.ca", cmd=GO_ON.format("stranger.test"))


def test_authority_counts_for_its_host_alone(p):
    p.fails("good.test", cmd=GO_ON.format("good.test"), hosts=("sub.good.test",))


def test_plain_text_where_tls_belongs(p):
    p.fails("plain.test", "not TLS", cmd=GO_ON.format("plain.test"))


def test_no_such_host(p):
    p.fails("nowhere.test", cmd=GO_ON.format("nowhere.test"))


def test_body_that_is_cut(p):
    p.fails("good.test", cmd="curl -sS https://good.test/cut > out || true; echo > out")


def test_denied_certificates(p):
    """The deny list of an image: what it names is no server, and it is named itself."""
    if not (os.geteuid() == 0 or (shutil.which("erofsfuse") and os.access("/dev/fuse", os.R_OK | os.W_OK))):
        print("no image can be mounted here: test_denied_certificates is passed over")
        return
    chain, _ = p.lab.root.issue("good.test", "*.good.test")
    der = ssl.PEM_cert_to_DER_cert(chain.read_text())
    lists = {"none": "# nobody\n", "leaf": f"certificate {sha256(der)}\n", "broken": f"certificate {sha256(der)}"}
    for name, text in lists.items():
        (p.base / name).mkdir()
        image = image_lab.Image(p.base / name, name, files={PLACE: text, "etc/resolv.conf": ""},
                                programs=(*image_lab.PROGRAMS, "curl"))
        p.spec("curl -fsS https://good.test/hello > out" if name == "none" else GO_ON.format("good.test"))
        done = p.build("--image", image.eif, expect=0 if name == "none" else 2)
        if name == "none":
            network = p.statement()["predicate"]["buildDefinition"]["externalParameters"]["network"]
            assert network["deniedCertificates"] == {"count": 0, "digest": {"sha256": sha256(text.encode())}}, network
            assert sha256(text.encode()) in p.run("report", p.out).stdout
            p.out.unlink()
            continue
        assert not p.out.exists()
        for word in {"leaf": ("CN=good.test", f"certificate {sha256(der)}", PLACE), "broken": (PLACE, "line 1")}[name]:
            assert word in done.stderr, f"no {word!r} in\n{done.stderr}"


def test_missing_authority_file(p):
    p.fails("none.pem", cmd="echo > out", status=1, ca={"good.test": "none.pem"})


main(globals())
