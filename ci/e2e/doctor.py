"""`corelane doctor` on this machine, and what is in `packaging/`: the units, and the container's recipe.

The doctor on other machines, made up, is tested beside its code. No container is built here.
"""

import json
import re
import shutil
import subprocess
import time

import harness
from harness import START_SECONDS, Case, run

REPOSITORY = harness.Path(__file__).resolve().parents[2]
PACKAGING = REPOSITORY / "packaging"
LAB = REPOSITORY / "ci" / "lab"
NOBODY = 65534


class Doctor(Case):
    """What it says of the machine that these tests run on, where programs of ours do run."""

    def doctor(self, *arguments, prefix=()):
        """Runs it. Returns its exit status and standard output; there is nothing on standard error."""
        command = [str(word) for word in (*prefix, harness.programs / "corelane", "doctor", *arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=START_SECONDS)
        self.assertEqual(done.stderr, "")
        return done.returncode, done.stdout

    def report(self, *arguments, **more):
        """The same as JSON, with the shape that it promises, and the status that goes with it."""
        status, text = self.doctor("--json", *arguments, **more)
        report = json.loads(text)
        self.assertLessEqual({"device", "verdict", "findings", "ethernet"}, report.keys())
        for finding in report["findings"]:
            self.assertEqual(finding.keys(), {"area", "verdict", "text", "mend"})
            self.assertIn(finding["verdict"], ("ok", "warning", "wrong"))
            self.assertEqual(finding["mend"] is None, finding["verdict"] == "ok", finding)
            self.assertNotIn("\n", finding["text"] + (finding["mend"] or ""))
        for device in report["ethernet"]:
            self.assertRegex(device["address"], r"^[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$")
            self.assertRegex(device["vendor"] + device["device"], r"^[0-9a-f]{8}$")
        verdicts = [finding["verdict"] for finding in report["findings"]]
        worst = max(verdicts, key=("ok", "warning", "wrong").index)
        self.assertEqual(report["verdict"], worst)
        self.assertEqual(status, int(worst == "wrong"), report["findings"])
        return report

    def wrong(self, report):
        return {finding["area"] for finding in report["findings"] if finding["verdict"] == "wrong"}

    def test_virtual_devices(self):
        """Devices that these tests use all the time are found usable, by root; in general, too, something is said."""
        for device in ("tap:e2e0", "null", "ring"):
            self.assertEqual(self.wrong(self.report("--device", device)), set(), device)
        report = self.report()
        self.assertEqual(report["device"], None)
        areas = {finding["area"] for finding in report["findings"]}
        expected = "DPDK, huge pages, IOMMU, VFIO, ssh, devices, NUMA, cores, limits, rights, TAP"
        self.assertLessEqual(set(expected.split(", ")), areas)
        self.note(", ".join(f"{finding['area']} {finding['verdict']}" for finding in report["findings"]))

    def test_missing_devices(self):
        """A NIC and an interface that are not there are wrong, and the status says so."""
        self.assertIn("devices", self.wrong(self.report("--device", "fff0:1f:1f.7")))
        self.assertEqual(self.wrong(self.report("--device", "af_packet:e2e-nowhere")), {"interface"})

    def test_rights(self):
        """A user without rights is told which a TAP takes, and that null takes none."""
        user = ("setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--bounding-set=-all", "--inh-caps=-all")
        self.assertEqual(self.wrong(self.report("--device", "tap:e2e0", prefix=user)), {"rights"})
        self.assertEqual(self.wrong(self.report("--device", "null", prefix=user)), set())

    def test_text(self):
        """The text has the findings of the JSON, no colours where there is no terminal, and a sum."""
        status, text = self.doctor("--device", "null")
        self.assertEqual(status, 0)
        self.assertNotIn("\x1b", text)
        for finding in self.report("--device", "null")["findings"]:
            # How many pages are free can change in between.
            if finding["area"] != "huge pages":
                self.assertIn(f"{finding['verdict']:7}  {finding['text']}", text)
        self.assertRegex(text.splitlines()[-1], r"^0 wrong, \d+ warnings?, \d+ ok$")

    def test_made_up_machine(self):
        """All is read below the folder that is named: an empty one has nothing that is needed."""
        report = self.report("--sys", self.folder)
        self.assertLessEqual({"DPDK", "huge pages"}, self.wrong(report))
        self.assertEqual(report["ethernet"], [])

    def test_bad_options(self):
        """What is no device is refused as the programs refuse it."""
        done = subprocess.run([harness.programs / "corelane", "doctor", "--device", "eth0"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 2)
        self.assertIn("`eth0` is no device", done.stderr)


class InTheLab(Case):
    """The doctor where there is an Intel port on VFIO behind an IOMMU, though an emulated one."""

    def test_ready(self):
        """It knows the port, finds it ready, and nothing wrong; httpd in the same guest is tested in `lab.py`."""
        command = [LAB, "--", harness.programs / "corelane", "doctor", "--json", "--device", "0000:00:04.0"]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=self.folder)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        report = json.loads(done.stdout)
        nic = next(nic for nic in report["ethernet"] if nic["address"] == "0000:00:04.0")
        self.assertEqual((nic["name"], nic["dpdk_driver"], nic["driver"]), ("Intel 82576", "net_e1000_igb", "vfio-pci"))
        self.assertIsNotNone(nic["iommu_group"])
        verdicts = {finding["area"]: finding["verdict"] for finding in report["findings"]}
        for area in ("DPDK", "huge pages", "VFIO", "devices", "rights"):
            self.assertEqual(verdicts[area], "ok", report["findings"])
        self.assertRegex(str(report["findings"]), r"on \(1 unit\)")


def unit(name):
    """Keys and values of a unit's file. A key may come several times."""
    text = (PACKAGING / "systemd" / name).read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and line[0] not in "#;["]
    keys = {}
    for line in lines:
        key, value = line.split("=", 1)
        keys.setdefault(key, []).append(value)
    return keys


class Packaging(Case):
    """Files that no other test would miss."""

    def test_units(self):
        """systemd takes both units without a complaint but for the programs' place, and all rights are bounded."""
        httpd = unit("corelane-httpd.service")
        self.assertEqual(httpd["AmbientCapabilities"], httpd["CapabilityBoundingSet"])
        self.assertEqual((httpd["Restart"], httpd["LimitMEMLOCK"]), (["on-failure"], ["infinity"]))
        self.assertIn("-HUP $MAINPID", httpd["ExecReload"][0])
        # As systemd hands it to the shell. Fewer pages than there are is no change, so this does none.
        pages = unit("corelane-hugepages.service")["ExecStart"][0].replace("$$", "$")
        if harness.HUGE_PAGES:
            run("env", "PAGES=1", "bash", "-c", pages)
        if not shutil.which("systemd-analyze"):
            self.skipTest("no systemd-analyze here")
        for name in ("corelane-httpd.service", "corelane-hugepages.service"):
            text = (PACKAGING / "systemd" / name).read_text()
            copy = self.folder / name
            copy.write_text(text.replace("/usr/local/bin/", f"{harness.programs}/"))
        for name in ("corelane-hugepages.service", "corelane-httpd.service"):
            command = ["systemd-analyze", "verify", self.folder / name]
            done = subprocess.run(command, capture_output=True, text=True, cwd=self.folder)
            # systemd complains of units of the machine's own, too.
            ours = [line for line in done.stderr.splitlines() if "corelane" in line]
            self.assertEqual(ours, [])

    def test_unit_rights(self):
        """The rights that the unit gives are enough to serve on a TAP as a user who has no others."""
        names = [name.removeprefix("CAP_").lower() for name in unit("corelane-httpd.service")["AmbientCapabilities"][0].split()]
        given = ",".join(f"+{name}" for name in names)
        user = ("setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--no-new-privs")
        rights = (f"--bounding-set=-all,{given}", f"--inh-caps=-all,{given}", f"--ambient-caps=-all,{given}")
        namespace = harness.Namespace()
        self.addCleanup(namespace.delete)
        server = subprocess.Popen(
            namespace.command([*user, *rights, harness.programs / "httpd", "--device", "tap:unit0", "--address", "10.77.0.2/24",
                               "--root", self.site, "--no-huge", "--quiet"]),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=harness.die_with_parent,
        )
        self.addCleanup(server.stdout.close)
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        said = []
        for line in server.stdout:
            said.append(line)
            if line.startswith("httpd: serving "):
                break
        self.assertIsNone(server.poll(), said)
        for words in ("link set unit0 address 02:00:0a:4d:00:01", "address add 10.77.0.1/24 dev unit0", "link set unit0 up"):
            run("ip", "-n", namespace.name, *words.split())
        got = namespace.run("curl", "-fsS", "--retry", 5, "--retry-all-errors", "--max-time", 10, "http://10.77.0.2/")
        self.assertEqual(got.stdout, (self.site / "index.html").read_text())
        server.terminate()
        self.assertEqual(server.wait(START_SECONDS), 0)

    def test_demonstration(self):
        """The container's demonstration fetches a page in a network of its own, with one capability."""
        namespace = harness.Namespace()
        self.addCleanup(namespace.delete)
        rights = ("setpriv", "--bounding-set=-all,+net_admin", "--inh-caps=-all", "--no-new-privs")
        path = f"PATH={harness.programs}:/usr/sbin:/usr/bin:/sbin:/bin"
        began = time.monotonic()
        done = namespace.run(*rights, "env", path, PACKAGING / "corelane-demo", check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("HTTP/1.1 200 OK", done.stdout.splitlines(), done.stderr)
        self.note(f"{time.monotonic() - began:.1f} s")

    def test_container(self):
        """What the container's recipe copies is there, and all of the workspace, the programs and their libraries is."""
        text = (PACKAGING / "Containerfile").read_text().replace("\\\n", " ")
        build, final = re.split(r"^FROM .*$", text, flags=re.M)[1:]
        copied = {"build": [], "final": []}
        for name, stage in (("build", build), ("final", final)):
            for words in re.findall(r"^COPY (.*)$", stage, flags=re.M):
                sources = words.split()[:-1]
                if sources[0].startswith("--from="):
                    copied["programs"] = [harness.Path(source).name for source in sources[1:]]
                    continue
                for source in sources:
                    self.assertTrue((REPOSITORY / source).exists(), f"there is no {source} to copy")
                copied[name] += sources
        workspace = (REPOSITORY / "Cargo.toml").read_text()
        members = re.findall(r'"([^"]+)"', re.search(r"^members = \[(.*?)\]", workspace, re.M | re.S)[1])
        for member in (*members, "src"):
            self.assertIn(member.split("/")[0], copied["build"], "the build needs each member of the workspace")
        self.assertEqual(sorted(copied["programs"]), sorted(path.stem for path in (REPOSITORY / "apps/src/bin").glob("*.rs")))
        for program in copied["programs"]:
            needed = run("readelf", "-d", harness.programs / program).stdout
            for library in re.findall(r"\[librte_(\w+)\.so\.(\d+)\]", needed):
                package = f"librte-{library[0].replace('_', '-')}{library[1]}"
                self.assertRegex(final, rf"\b{package}\b", f"{program} is linked to it")
