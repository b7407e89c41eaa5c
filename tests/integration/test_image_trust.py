#!/usr/bin/env python3
"""image trust and verify --images as users and scripts see them, with keys made
by openssl and lists signed both by the program and without it.

usage: test_image_trust.py TEE_COMPILE MAKE_BUNDLE"""
import base64
import hashlib
import json
import os
import pathlib
import stat
import subprocess
import sys
import tempfile

TOOL, MAKE_BUNDLE = (os.path.abspath(a) for a in sys.argv[1:3])
PCR = ["10" * 48, "11" * 48, "12" * 48]  # of the bundle that make_bundle makes
TYPE = "application/vnd.tee-compile.images+json"


def sh(*args, **kwargs):
    return subprocess.run([str(a) for a in args], check=True, capture_output=True, **kwargs).stdout


class Lab:
    """A home of its own, keys, and a bundle with the root that signed it."""

    def __init__(self, base):
        self.base = base
        self.env = {"PATH": os.environ["PATH"], "XDG_DATA_HOME": str(base / "data"), "NO_COLOR": "1"}
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS"):
            if name in os.environ:
                self.env[name] = os.environ[name]
        self.store = base / "data/tee-compile/trust"
        self.bundle, self.root = base / "release.tar", base / "root.pem"
        sh(MAKE_BUNDLE, self.bundle, self.root)

    def key(self, name, *algorithm):
        private, public = self.base / f"{name}.key", self.base / f"{name}.pem"
        sh("openssl", "genpkey", *algorithm, "-out", private)
        public.write_bytes(sh("openssl", "pkey", "-in", private, "-pubout"))
        der = sh("openssl", "pkey", "-in", private, "-pubout", "-outform", "DER")
        return private, public, hashlib.sha256(der).hexdigest()

    def run(self, *args, expect=0, env=None):
        done = subprocess.run([TOOL, *map(str, args)], capture_output=True, text=True,
                              env={**self.env, **(env or {})}, cwd=self.base, timeout=60,
                              stdin=subprocess.DEVNULL)
        assert done.returncode == expect, \
            f"{args}: exit {done.returncode}, expected {expect}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def trust(self, *args, **kwargs):
        return self.run("image", "trust", *args, **kwargs)

    def verify(self, *args, expect=0, bundle=None, env=None):
        return self.run("verify", "--root", self.root, *args, bundle or self.bundle, expect=expect,
                        env=env)

    def verdict(self, *args, expect=0, **kwargs):
        result = json.loads(self.verify("--json", *args, expect=expect, **kwargs))
        result["by_name"] = {c["name"]: c for c in result["checks"]}
        return result

    def draft(self, sequence=1, images=None, **more):
        path = self.base / f"draft-{sequence}.json"
        content = {"type": "tee-compile/images/1", "sequence": sequence,
                   "issued": "2026-01-01T00:00:00Z", "next_update": "2099-01-01T00:00:00Z",
                   "images": [image()] if images is None else images}
        content.update(more)
        path.write_text(json.dumps(content, indent=1))
        return path

    def sign(self, key, *args, out="images.json", **kwargs):
        self.trust("sign", "--key", key, "-o", self.base / out, self.draft(*args, **kwargs))
        return self.base / out


def image(**more):
    return {"name": "c", "version": "1.2", "architecture": "x86_64", "pcr0": PCR[0], "pcr1": PCR[1],
            "pcr2": PCR[2], "recipe": "4e" * 32, "valid_from": "2020-01-01T00:00:00Z",
            "valid_until": "2099-01-01T00:00:00Z", **more}


def test_unknown_then_own(lab):
    said = lab.verify(expect=1)
    assert f"PCR0 {PCR[0]} is unknown" in said and "images/c of tee-compile" in said
    command = f"tee-compile image trust add --pcr0 {PCR[0]} --name c"
    assert command in said and "--images FILE" in said
    assert lab.verdict(expect=1)["by_name"]["image-trust"]["result"] == "fail"
    assert not lab.store.exists()  # asking makes nothing
    lab.run(*command.split()[1:])
    result = lab.verdict()
    assert result["verdict"] == "development" and result["image"]["own"] is True
    assert "(your own word)" in lab.verify()
    assert stat.S_IMODE(lab.store.stat().st_mode) == 0o700
    assert stat.S_IMODE((lab.store / "own.json").stat().st_mode) == 0o600
    lab.trust("remove", "c")
    lab.verify(expect=1)
    lab.trust("remove", "c", expect=1)
    lab.trust("add", "--pcr0", PCR[0].upper(), "--name", "rust", "--image-version", "9",
              "--recipe", "aa" * 32)
    names = lab.verdict(expect=1)["by_name"]["image-name"]
    assert names["result"] == "fail" and "the image c" in names["expected"]
    lab.trust("remove", PCR[0])


def test_every_kind_of_key(lab):
    for name, algorithm in (("ed", ["-algorithm", "ed25519"]),
                            ("p256", ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]),
                            ("p384", ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"])):
        private, public, key_id = lab.key(name, *algorithm)
        images = lab.sign(private)
        assert lab.verdict("--images", images, expect=1)["by_name"]["image-trust"]["result"] == "fail"
        lab.verify("--images", images, "--images-key", public)
        lab.trust("update", images, expect=1)
        assert key_id in lab.trust("add", "--key", public)
        lab.verify("--images", images)
        lab.verify(expect=1)  # nothing was taken into the store by that
        assert "sequence 1" in lab.trust("update", images)
        result = lab.verdict()
        assert result["image"]["list"]["signer"] == key_id and not result["image"]["list"]["stale"]
        assert f"(list {key_id}, sequence 1)" in lab.verify()
        assert key_id in lab.trust("list")
        listed = json.loads(lab.trust("list", "--json"))
        assert any(s["id"] == key_id and s["list"]["images"][0]["state"] == "valid"
                   for s in listed["signers"])
        lab.trust("remove", key_id)
        lab.verify(expect=1)
    other = lab.key("p521", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521")
    lab.trust("add", "--key", other[1], expect=1)
    lab.trust("sign", "--key", other[0], "-o", lab.base / "no.json", lab.draft(), expect=2)
    assert not (lab.base / "no.json").exists()
    assert "private key" in lab.trust("add", "--key", other[0], expect=1)


def test_signed_without_us(lab):
    """What a signer needs is openssl and thirty lines: the format is the spec's."""
    private, public, key_id = lab.key("ed", "-algorithm", "ed25519")
    payload = lab.draft(4).read_bytes()
    pae = lab.base / "pae"
    pae.write_bytes(b"DSSEv1 %d %s %d %s" % (len(TYPE), TYPE.encode(), len(payload), payload))
    signature = sh("openssl", "pkeyutl", "-sign", "-inkey", private, "-rawin", "-in", pae)
    images = lab.base / "theirs.json"
    images.write_text(json.dumps({
        "payload": base64.b64encode(payload).decode(), "payloadType": TYPE,
        "signatures": [{"keyid": key_id, "sig": base64.b64encode(signature).decode()}]}))
    lab.verify("--images", images, "--images-key", public)
    # And the other way round: what we sign, openssl verifies.
    ours = json.loads(lab.sign(private, 5).read_text())
    payload = base64.b64decode(ours["payload"])
    pae.write_bytes(b"DSSEv1 %d %s %d %s" % (len(TYPE), TYPE.encode(), len(payload), payload))
    (lab.base / "sig").write_bytes(base64.b64decode(ours["signatures"][0]["sig"]))
    sh("openssl", "pkeyutl", "-verify", "-pubin", "-inkey", public, "-rawin", "-in", pae,
       "-sigfile", lab.base / "sig")
    assert ours["signatures"][0]["keyid"] == key_id


def test_rollback(lab):
    private, public, _ = lab.key("ed", "-algorithm", "ed25519")
    lab.trust("add", "--key", public)
    old, new = lab.sign(private, 1, out="1.json"), lab.sign(private, 2, out="2.json")
    other = lab.sign(private, 2, [], out="2b.json")
    lab.trust("update", new)
    assert "sequence 2 or higher, saw 1" in lab.trust("update", old, expect=1)
    assert "other content" in lab.trust("update", other, expect=1)
    assert "was there" in lab.trust("update", new)
    for images in (old, other):
        seen = lab.verdict("--images", images, expect=1)["by_name"]["image-trust"]["seen"]
        assert "sequence 2" in seen, seen
        lab.verify("--images", images, "--images-key", public, expect=1)
    lab.verify("--min-list-version", "2")
    assert "--min-list-version 3" in lab.verify("--min-list-version", "3", expect=1)
    assert "--min-list-version" in lab.verify("--images", new, "--min-list-version", "3", expect=1)
    lab.trust("update", "--min-list-version", "9", lab.sign(private, 3, out="3.json"), expect=1)
    # Without a store there is nothing to be older than.
    nowhere = {"XDG_DATA_HOME": "", "HOME": ""}
    lab.verify("--images", old, "--images-key", public, env=nowhere)
    assert "XDG_DATA_HOME" in lab.trust("add", "--key", public, env=nowhere, expect=2)


def test_validity_and_revocation(lab):
    private, public, key_id = lab.key("ed", "-algorithm", "ed25519")
    lab.trust("add", "--key", public)
    cases = [
        (image(valid_until="2021-01-01T00:00:00Z"), "has expired"),
        (image(valid_from="2090-01-01T00:00:00Z"), "not yet valid"),
        (image(architecture="aarch64"), "image for aarch64"),
        (image(pcr1="ff" * 48), "PCR1 of the document"),
        (image(pcr2="ff" * 48), "PCR2 of the document"),
        (image(revoked={"reason": "kernel \u001b[2J leaked"}), "revoked for all times: kernel \\x1b"),
        (image(revoked={"reason": "leak", "from": "2021-01-01T00:00:00Z"}), "revoked from 2021"),
        (image(pcr0="ff" * 48), "is unknown"),
    ]
    for number, (entry, says) in enumerate(cases, 1):
        images = lab.sign(private, number, [entry])
        for said in (lab.verify("--images", images, expect=1),
                     lab.verdict("--images", images, expect=1)["reason"]):
            assert says in said and PCR[0] in said, said
            assert "\x1b" not in said
            assert "unknown" in says or f"{key_id}, sequence {number}" in said, said
    images = lab.sign(private, 20, [image(revoked={"reason": "x", "from": "2099-01-01T00:00:00Z"})])
    lab.verify("--images", images)
    # A revocation in the store counts whoever vouches: the user, or another list.
    lab.trust("update", lab.sign(private, 30, [image(revoked={"reason": "gone"})]))
    lab.trust("add", "--pcr0", PCR[0], "--name", "c")
    assert "revoked for all times: gone" in lab.verify(expect=1)
    second, second_public, _ = lab.key("other", "-algorithm", "ed25519")
    images = lab.sign(second, 99)
    assert "gone" in lab.verify("--images", images, "--images-key", second_public, expect=1)


def test_stale(lab):
    private, public, key_id = lab.key("ed", "-algorithm", "ed25519")
    images = lab.sign(private, 1, next_update="2026-01-02T00:00:00Z")
    result = lab.verdict("--images", images, "--images-key", public)
    assert result["image"]["list"]["stale"] is True
    assert any(key_id in w and "is stale" in w for w in result["warnings"])
    assert "WARNING" in lab.verify("--images", images, "--images-key", public)
    lab.trust("add", "--key", public)
    lab.trust("update", images)
    assert "STALE" in lab.trust("list")


def test_certificate(lab):
    private, public, key_id = lab.key("p384", "-algorithm", "EC", "-pkeyopt",
                                      "ec_paramgen_curve:P-384")
    certificate = lab.base / "signer.crt"
    certificate.write_bytes(sh("openssl", "req", "-x509", "-new", "-key", private, "-subj",
                               "/CN=image signer", "-days", "2", "-sha384"))
    der = sh("openssl", "x509", "-in", certificate, "-outform", "DER")
    pcr8 = hashlib.sha384(bytes(48) + hashlib.sha384(der).digest()).hexdigest()
    signed, signed_root = lab.base / "signed.tar", lab.base / "signed-root.pem"
    sh(MAKE_BUNDLE, signed, signed_root, pcr8)
    images = lab.sign(private)
    args = ("--images", images, "--images-key", certificate)
    lab.run("verify", "--root", signed_root, *args, signed)
    assert f"expected PCR8 {pcr8}, saw " in lab.verify(*args, expect=1)
    lab.verify("--images", images, "--images-key", public)
    lab.trust("add", "--key", certificate)
    assert "remove it first" in lab.trust("add", "--key", public, expect=1)
    assert "for its PCR8 alone" in lab.trust("list")
    lab.trust("update", images)
    lab.verify(expect=1)
    lab.run("verify", "--root", signed_root, signed)
    lab.trust("remove", key_id)


def test_two_signatures(lab):
    keys = [lab.key(n, "-algorithm", "ed25519") for n in ("one", "two")]
    images = lab.base / "both.json"
    said = lab.trust("sign", "--key", keys[0][0], "--key", keys[1][0], "-o", images, lab.draft())
    assert keys[0][2] in said and keys[1][2] in said
    for _, public, _ in keys:
        lab.verify("--images", images, "--images-key", public)
    forged = json.loads(images.read_text())
    forged["signatures"][0]["sig"] = forged["signatures"][1]["sig"]
    images.write_text(json.dumps(forged))
    lab.verify("--images", images, "--images-key", keys[0][1], expect=1)
    lab.verify("--images", images, "--images-key", keys[1][1])


def test_project_signer(lab):
    listed = json.loads(lab.trust("list", "--json"))
    project = [s for s in listed["signers"] if s["project"]]
    assert len(project) == 1 and project[0]["list"]["sequence"] >= 1
    lab.trust("remove", project[0]["id"])
    assert json.loads(lab.trust("list", "--json"))["signers"] == []
    source = pathlib.Path(__file__).resolve().parents[2] / "trust/list-key.pem"
    lab.trust("add", "--key", source)
    assert json.loads(lab.trust("list", "--json"))["signers"] == project


def test_usage(lab):
    private, public, _ = lab.key("ed", "-algorithm", "ed25519")
    for args in ((), ("ad",), ("add",), ("add", "--key", public, "--pcr0", PCR[0]),
                 ("add", "--pcr0", PCR[0]), ("add", "--pcr0", "10", "--name", "c"),
                 ("add", "--pcr0", PCR[0], "--name", "a b"), ("add", "--key", public, "word"),
                 ("add", "--key", "/nonexistent"), ("add", "--key", "/dev/zero"),
                 ("add", "--key", lab.bundle), ("list", "--key", public), ("list", "word"),
                 ("remove",), ("update",), ("update", lab.bundle), ("update", lab.base),
                 ("update", "--min-list-version", "0", lab.bundle), ("sign", lab.draft()),
                 ("sign", "--key", private, lab.draft()),
                 ("sign", "--key", public, "-o", "x.json", lab.draft()),
                 ("sign", "--key", private, "-o", "x.json", lab.bundle)):
        said = lab.trust(*args, expect=2)
        assert said and "Traceback" not in said
    assert "did you mean add" in lab.trust("ad", expect=2)
    assert "pcr_0: unknown key" in lab.trust("sign", "--key", private, "-o", "x.json",
                                             lab.draft(1, [image(pcr_0="x")]), expect=2)
    assert not (lab.base / "x.json").exists() and not lab.store.exists()
    lab.trust("--help")
    lab.run("image", "--help")
    lab.run("image", expect=2)
    assert "did you mean" in lab.run("image", "buid", expect=2)
    lab.verify("--images-key", public, expect=2)
    lab.verify("--images", lab.bundle, expect=2)
    lab.verify("--images", "/nonexistent", expect=2)
    lab.verify("--min-list-version", "x", expect=2)
    # A store that cannot be read is no empty one.
    lab.trust("add", "--key", public)
    (lab.store / "own.json").write_text("{")
    lab.verify(expect=2)
    # The key never comes out again.
    secret = private.read_text().splitlines()[1]
    assert secret not in lab.trust("sign", "--key", private, "-o", lab.base / "y.json", lab.draft())


def main():
    tests = [(n, f) for n, f in globals().items() if n.startswith("test_")]
    assert len(tests) >= 10
    failed = 0
    for name, test in tests:
        with tempfile.TemporaryDirectory() as base:
            try:
                test(Lab(pathlib.Path(base)))
                print(f"ok {name}")
            except (AssertionError, KeyError, subprocess.SubprocessError, OSError) as error:
                failed += 1
                print(f"FAILED {name}: {error}")
                print(getattr(error, "stderr", None) or "")
    return 1 if failed else 0


sys.exit(main())
