"""What is fetched from the distribution's archive, by the mirror that apt is set up for. Nothing is
installed, and no setting of apt's is changed.

Everything is kept in the folder that the caller names, and fetched once; what the archives hold,
beside it.
"""

import functools
import glob
import os
import platform
import re
import shutil
import subprocess
import sys
import time


class Missing(Exception):
    """Cannot be had on this machine."""


def run(argv, folder):
    done = subprocess.run(argv, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()[-500:]
        raise Missing(f"{' '.join(argv)}: {said}")
    return done.stdout


def need(program, package):
    if not shutil.which(program):
        raise Missing(f"there is no {program} (package {package})")


def _archives(release, folder):
    """Lines of a sources.list: the archives that apt knows already, with their source packages; with
    `release`, that release of the same archives."""
    known = run(["apt-get", "indextargets", "--format",
                 "$(ORIGIN) $(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages"], folder)
    lines = set()
    for line in known.splitlines():
        origin, site, name, component = line.split()
        if origin not in ("Debian", "Ubuntu") or (release and "-" in name):
            continue
        keyring = f"/usr/share/keyrings/{origin.lower()}-archive-keyring.gpg"
        for kind in ("deb", "deb-src"):
            lines.add(f"{kind} [signed-by={keyring}] {site} {release or name} {component}\n")
    if not lines:
        raise Missing("apt knows no archive of Debian's or Ubuntu's; apt-get update first?")
    return sorted(lines)


def _options(release, folder, architecture=None):
    """For an apt-get that knows these archives and nothing else, as of today."""
    lists = os.path.join(folder, f"apt.{release or 'own'}")
    options = ["-o", "APT::Sandbox::User=root"]
    if architecture:
        lists += f".{architecture}"
        options += ["-o", f"APT::Architecture={architecture}", "-o", f"APT::Architectures={architecture}"]
    sources = lists + ".list"
    options += ["-o", f"Dir::Etc::SourceList={sources}", "-o", "Dir::Etc::SourceParts=/dev/null",
                "-o", f"Dir::State::Lists={lists}"]
    if not os.path.exists(sources) or time.time() - os.path.getmtime(sources) > 24 * 3600:
        lines = _archives(release, folder)
        os.makedirs(os.path.join(lists, "partial"), exist_ok=True)
        with open(sources, "w") as file:
            file.writelines(lines)
        try:
            run(["apt-get", *options, "update", "-qq"], folder)
        except Missing:
            os.remove(sources)
            raise
    return options


def _newest_first(versions):
    def compare(a, b):
        return 1 if subprocess.run(["dpkg", "--compare-versions", a, "gt", b]).returncode == 0 else -1

    return sorted(set(versions), key=functools.cmp_to_key(compare), reverse=True)


def _fetch_from(release, kind, name, lists, folder):
    look, get = {"source": ("showsrc", ["source", "--download-only"]),
                 "binary": ("show", ["download"])}[kind]
    options = _options(release, lists)
    listed = run(["apt-cache", *options, look, name], folder)
    problem = Missing(f"{name}: no such package")
    for version in _newest_first(re.findall(r"^Version: (\S+)$", listed, re.MULTILINE)):
        try:
            run(["apt-get", *options, *get, "-qq", f"{name}={version}"], folder)
            return version
        except Missing as missing:
            problem = missing
    raise problem


def _fetch(release, kind, name, lists, folder):
    """Into `folder`, the newest version that is really there: mirrors list some that are not, in the
    archive of security updates above all. Returns which."""
    try:
        return _fetch_from(release, kind, name, lists, folder)
    except Missing:
        without_updates = platform.freedesktop_os_release().get("VERSION_CODENAME")
        if release or not without_updates:
            raise
        return _fetch_from(without_updates, kind, name, lists, folder)


def _unpacked(release, kind, name, folder, unpack):
    """The place where unpack(downloads, place) has put the package, and its version."""
    place = os.path.join(folder, name)
    mark = place + ".version"
    if not os.path.exists(mark):
        downloads = place + ".download"
        for old in (place, downloads):
            shutil.rmtree(old, ignore_errors=True)
        os.makedirs(downloads)
        version = _fetch(release, kind, name, os.path.dirname(folder), downloads)
        unpack(downloads, place)
        shutil.rmtree(downloads)
        with open(mark, "w") as file:
            file.write(version)
    with open(mark) as file:
        return place, file.read()


def package(name, folder, release=None):
    """A binary package's files, unpacked. Returns their folder and the version."""

    def unpack(downloads, place):
        (archive,) = glob.glob(os.path.join(downloads, "*.deb"))
        run(["dpkg-deb", "-x", archive, place], downloads)

    return _unpacked(release, "binary", name, folder, unpack)


def source(name, folder):
    """A source package, unpacked and with Debian's patches. Returns its tree and the version."""

    def unpack(downloads, place):
        need("dpkg-source", "dpkg-dev")
        (description,) = glob.glob(os.path.join(downloads, "*.dsc"))
        run(["dpkg-source", "-x", "--no-check", "--no-copy", description, place], downloads)

    return _unpacked(None, "source", name, folder, unpack)


def _lead_inside(place):
    """Links that begin at / would lead to this machine's own files."""
    for folder, _, files in os.walk(place):
        for link in (os.path.join(folder, name) for name in files):
            if os.path.islink(link) and os.readlink(link).startswith("/"):
                target = os.path.relpath(place + os.readlink(link), folder)
                os.remove(link)
                os.symlink(target, link)


def root(names, folder, architecture):
    """These packages and all that they need, of another architecture, unpacked one over the other in
    `folder`/root. Updates of the release are left out: mirrors list some that are not there."""
    place = os.path.join(folder, "root")
    mark = place + ".packages"
    wanted = "\n".join(names)
    if os.path.exists(mark) and open(mark).read() == wanted:
        return place
    shutil.rmtree(place, ignore_errors=True)
    release = platform.freedesktop_os_release().get("VERSION_CODENAME")
    options = _options(release, folder, architecture)
    cache = os.path.join(folder, "cache")
    os.makedirs(os.path.join(cache, "archives", "partial"), exist_ok=True)
    nothing = os.path.join(folder, "nothing-installed")
    open(nothing, "w").close()
    options += ["-o", f"Dir::State::status={nothing}", "-o", f"Dir::Cache={cache}", "-o", "Debug::NoLocking=1"]
    run(["apt-get", *options, "install", "-qq", "-y", "--no-install-recommends", "--download-only", *names],
        folder)
    for tree in ("bin", "lib", "sbin"):
        os.makedirs(os.path.join(place, "usr", tree), exist_ok=True)
        os.symlink(f"usr/{tree}", os.path.join(place, tree))
    for archive in glob.glob(os.path.join(cache, "archives", "*.deb")):
        run(["bash", "-c", 'set -o pipefail; dpkg-deb --fsys-tarfile "$0" | tar -x -C "$1" --keep-directory-symlink',
             archive, place], folder)
    shutil.rmtree(cache)
    _lead_inside(place)
    with open(mark, "w") as file:
        file.write(wanted)
    return place


def kernel(release, folder):
    """The newest kernel for virtual machines that the release has, unpacked. Returns its folder."""
    options = _options(release, folder)
    listed = run(["apt-cache", *options, "show", "linux-image-cloud-amd64"], folder)
    problem = Missing(f"{release} has no kernel")
    for name in re.findall(r"^Depends: (linux-image-\S+)", listed, re.MULTILINE):
        try:
            return package(name, os.path.join(folder, release), release)[0]
        except Missing as missing:
            problem = missing
    raise problem


def build(mark, commands, folder):
    """Runs the commands in `folder` unless the file `mark` is there."""
    if not os.path.exists(os.path.join(folder, mark)):
        for command in commands:
            run(command, folder)


def installed(name):
    """The version of a package that is installed; None."""
    done = subprocess.run(["dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", name],
                          capture_output=True, text=True)
    status, _, version = done.stdout.partition(" ")
    return version if status == "installed" else None


def main():
    """debian.py root FOLDER ARCHITECTURE PACKAGE... | debian.py kernel FOLDER RELEASE: prints the place."""
    what, folder, *rest = sys.argv[1:]
    os.makedirs(folder, exist_ok=True)
    try:
        print(root(rest[1:], folder, rest[0]) if what == "root" else kernel(rest[0], folder))
    except Missing as missing:
        sys.exit(f"debian.py: {missing}")


if __name__ == "__main__":
    main()
