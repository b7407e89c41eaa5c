#!/usr/bin/python3
"""recipe.py QEMU_FOLDER BUILD_FOLDER RECIPE IMAGE.eif EROFS PROJECT MEMORY [LIMIT=VALUE...]:
boots an image that `image build` made of the folder RECIPE, by the project's launcher, and
has PROJECT compiled in it. EROFS is the file of its toolchain, "-" for an image that has it
inside. The limits stand in for those of the project's build.json.

  1. The enclave takes one session and ends by itself.
  2. PCR0-2 that the emulator's NSM measured are those that `image measure` gives.
  3. The statement names image, recipe and each package of the recipe's lock.
  4. The document is refused for its missing signature alone; signed by a root of ours,
     the bundle passes.
"""
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import boot  # noqa: E402


def measure(tool, image):
    result = subprocess.run([tool, "image", "measure", "--json", image], check=True, capture_output=True, text=True)
    return json.loads(result.stdout)


def copy_project(project, target, limits):
    """Limited, since an enclave's memory is what the test gives it."""
    shutil.copytree(project, target)
    with open(f"{target}/build.json", encoding="utf-8") as file:
        spec = json.load(file)
    spec.setdefault("limits", {}).update(limits)
    with open(f"{target}/build.json", "w", encoding="utf-8") as file:
        json.dump(spec, file)


def check_quoted(bundle, recipe, measured):
    with tarfile.open(bundle) as tar:
        statement = json.load(tar.extractfile(boot.STATEMENT))
    with open(f"{recipe}/lock.json", encoding="utf-8") as file:
        locked = {package["sha256"] for package in json.load(file)["packages"]}
    _, image, *packages = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    boot.check("the image in the statement",
               (image["digest"]["sha384"], image["annotations"]["pcr1"], image["annotations"]["pcr2"],
                image["annotations"]["name"]),
               (measured["pcr0"], measured["pcr1"], measured["pcr2"], os.path.basename(recipe)))
    boot.check(f"its {len(locked)} packages", {item["digest"]["sha256"] for item in packages}, locked)


def main():
    if len(sys.argv) < 8:
        sys.exit(__doc__)
    emulator, build, recipe, image, erofs, project, memory, *limits = sys.argv[1:]
    tools, tool = boot.Tools(emulator, build, "launcher"), f"{build}/src/tee-compile"
    measured = measure(tool, image)
    with tempfile.TemporaryDirectory(prefix="tee-recipe-") as folder:
        copy, bundle = f"{folder}/project", f"{folder}/release.tar"
        copy_project(project, copy, dict(limit.split("=", 1) for limit in limits))
        outcome = boot.boot(tools, None, image, bundle, copy, memory, None if erofs == "-" else erofs)
        if outcome.status != 0:
            boot.explain(outcome)
        boot.check(f"a session in {memory}", (outcome.status, outcome.ended), (0, 0))
        boot.tell_times(outcome)
        boot.judge(tool, HERE, copy, bundle, [measured[f"pcr{i}"] for i in range(3)], folder)
        check_quoted(bundle, recipe, measured)


if __name__ == "__main__":
    main()
