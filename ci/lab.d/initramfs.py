#!/usr/bin/env python3
"""Writes the archive that the lab's guest has for its root file system.

Usage: initramfs.py ARCHIVE --kernel FOLDER --module NAME... --file PATH... --text PATH=TEXT...

Files keep their paths and bring the libraries that they need; links stay links and bring what they point at, for
DPDK loads each file in its folder of drivers and stops if it meets one twice. The kernel's modules, and those that
they need, go to /lab; /lab/modules lists them in the order in which they can be loaded.
"""

import argparse
import os
import stat
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUSYBOX = "/bin/busybox"
# What glibc loads by itself, when a thread ends by being cancelled.
CANCELLATION = "/usr/lib/x86_64-linux-gnu/libgcc_s.so.1"
# The folders that must be there, some of them links into /usr.
USUAL = ("/bin", "/lib", "/lib64", "/sbin", "/root", "/tmp")


class Archive:
    """A cpio archive of the kind that the kernel unpacks ("newc"), uncompressed: the guest is slow at unpacking."""

    def __init__(self, file):
        self.file, self.names = file, set()

    def entry(self, name, mode, data=b""):
        """One entry. Its folders have been written before it."""
        if name in self.names:
            return False
        self.names.add(name)
        encoded = os.fsencode(name.lstrip("/")) + b"\0"
        # Number, mode, owner, group, links, time, length, device and file's device, length of the name, checksum.
        fields = (len(self.names), mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
        self._padded(b"070701" + b"".join(b"%08x" % field for field in fields) + encoded)
        self._padded(data)
        return True

    def _padded(self, data):
        self.file.write(data + bytes(-len(data) % 4))

    def folder(self, path):
        """A folder without what is in it, those above it, and if it is a link what that points at."""
        if path == "/" or path in self.names:
            return
        self.folder(os.path.dirname(path))
        if os.path.islink(path):
            self.entry(path, stat.S_IFLNK | 0o777, os.fsencode(os.readlink(path)))
            self.folder(target(path))
        else:
            self.entry(path, stat.S_IFDIR | 0o755)

    def add(self, path):
        """A file, a link or a folder of this machine with all that is in it, at its own path."""
        self.folder(os.path.dirname(path))
        # One name for each file, whatever links lead to its folder.
        path = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
        if os.path.islink(path):
            if self.entry(path, stat.S_IFLNK | 0o777, os.fsencode(os.readlink(path))):
                self.add(target(path))
        elif os.path.isdir(path):
            self.folder(path)
            for name in sorted(os.listdir(path)):
                self.add(os.path.join(path, name))
        else:
            self.add_file(path)

    def add_file(self, path):
        data = Path(path).read_bytes()
        is_new = self.entry(path, stat.S_IFREG | stat.S_IMODE(os.stat(path).st_mode), data)
        if is_new and data.startswith(b"\x7fELF"):
            for library in libraries(path):
                self.add(library)

    def write(self, path, data, mode=0o644):
        """A file of the lab's own."""
        self.entry(path, stat.S_IFREG | mode, data)

    def end(self):
        self.entry("TRAILER!!!", 0)


def target(link):
    return os.path.normpath(os.path.join(os.path.dirname(link), os.readlink(link)))


def libraries(path):
    """What the dynamic linker would load. A program that needs none makes ldd fail."""
    lines = subprocess.run(["ldd", path], capture_output=True, text=True).stdout.splitlines()
    missing = [line.strip() for line in lines if "not found" in line]
    if missing:
        sys.exit(f"{path} needs what is not on this machine: {missing[0]}")
    words = (word for line in lines for word in line.split() if word.startswith("/"))
    return [*words, CANCELLATION] if lines else []


def modules(kernel, names):
    """The files of the modules named and of those that they need, each behind what it needs."""
    (tree,) = (kernel / "lib/modules").iterdir()
    needs = {}
    for line in (tree / "modules.dep").read_text().splitlines():
        file, _, needed = line.partition(":")
        needs[Path(file).name.removesuffix(".ko").replace("-", "_")] = [file, *needed.split()]
    order = []
    for name in names:
        if name not in needs:
            sys.exit(f"the guest's kernel has no module {name}")
        order += [file for file in reversed(needs[name]) if file not in order]
    return [tree / file.removeprefix(f"/lib/modules/{tree.name}/") for file in order]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("archive", type=Path)
    parser.add_argument("--kernel", type=Path, required=True)
    parser.add_argument("--module", action="append", default=[])
    parser.add_argument("--file", action="append", default=[])
    parser.add_argument("--text", action="append", default=[], type=lambda text: text.split("=", 1))
    arguments = parser.parse_args()
    with open(arguments.archive, "wb") as file:
        archive = Archive(file)
        for path in USUAL:
            archive.folder(path)
        for path in (BUSYBOX, *arguments.file):
            archive.add(os.path.abspath(path))
        archive.write("/init", (HERE / "init").read_bytes(), 0o755)
        archive.folder("/lab")
        for path, text in arguments.text:
            archive.write(path, f"{text}\n".encode())
        order = modules(arguments.kernel, arguments.module)
        for module in order:
            archive.write(f"/lab/{module.name}", module.read_bytes())
        archive.write("/lab/modules", "".join(f"{module.name}\n" for module in order).encode())
        archive.end()


if __name__ == "__main__":
    main()
