"""What the README tells a user to type exists."""

import re
import subprocess
from pathlib import Path

import harness
from harness import Case

REPOSITORY = Path(__file__).resolve().parents[2]


class Readme(Case):
    """The README against the programs."""

    def test_options(self):
        """Each option in the README is in the help of one of our programs or commands."""
        commands = [[harness.programs / name] for name in ("httpd", "echo", "loadgen")]
        commands += [[harness.programs / "corelane", "doctor"]]
        commands += [[REPOSITORY / "ci" / name] for name in ("bench", "lab", "serve", "test")]
        helps = "".join(subprocess.run([*words, "--help"], capture_output=True, text=True).stdout for words in commands)
        known = set(re.findall(r"--[a-z][a-z_-]+", helps))
        # cargo's, meson's, valgrind's, and packetdrill's.
        known |= {"--example", "--features", "--no-default-features", "--release", "--test"}
        known |= {"--default-library", "--tool", "--so_filename", "--so_flags"}
        named = set(re.findall(r"(?<![\w-])--[a-z][a-z_-]+", (REPOSITORY / "README.md").read_text()))
        self.assertGreater(len(named), 5)
        self.assertEqual(named - known, set(), "options that there are not")

    def test_files(self):
        """Each folder and file that the README names is there."""
        named = re.findall(r"`([a-z][\w.-]*/[\w./-]*)`", (REPOSITORY / "README.md").read_text())
        self.assertGreater(len(named), 5)
        missing = [name for name in named if not name.startswith("target/") and not (REPOSITORY / name).exists()]
        self.assertEqual(missing, [])
