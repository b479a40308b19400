//! The doctor on made-up hosts: each is a folder with the files of `/sys`, `/proc`, `/dev` and `/usr` that count.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Finding, Question, Report, Root, Verdict, examine};

/// A host's files, gone with the test.
struct Host(PathBuf);

impl Drop for Host {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const HUGE: &str = "sys/kernel/mm/hugepages/hugepages-2048kB";
const ROOT_STATUS: &str =
    "Uid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nGroups:\t0\nCapEff:\t000001ffffffffff\nCpus_allowed_list:\t0-7\n";
const USER_STATUS: &str = "Uid:\t1000\t1000\t1000\t1000\nGid:\t1000\t1000\t1000\t1000\nGroups:\t1000\nCapEff:\t0000000000000000\nCpus_allowed_list:\t0-7\n";
const ROUTES: &str = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
     eno1\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
     ens1\t00004D0A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";

impl Host {
    fn empty() -> Host {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("corelane-doctor-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Host(folder)
    }

    fn file(&self, path: &str, text: &str) -> &Host {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn link(&self, path: &str, target: &str) -> &Host {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _ = fs::remove_file(&path);
        symlink(target, path).unwrap();
        self
    }

    fn mode(&self, path: &str, mode: u32) -> &Host {
        fs::set_permissions(self.0.join(path), fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    fn gone(&self, path: &str) -> &Host {
        let path = self.0.join(path);
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap()
        } else {
            fs::remove_file(path).unwrap()
        }
        self
    }

    /// An Ethernet device in an IOMMU group of its own, if there is an IOMMU.
    fn nic(&self, address: &str, id: (&str, &str), driver: Option<&str>, interface: Option<&str>) -> &Host {
        let folder = format!("sys/bus/pci/devices/{address}");
        self.file(&format!("{folder}/class"), "0x020000\n")
            .file(&format!("{folder}/vendor"), id.0)
            .file(&format!("{folder}/device"), id.1)
            .file(&format!("{folder}/numa_node"), "0\n");
        if let Some(driver) = driver {
            self.link(&format!("{folder}/driver"), &format!("../../drivers/{driver}"));
        }
        if let Some(name) = interface {
            self.file(&format!("{folder}/net/{name}/mtu"), "1500\n")
                .file(&format!("sys/class/net/{name}/mtu"), "1500\n");
        }
        self
    }

    fn group(&self, address: &str, number: &str) -> &Host {
        let group = format!("sys/kernel/iommu_groups/{number}/devices/{address}");
        self.file(&group, "").link(
            &format!("sys/bus/pci/devices/{address}/iommu_group"),
            &format!("../../../../kernel/iommu_groups/{number}"),
        )
    }

    /// What any machine of today has: eight cores of one node, two threads each, an on-board NIC with the session.
    fn fresh() -> Host {
        let host = Host::empty();
        host.file("proc/cmdline", "BOOT_IMAGE=/vmlinuz root=/dev/sda1 ro quiet\n")
            .file("proc/cpuinfo", "vendor_id\t: GenuineIntel\n")
            .file("proc/meminfo", "Hugepagesize:       2048 kB\n")
            .file("proc/self/mounts", "hugetlbfs /dev/hugepages hugetlbfs rw,relatime,pagesize=2M 0 0\n")
            .file("proc/self/status", ROOT_STATUS)
            .file(
                "proc/self/limits",
                "Max locked memory  8388608  8388608  bytes\nMax open files  1024  4096  files\n",
            )
            .file("proc/net/route", ROUTES)
            .file(&format!("{HUGE}/nr_hugepages"), "0\n")
            .file(&format!("{HUGE}/free_hugepages"), "0\n")
            .file("sys/devices/system/cpu/online", "0-7\n")
            .file("sys/devices/system/cpu/isolated", "\n")
            .file("sys/devices/system/cpu/nohz_full", "(null)\n")
            .file("sys/devices/system/node/node0/cpulist", "0-7\n")
            .file("dev/net/tun", "")
            .nic("0000:00:1f.6", ("0x8086\n", "0x15b8\n"), Some("e1000e"), Some("eno1"));
        for core in 0..8 {
            let siblings = format!("{},{}\n", core % 4, core % 4 + 4);
            host.file(&format!("sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list"), &siblings)
                .file(&format!("sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor"), "powersave\n");
        }
        host
    }

    /// A host that is set up: an 82599 on vfio-pci, and nothing left to wish for.
    fn ready() -> Host {
        let host = Host::fresh();
        let words = "intel_iommu=on iommu=pt isolcpus=2,3,6,7 nohz_full=2,3,6,7";
        host.file("proc/cmdline", &format!("root=/dev/sda1 {words}\n"))
            .file("sys/devices/system/cpu/isolated", "2-3,6-7\n")
            .file("sys/devices/system/cpu/nohz_full", "2-3,6-7\n")
            .file(&format!("{HUGE}/nr_hugepages"), "512\n")
            .file(&format!("{HUGE}/free_hugepages"), "500\n")
            .file("sys/class/iommu/dmar0/x", "")
            .file("sys/bus/pci/drivers/vfio-pci/bind", "")
            .file("sys/module/vfio_iommu_type1/refcnt", "1\n")
            .file("dev/vfio/vfio", "")
            .file("dev/vfio/17", "")
            .file("usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_ixgbe.so.23.0", "")
            .file("usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_tap.so.23.0", "")
            .nic("0000:01:00.0", ("0x8086\n", "0x10fb\n"), Some("vfio-pci"), None)
            .group("0000:01:00.0", "17");
        for core in 0..8 {
            host.file(&format!("sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor"), "performance\n");
        }
        host
    }

    fn asked(&self, device: Option<&str>) -> Report {
        let device = device.map(|name| name.parse().unwrap());
        let ssh = Some("192.0.2.7 50000 192.0.2.2 22".to_owned());
        let report = examine(&Root::new(&self.0), &Question { device, ssh, dpdk: "22.11.11".to_owned() });
        for Finding { area, verdict, text, mend } in &report.findings {
            assert_eq!(*verdict != Verdict::Ok, mend.is_some(), "{area}: {text}");
            assert!(!text.contains('\n') && !mend.as_deref().unwrap_or("x").contains('\n'), "{area}: {text}");
        }
        report
    }
}

/// The worst finding of an area.
fn found<'a>(report: &'a Report, area: &str) -> &'a Finding {
    let of_area = || report.findings.iter().filter(|finding| finding.area == area);
    of_area().max_by_key(|finding| finding.verdict).unwrap_or_else(|| panic!("nothing about {area}"))
}

/// The worst finding of an area is of this verdict, and it or one as bad has this command.
fn mends(report: &Report, area: &str, verdict: Verdict, command: &str) {
    assert_eq!(found(report, area).verdict, verdict, "{:?}", found(report, area));
    let as_bad = report.findings.iter().filter(|it| it.area == area && it.verdict == verdict);
    let commands: Vec<&str> = as_bad.filter_map(|it| it.mend.as_deref()).collect();
    assert!(commands.iter().any(|it| it.contains(command)), "{command} is not among {commands:?}");
}

#[test]
fn a_host_that_is_ready_has_nothing_to_mend() {
    // Shows that no check finds fault with a host set up as the guide says, asked in general and about its NIC.
    for device in [None, Some("01:00.0"), Some("tap:lane0"), Some("null")] {
        let report = Host::ready().asked(device);
        let bad: Vec<&Finding> = report.findings.iter().filter(|it| it.verdict != Verdict::Ok).collect();
        assert!(bad.is_empty(), "{device:?}: {bad:?}");
    }
    let report = Host::ready().asked(None);
    let text = report.text(false);
    assert!(text.contains("Intel 82599 (X520) [8086:10fb], node 0, IOMMU group 17: on vfio-pci"), "{text}");
    assert!(text.contains("2-3,6-7 are isolated: --core 2,3,6,7"), "{text}");
    assert!(text.contains("goes over eno1 (0000:00:1f.6): never bind"), "{text}");
    assert!(!text.contains('\x1b') && report.text(true).contains("\x1b[32mok"));
}

#[test]
fn a_fresh_debian_is_told_what_to_install_and_set_up() {
    // Shows each step of the guide as a finding with its command, and which are necessary.
    let report = Host::fresh().asked(None);
    mends(&report, "DPDK", Verdict::Wrong, "apt install dpdk");
    mends(&report, "huge pages", Verdict::Wrong, "echo 512 > /sys/kernel/mm/hugepages");
    mends(&report, "IOMMU", Verdict::Warning, "intel_iommu=on iommu=pt");
    mends(&report, "VFIO", Verdict::Warning, "modprobe vfio-pci");
    mends(&report, "devices", Verdict::Warning, "dpdk-devbind.py --status-dev net");
    mends(&report, "cores", Verdict::Warning, "isolcpus=1-2 nohz_full=1-2 rcu_nocbs=1-2");
    assert!(report.text(false).contains("is set by `powersave`"));
    assert_eq!(report.verdict(), Verdict::Wrong);
    // Virtual devices do without huge pages.
    mends(&Host::fresh().asked(Some("tap:lane0")), "huge pages", Verdict::Warning, "echo 512");
}

#[test]
fn an_x710_without_an_iommu_cannot_be_used() {
    // Shows the IOMMU's three states: not asked for, asked for and off in the firmware, and done without.
    let host = Host::ready();
    host.gone("sys/class/iommu/dmar0")
        .gone("sys/bus/pci/devices/0000:01:00.0")
        .nic("0000:02:00.0", ("0x8086\n", "0x1572\n"), Some("i40e"), Some("ens2"))
        .file("usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_i40e.so.23.0", "");
    mends(&host.asked(None), "IOMMU", Verdict::Wrong, "systemctl reboot --firmware-setup");
    mends(&host.asked(None), "devices", Verdict::Warning, "ip link set ens2 down && dpdk-devbind.py");
    mends(&host.asked(Some("0000:02:00.0")), "devices", Verdict::Wrong, "--bind=vfio-pci 0000:02:00.0");
    host.file("proc/cmdline", "root=/dev/sda1\n");
    mends(&host.asked(None), "IOMMU", Verdict::Wrong, "intel_iommu=on");
    host.file("sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "Y\n");
    mends(&host.asked(None), "IOMMU", Verdict::Warning, "intel_iommu=on");
}

#[test]
fn a_container_without_rights_is_told_which_it_needs() {
    // Shows denied files, missing capabilities and a small limit, each wrong only for devices that need it.
    let host = Host::ready();
    host.file("proc/self/status", USER_STATUS).mode("dev/vfio/17", 0o600).mode("dev/vfio/vfio", 0o666);
    host.mode("dev/net/tun", 0o600);
    if fs::metadata(host.0.join("dev/net/tun"))
        .is_ok_and(|file| std::os::unix::fs::MetadataExt::uid(&file) == 1000)
    {
        host.file("proc/self/status", &USER_STATUS.replace("1000", "1001"));
    }
    let nic = host.asked(Some("01:00.0"));
    mends(&nic, "VFIO", Verdict::Wrong, "/dev/vfio/17");
    mends(&nic, "limits", Verdict::Wrong, "memlock=unlimited");
    let tap = host.asked(Some("tap:lane0"));
    mends(&tap, "TAP", Verdict::Wrong, "chmod 0666 /dev/net/tun");
    mends(&tap, "rights", Verdict::Wrong, "cap_net_admin+ep");
    assert_eq!(found(&tap, "limits").verdict, Verdict::Ok);
    assert_eq!(host.asked(Some("null")).verdict(), Verdict::Ok);
    mends(&host.asked(None), "rights", Verdict::Warning, "cap_net_admin,cap_net_raw,cap_ipc_lock+ep");
    host.gone("dev/vfio").gone("dev/net");
    mends(&host.asked(Some("01:00.0")), "VFIO", Verdict::Wrong, "modprobe vfio-pci");
    mends(&host.asked(Some("tap:lane0")), "TAP", Verdict::Wrong, "modprobe tun");
}

#[test]
fn the_port_of_the_session_is_never_to_be_bound() {
    // Shows a session found by the environment, by connections to port 22, and below a VLAN on a bond.
    let host = Host::ready();
    host.nic("0000:02:00.0", ("0x8086\n", "0x10fb\n"), Some("ixgbe"), Some("ens1"))
        .file("sys/bus/pci/devices/0000:02:00.0/sriov_totalvfs", "63\n");
    let ask = |ssh: Option<&str>| {
        let question = Question {
            device: Some("02:00.0".parse().unwrap()),
            ssh: ssh.map(str::to_owned),
            dpdk: "22.11.11".to_owned(),
        };
        examine(&Root::new(&host.0), &question)
    };
    assert_eq!(found(&ask(None), "ssh").verdict, Verdict::Ok);
    mends(&ask(Some("10.77.0.9 5000 10.77.0.2 22")), "ssh", Verdict::Wrong, "sriov_numvfs");
    mends(&ask(Some("10.77.0.9 5000 10.77.0.2 22")), "devices", Verdict::Wrong, "sriov_numvfs");
    // 10.77.0.9, as it lies in the memory of this processor.
    let head = "  sl  local_address rem_address   st\n";
    host.file("proc/net/tcp", &format!("{head}   0: 02004D0A:0016 09004D0A:C350 01 0:0\n"));
    mends(&ask(None), "ssh", Verdict::Wrong, "sriov_numvfs");
    // A connection that has ended, and one from here to another host's ssh server.
    host.file(
        "proc/net/tcp",
        &format!(
            "{head}   0: 02004D0A:0016 09004D0A:C350 06 0:0\n   1: 02004D0A:C350 09004D0A:0016 01 0:0\n"
        ),
    );
    assert_eq!(found(&ask(None), "ssh").verdict, Verdict::Ok);
    host.file("proc/net/tcp6", &format!("{head}   0: 0:0016 0000000000000000FFFF000009004D0A:C350 01 0:0\n"));
    mends(&ask(None), "ssh", Verdict::Wrong, "sriov_numvfs");
    host.file("proc/net/route", &ROUTES.replace("ens1", "bond0.7"))
        .file("sys/class/net/bond0.7/lower_bond0", "")
        .file("sys/class/net/bond0/lower_ens1", "");
    mends(&ask(None), "ssh", Verdict::Wrong, "sriov_numvfs");
    host.gone("proc/net/tcp6").file(
        "proc/net/ipv6_route",
        "20010db8000000000000000000000000 20 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 1 0 1 ens1\n",
    );
    mends(&ask(Some("2001:db8::9 5000 2001:db8::2 22")), "ssh", Verdict::Wrong, "sriov_numvfs");
    assert_eq!(found(&ask(Some("2001:db9::9 5000 2001:db8::2 22")), "ssh").verdict, Verdict::Ok);
}

#[test]
fn memory_and_cores_of_another_node_are_noticed() {
    // Shows a NIC on a node without huge pages and without isolated cores, and the commands for that very node.
    let host = Host::ready();
    host.file("sys/devices/system/node/node0/cpulist", "0-3\n")
        .file("sys/devices/system/node/node1/cpulist", "4-7\n")
        .file("sys/bus/pci/devices/0000:01:00.0/numa_node", "1\n")
        .file("sys/devices/system/cpu/isolated", "2-3\n");
    for (node, pages) in [(0, "512"), (1, "0")] {
        let folder = format!("sys/devices/system/node/node{node}/hugepages/hugepages-2048kB");
        host.file(&format!("{folder}/nr_hugepages"), pages).file(&format!("{folder}/free_hugepages"), pages);
    }
    let report = host.asked(None);
    mends(&report, "huge pages", Verdict::Wrong, "node1/hugepages/hugepages-2048kB/nr_hugepages");
    mends(&report, "NUMA", Verdict::Warning, "isolcpus=4-5");
    assert!(report.text(false).contains("node 0: 512 of 512 free, node 1: 0 of 0 free"));
    // Their second threads are not isolated.
    mends(&report, "cores", Verdict::Warning, "/online");
    host.file("proc/self/status", &ROOT_STATUS.replace("0-7", "0-3"));
    mends(&host.asked(None), "NUMA", Verdict::Warning, "taskset -cp 4-7");
}

#[test]
fn what_is_half_set_up_is_told_apart() {
    // Shows each a single fault of a host that is ready otherwise.
    let one = |area, verdict, command: &str, device, change: &dyn Fn(&Host)| {
        let host = Host::ready();
        change(&host);
        mends(&host.asked(device), area, verdict, command);
    };
    use Verdict::{Warning, Wrong};
    let pages = |host: &Host| {
        host.file(&format!("{HUGE}/free_hugepages"), "0\n");
    };
    one("huge pages", Wrong, "echo 768", None, &pages);
    let mount = |host: &Host| {
        host.file("proc/self/mounts", "proc /proc proc rw 0 0\n");
    };
    one("huge pages", Warning, "mount -t hugetlbfs", None, &mount);
    let plugin = "usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_ixgbe.so.23.0";
    one("DPDK", Wrong, "librte-net-ixgbe23", None, &|host| {
        host.gone(plugin);
    });
    let module = |host: &Host| {
        host.gone("sys/module/vfio_iommu_type1");
    };
    one("VFIO", Wrong, "modprobe vfio_iommu_type1", None, &module);
    let words = "root=/dev/sda1 intel_iommu=on nohz_full=2,3,6,7\n";
    one("IOMMU", Warning, "iommu=pt", None, &|host| {
        host.file("proc/cmdline", words);
    });
    let ticks = |host: &Host| {
        host.file("sys/devices/system/cpu/nohz_full", "(null)\n");
    };
    one("cores", Warning, "nohz_full=2-3,6-7", None, &ticks);
    one("devices", Wrong, "dpdk-devbind.py --status-dev", Some("05:00.0"), &|_| ());
    one("interface", Wrong, "ip -br link", Some("af_packet:ens9"), &|_| ());
    one("interface", Wrong, "choose another", Some("af_packet:eno1"), &|_| ());
    one("DPDK", Wrong, "librte-net-af-xdp23", Some("af_xdp:eno1"), &|_| ());
    let other = "usr/lib/x86_64-linux-gnu/dpdk/pmds-24.0/librte_net_ixgbe.so.24.0";
    let newer = |host: &Host| {
        host.gone("usr").file(other, "");
    };
    one("DPDK", Wrong, "--reinstall", None, &newer);
    let uio = |host: &Host| {
        host.link("sys/bus/pci/devices/0000:01:00.0/driver", "../igb_uio");
    };
    one("devices", Warning, "--bind=vfio-pci 0000:01:00.0", None, &uio);
    let shared = |host: &Host| {
        host.nic("0000:01:00.1", ("0x8086\n", "0x10fb\n"), Some("ixgbe"), Some("ens3"))
            .group("0000:01:00.1", "17");
    };
    one("devices", Wrong, "--bind=vfio-pci 0000:01:00.1", None, &shared);
    let files = |host: &Host| {
        host.file("proc/self/limits", "Max open files  256  4096  files\n");
    };
    one("limits", Warning, "ulimit -n", None, &files);
}

#[test]
fn nothing_at_all_to_read_is_no_panic() {
    // Shows that a host whose files are missing, or hold nonsense, is judged all the same.
    let host = Host::empty();
    assert_eq!(host.asked(None).verdict(), Verdict::Wrong);
    let ready = Host::ready();
    let mut folders = vec![ready.0.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                fs::write(entry.path(), b"\xff-,:4294967295-0x\n99999999999999999999 1-4294967295").unwrap();
            }
        }
    }
    for device in [None, Some("01:00.0"), Some("tap:lane0"), Some("af_xdp:eno1")] {
        let report = ready.asked(device);
        assert!(!report.findings.is_empty());
    }
}

#[test]
fn json_has_all_that_the_text_has() {
    // Shows the keys that programs rely on.
    let report = Host::ready().asked(Some("01:00.0"));
    let json = report.json();
    assert_eq!((&json["device"], &json["verdict"]), (&"0000:01:00.0".into(), &"ok".into()));
    assert_eq!(json["findings"].as_array().map(Vec::len), Some(report.findings.len()));
    let nic = &json["ethernet"][1];
    assert_eq!(nic["name"], "Intel 82599 (X520)");
    assert_eq!((&nic["dpdk_driver"], &nic["driver"]), (&"net_ixgbe".into(), &"vfio-pci".into()));
    assert_eq!((&nic["node"], &nic["iommu_group"]), (&0.into(), &"17".into()));
    assert_eq!(json["ethernet"][0]["ssh"], true);
}
