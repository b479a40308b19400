//! What DPDK needs of the machine: huge pages, rights, interfaces, files, NICs.
//! Looked at first, so that what is missing is told in one line with its remedy instead of in DPDK's words.

use std::path::Path;
use std::{fs, io};

use crate::device::{Device, PciAddress, vdev_option};
use crate::kernel::{self, Capability, NET_ADMIN, check_capability};
use crate::setup::SetupError;
use crate::tap;

/// Linux's capability numbers (capability.h).
const NET_RAW: Capability = (13, "CAP_NET_RAW");

const SYS_ADMIN: Capability = (21, "CAP_SYS_ADMIN");
const BPF: Capability = (39, "CAP_BPF");

/// The kernel's driver that gives a NIC to a process, interrupts and all.
pub(super) const VFIO: &str = "vfio-pci";

/// Huge pages of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PageSize {
    kib: u64,
    free: u64,
}

/// Checks that `needed_mib` of huge pages are free and, if DPDK is to make files, that they are mounted.
pub(super) fn check_huge_pages(needed_mib: u64, files: bool) -> Result<(), SetupError> {
    let free_mib =
        page_sizes(Path::new("/sys/kernel/mm/hugepages")).map(|size| size.kib * size.free / 1024).sum();
    check_free(needed_mib, free_mib)?;
    if files && !is_mounted(&fs::read_to_string("/proc/mounts").unwrap_or_default()) {
        return Err(SetupError::HugePageMount);
    }
    Ok(())
}

/// Checks that DPDK can ask which modules the kernel has: without the folder it takes VFIO for broken, and gives up.
pub(super) fn check_modules(folder: &'static str) -> Result<(), SetupError> {
    if Path::new(folder).is_dir() { Ok(()) } else { Err(SetupError::NoModules { folder }) }
}

fn check_free(needed_mib: u64, free_mib: u64) -> Result<(), SetupError> {
    if free_mib >= needed_mib {
        return Ok(());
    }
    // With room to grow: pools come on top of what the EAL itself takes.
    let suggested = (needed_mib / 2).max(512).next_power_of_two();
    Err(SetupError::HugePages { needed_mib, free_mib, suggested })
}

fn page_sizes(folder: &Path) -> impl Iterator<Item = PageSize> {
    let folders = fs::read_dir(folder).into_iter().flatten().flatten();
    folders.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let kib = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
        let free = fs::read_to_string(entry.path().join("free_hugepages")).ok()?.trim().parse().ok()?;
        Some(PageSize { kib, free })
    })
}

fn is_mounted(mounts: &str) -> bool {
    mounts.lines().any(|line| {
        let mut fields = line.split(' ').skip(2);
        fields.next() == Some("hugetlbfs") && fields.next().is_some_and(|options| options.starts_with("rw"))
    })
}

/// Checks what can be checked of a device before DPDK opens it.
pub(super) fn check_device(device: &Device) -> Result<(), SetupError> {
    match device {
        Device::Tap(name) => tap::check(device, name),
        Device::AfPacket(name) => {
            check_capability(device, NET_RAW)?;
            check_there(name)
        }
        Device::AfXdp(name) => {
            // Sockets, maps and the program that steers frames to them.
            check_capability(device, NET_RAW)?;
            check_capability(device, NET_ADMIN)?;
            // Linux before 5.8 had no right of its own for it.
            check_capability(device, BPF)
                .or_else(|error| check_capability(device, SYS_ADMIN).map_err(|_| error))?;
            check_there(name)
        }
        Device::Memif { role, socket, .. } => crate::memif::check(*role, Path::new(socket)),
        Device::Pcap { input, output } => check_files(input, output),
        Device::Pci(address) => check_pci(Path::new("/sys/bus/pci/devices"), *address),
        Device::Vdev(text) => match vdev_option(text, "iface") {
            Some(name) if text.starts_with("net_tap") => tap::check(device, name),
            Some(name) if text.starts_with("net_af_") => check_there(name),
            _ => Ok(()),
        },
        Device::Null | Device::Ring => Ok(()),
    }
}

fn check_there(interface: &str) -> Result<(), SetupError> {
    if kernel::exists(interface) {
        Ok(())
    } else {
        Err(SetupError::InterfaceMissing { name: interface.to_owned() })
    }
}

fn check_files(input: &str, output: &str) -> Result<(), SetupError> {
    let failed =
        |path: &str, error: io::Error| SetupError::File { path: path.to_owned(), reason: error.to_string() };
    fs::File::open(input).map_err(|error| failed(input, error))?;
    let folder = Path::new(output).parent().filter(|folder| !folder.as_os_str().is_empty());
    fs::metadata(folder.unwrap_or(Path::new("."))).map_err(|error| failed(output, error))?;
    Ok(())
}

/// The NIC is there and the kernel has let go of it.
fn check_pci(devices: &Path, address: PciAddress) -> Result<(), SetupError> {
    let wrong = |reason: String| Err(SetupError::Pci { address: address.to_string(), reason });
    let folder = devices.join(address.to_string());
    if !folder.exists() {
        return wrong("is not there".to_owned());
    }
    match kernel_driver(&folder).as_deref() {
        // Mellanox's drivers share the NIC with the kernel's.
        Some(VFIO | "uio_pci_generic" | "igb_uio" | "mlx4_core" | "mlx5_core") => Ok(()),
        Some(driver) => wrong(format!("is driven by the kernel ({driver})")),
        None => wrong("has no driver for user space".to_owned()),
    }
}

/// The kernel's driver of the NIC with this folder in /sys.
pub(super) fn kernel_driver(folder: &Path) -> Option<String> {
    let driver = fs::read_link(folder.join("driver")).ok()?;
    Some(driver.file_name()?.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_few_huge_pages_are_one_line_with_the_command() {
        // Shows the text an operator reads, and that enough pages pass.
        assert_eq!(check_free(64, 64), Ok(()));
        let text = check_free(64, 10).expect_err("too few").to_string();
        assert!(text.contains("10 MiB are free") && text.contains("sysctl vm.nr_hugepages=512"), "{text}");
        assert!(text.contains("--no-huge") && !text.contains('\n'), "{text}");
    }

    #[test]
    fn hidden_modules_are_one_line_with_the_remedy() {
        // Shows that a container without the kernel's list of modules is told of it, and how to show it.
        assert_eq!(check_modules("/sys/module"), Ok(()));
        let text = check_modules("/sys/no-module").expect_err("there is no such folder").to_string();
        assert!(text.contains("mount sysfs") && text.contains("--bind-ro=/sys/no-module"), "{text}");
    }

    #[test]
    fn free_pages_are_counted_for_each_size() {
        // Shows what is read from the kernel's folders, on a copy of them.
        let folder = std::env::temp_dir().join(format!("corelane-pages-{}", std::process::id()));
        for (size, free) in [("hugepages-2048kB", "3\n"), ("hugepages-1048576kB", "1\n"), ("other", "9\n")] {
            fs::create_dir_all(folder.join(size)).expect("a folder");
            fs::write(folder.join(size).join("free_hugepages"), free).expect("a file");
        }
        let mib: u64 = page_sizes(&folder).map(|size| size.kib * size.free / 1024).sum();
        fs::remove_dir_all(&folder).expect("the folder");
        assert_eq!(mib, 1024 + 6);
    }

    #[test]
    fn mounts_and_options_are_read() {
        // Shows /proc's format and DPDK's, with and without what is looked for.
        assert!(is_mounted("none /dev/hugepages hugetlbfs rw,relatime,pagesize=2M 0 0\n"));
        assert!(!is_mounted("none /dev/hugepages hugetlbfs ro 0 0\ntmpfs /tmp tmpfs rw 0 0\n"));
        assert_eq!(vdev_option("net_tap0,mac=fixed,iface=tp0", "iface"), Some("tp0"));
        assert_eq!(vdev_option("net_tap0", "iface"), None);
    }

    #[test]
    fn a_nic_must_be_there_and_free() {
        // Shows the three ways a PCI address can be wrong, and the right one.
        let folder = std::env::temp_dir().join(format!("corelane-pci-{}", std::process::id()));
        let address: PciAddress = "0000:03:00.0".parse().expect("an address");
        let nic = folder.join("0000:03:00.0");
        let reason = |expected: &str| {
            let text = check_pci(&folder, address).expect_err(expected).to_string();
            assert!(text.contains(expected) && text.contains("--bind=vfio-pci 0000:03:00.0"), "{text}");
        };
        reason("is not there");
        fs::create_dir_all(&nic).expect("a folder");
        reason("has no driver");
        std::os::unix::fs::symlink("../drivers/igb", nic.join("driver")).expect("a link");
        reason("is driven by the kernel (igb)");
        fs::remove_file(nic.join("driver")).expect("the link");
        std::os::unix::fs::symlink("../drivers/vfio-pci", nic.join("driver")).expect("a link");
        let fit = check_pci(&folder, address);
        fs::remove_dir_all(&folder).expect("the folder");
        assert_eq!(fit, Ok(()));
    }
}
