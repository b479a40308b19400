"""What an operator can get wrong: one clear line with the cause and the remedy, and nothing left behind."""

import signal
import subprocess
from pathlib import Path

import harness
from harness import HUGE_PAGES, MIB, START_SECONDS, Case, Namespace, make_file, run

NOBODY = 65534


class Mistakes(Case):
    """Each runs the server with one thing wrong."""

    def setUp(self):
        super().setUp()
        self.namespace = Namespace()
        self.addCleanup(self.namespace.delete)

    def files(self):
        """What DPDK could leave: files in its run-time folder and in huge page file systems."""
        places = [Path("/var/run/dpdk")]
        for line in Path("/proc/mounts").read_text().splitlines():
            _, place, kind, *_ = line.split()
            places += [Path(place)] if kind == "hugetlbfs" else []
        return {str(file) for place in places if place.is_dir() for file in place.rglob("*")}

    def refused(self, *arguments, status=1, mentions=(), prefix=(), program="httpd"):
        """Runs the program, which must end with `status` and one line that has the cause and the remedy."""
        links, files = self.namespace.links(), self.files()
        command = self.namespace.command([*prefix, harness.programs / program, *arguments])
        # Files, not pipes: what it may have left running cannot hold this test up.
        out_file, errors_file = self.folder / "out.txt", self.folder / "errors.txt"
        with open(out_file, "w") as out, open(errors_file, "w") as err:
            done = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, preexec_fn=harness.die_with_parent, cwd=self.folder
            )
            try:
                done.wait(START_SECONDS)
            except subprocess.TimeoutExpired:
                done.kill()
                done.wait()
        errors = errors_file.read_text(errors="replace")
        said = f"it said: {out_file.read_text(errors='replace')}{errors}"
        self.assertNotEqual(done.returncode, -signal.SIGKILL, f"it ran on as if nothing was wrong; {said}")
        self.assertEqual(done.returncode, status, said)
        self.assertNotIn("panicked", errors)
        if status == 1:
            lines = errors.strip().splitlines()
            self.assertEqual(len(lines), 1, f"one line is enough; {said}")
            self.assertRegex(lines[0], rf"^{program}: .{{10,}}[;:,] .{{10,}}", "the cause, then the remedy")
            self.note(lines[0])
        else:
            self.note(errors.strip().splitlines()[0])
        for word in mentions:
            self.assertIn(word.lower(), errors.lower())
        self.assertEqual(self.namespace.links(), links, "interfaces left behind")
        self.assertEqual(self.files() - files, set(), "files left behind")
        self.assertEqual(self.namespace.processes(), [], "processes left behind")

    def options(self, device, *more, huge_pages=HUGE_PAGES, root=None):
        """All that is needed, with one thing to get wrong."""
        options = ["--device", device, "--address", "10.77.0.2/24", "--root", root or self.site, *more]
        return options if huge_pages else [*options, "--no-huge"]

    def test_no_device(self):
        """No device is named: clap tells."""
        self.refused("--address", "10.77.0.2/24", status=2, mentions=["--device"])

    def test_no_address(self):
        """No address is named: clap tells."""
        self.refused("--device", "tap:t0", status=2, mentions=["--address"])

    def test_bad_option(self):
        """An option that there is not."""
        self.refused(*self.options("tap:t0", "--frobnicate"), status=2, mentions=["--frobnicate"])

    def test_bad_values(self):
        """Values that are none."""
        values = {"--port": ["99999"], "--faults": ["loss=many", "colour=red"], "--mtu": ["many"], "--vlan": ["0", "4095"]}
        for option, value in ((option, value) for option, some in values.items() for value in some):
            with self.subTest(f"{option} {value}"):
                self.refused(*self.options("tap:t0", option, value), status=2, mentions=[option])

    def test_bad_address(self):
        """An address without a prefix length, and one that is none."""
        for address in ("10.77.0.2", "10.77.0/24", "10.77.0.2/33", "somewhere"):
            with self.subTest(address):
                self.refused("--device", "tap:t0", "--address", address, "--no-huge", status=2, mentions=["--address"])

    def test_bad_device_words(self):
        """A device of a kind that there is not."""
        for device in ("tap", "tap:", "socket:x", "af_packet:", "pcap:only-one", "00:zz.0", ""):
            with self.subTest(device):
                self.refused(*self.options(device), status=2, mentions=["--device"])

    def test_unknown_interface(self):
        """AF_PACKET on an interface that there is not."""
        self.refused(*self.options("af_packet:nosuch0"), mentions=["nosuch0"])

    def test_unknown_pci_address(self):
        """A PCI address where no device is."""
        self.refused(*self.options("0000:ff:1f.7"), mentions=["0000:ff:1f.7"])

    def test_unknown_driver(self):
        """DPDK's own words, of a driver that it has not."""
        self.refused(*self.options("vdev:net_nosuch0"), mentions=["net_nosuch0"])

    def test_tap_name_taken(self):
        """The TAP device is there already; it is not touched."""
        run("ip", "-n", self.namespace.name, "tuntap", "add", "taken0", "mode", "tap")
        self.refused(*self.options("tap:taken0"), mentions=["taken0"])

    def test_tap_name_too_long(self):
        """A name longer than Linux takes, which must not be cut short."""
        self.refused(*self.options("tap:averyveryverylongname"), status=2, mentions=["averyveryverylongname"])

    def test_no_site(self):
        """The folder to serve is missing."""
        self.refused(*self.options("tap:t0", root=self.folder / "missing"), mentions=["missing", "--root"])

    def test_site_is_a_file(self):
        """The folder to serve is a file."""
        self.refused(*self.options("tap:t0", root=self.site / "index.html"), mentions=["index.html", "--root"])

    def test_pool_far_too_small(self):
        """A receive pool that no device could work with."""
        self.refused(*self.options("tap:t0", "--receive-frames", 8), mentions=["receive frames", "at least"])

    def test_pool_too_small(self):
        """A receive pool that the descriptors alone would empty: fewer are used, and every byte is served."""
        sha256 = make_file(self.site / "file", 10 * MIB)
        server = self.httpd("--descriptors", 512, "--receive-frames", 256, network=self.network("net_tap"))
        self.fetch(server, "/file", sha256, 10 * MIB)
        server.settle()

    def test_no_permission(self):
        """A user without rights: told which right is missing, not given a riddle."""
        prefix = ["setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]
        self.refused(*self.options("tap:t0", huge_pages=False), prefix=prefix, mentions=["root"])

    def with_huge_pages(self, count):
        """What to put before a command so that it sees so many huge pages, whatever the machine has."""
        folder = self.folder / "hugepages"
        (folder / "hugepages-2048kB").mkdir(parents=True)
        for name in ("nr_hugepages", "free_hugepages", "resv_hugepages", "surplus_hugepages"):
            (folder / "hugepages-2048kB" / name).write_text(f"{count if name[0] in 'nf' else 0}\n")
        return ["unshare", "-m", "sh", "-c", f'mount --bind {folder} /sys/kernel/mm/hugepages && exec "$@"', "sh"]

    def test_no_huge_pages(self):
        """A machine without huge pages, and no --no-huge: the line says how to get them and how to do without."""
        prefix = self.with_huge_pages(0)
        self.refused(*self.options("tap:t0", huge_pages=True), prefix=prefix, mentions=["huge", "--no-huge"])

    def test_too_few_huge_pages(self):
        """A machine with three huge pages: the line says how to get more and how to do without."""
        prefix = self.with_huge_pages(3)
        self.refused(*self.options("tap:t0", huge_pages=True), prefix=prefix, mentions=["huge", "--no-huge"])

    def test_more_memory_than_there_is(self):
        """DPDK told to take a TiB: the line says how much there is."""
        if not HUGE_PAGES:
            self.skipTest("no huge pages here")
        self.refused("-m", 1 << 20, "--", *self.options("tap:t0", huge_pages=True), mentions=["memory", "available"])

    def test_bad_eal_argument(self):
        """An argument for DPDK that DPDK does not know."""
        self.refused("--no-such-argument", "--", *self.options("tap:t0"), mentions=["--no-such-argument"])

    def test_bad_eal_value(self):
        """Arguments that DPDK knows, with values that it cannot use: a core and a driver that there are not."""
        for argument, value, named in (("-l", "120", "lcore 120"), ("--vdev", "net_nosuch0", "net_nosuch0")):
            with self.subTest(f"{argument} {value}"):
                self.refused(argument, value, "--", *self.options("tap:t0"), mentions=[named])

    def test_core_that_is_not(self):
        """A lane pinned to a core that this machine has not, and to one that no machine has."""
        self.refused(*self.options("tap:t0", "--core", 1000), mentions=["core 1000"])
        self.refused(*self.options("tap:t0", "--core", 65535), mentions=["core 65535"])
        self.refused(*self.options("tap:t0", "--core", 65536), status=2, mentions=["--core"])

    def test_gateway_out_of_reach(self):
        """A gateway that is on no network of the lane, and one that is no address."""
        self.refused(*self.options("tap:t0", "--gateway", "10.78.0.1"), mentions=["10.78.0.1"])
        self.refused(*self.options("tap:t0", "--gateway", "router"), status=2, mentions=["--gateway"])

    def test_port_of_host_is_free(self):
        """Two servers beside each other, each in its namespace, do not disturb each other."""
        first, second = self.httpd(), self.httpd()
        for server in (first, second):
            self.assertEqual(self.download(server, "/").status, 0)

    def test_echo_too(self):
        """The echo example tells of its mistakes in the same manner."""
        options = ["--device", "af_packet:nosuch0", "--address", "10.77.0.2/24"]
        self.refused(*options, *([] if HUGE_PAGES else ["--no-huge"]), program="echo", mentions=["nosuch0"])


class Interfaces(Case):
    """Interfaces that go away while they are used."""

    def test_interface_goes(self):
        """The interface under AF_PACKET is deleted while a client is served: no crash, no spin, an orderly end."""
        network = self.network("veth")
        server = self.httpd(network=network, check_end=False)
        self.assertEqual(self.download(server, "/").status, 0)
        run("ip", "-n", network.host.name, "link", "del", network.host.name)
        self.assertTrue(server.is_running(), server.errors())
        self.assertEqual(server.end(signal.SIGTERM), 0, server.errors())
        self.assertNotIn("panicked", server.errors())
