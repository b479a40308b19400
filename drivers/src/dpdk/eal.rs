//! The EAL: DPDK's start-up, once in a process. What it needs of the machine is checked in `surroundings.rs`.

use std::ffi::CString;
use std::sync::{Mutex, PoisonError};

use dpdk_sys as ffi;

use super::{chatter, error_text, pool, surroundings};
use crate::device::{Device, PciAddress};
use crate::setup::SetupError;

/// How to start DPDK.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EalOptions {
    /// Work without huge pages, in this much ordinary memory. Units: MiB. No NIC can be used then.
    pub no_huge_mib: Option<u32>,
    /// Huge pages that must be free. Units: MiB. `None`: [`HUGE_MIB_MIN`].
    pub huge_mib_min: Option<u32>,
    /// Shares memory and sockets with DPDK's tools under this name; without one nothing is left on disk.
    pub file_prefix: Option<String>,
    /// Devices that will be opened: looked at before DPDK starts. Without a NIC among them the PCI bus is left alone.
    pub devices: Vec<Device>,
    /// Arguments in DPDK's own words, behind and above all others.
    pub raw: Vec<String>,
    /// Leave DPDK's log to go where it goes, with what it does.
    pub verbose: bool,
}

/// Huge pages without which starting makes no sense: one lane's smallest pools and rings. Units: MiB.
pub const HUGE_MIB_MIN: u32 = 32;

impl EalOptions {
    /// The defaults, for these devices.
    pub fn for_devices<'d>(devices: impl IntoIterator<Item = &'d Device>) -> EalOptions {
        EalOptions { devices: devices.into_iter().cloned().collect(), ..EalOptions::default() }
    }

    fn nics(&self) -> impl Iterator<Item = &PciAddress> {
        self.devices.iter().filter_map(|device| match device {
            Device::Pci(address) => Some(address),
            _ => None,
        })
    }

    /// Whether huge pages are left out, here or in DPDK's own words.
    fn is_without_huge_pages(&self) -> bool {
        self.no_huge_mib.is_some() || self.says(&["--no-huge"])
    }

    fn names_prefix(&self) -> bool {
        self.file_prefix.is_some() || self.says(&["--file-prefix"])
    }

    /// Whether the raw arguments have one of `names`, alone or with a value behind `=`.
    fn says(&self, names: &[&str]) -> bool {
        self.raw.iter().any(|word| {
            names.iter().any(|name| {
                word.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
            })
        })
    }

    /// The argument vector of `rte_eal_init`, without the program's name.
    fn arguments(&self, cpus: &[usize]) -> Vec<String> {
        let mut words: Vec<String> = Vec::new();
        if !self.says(&["-l", "-c", "-s", "-S", "--lcores"]) {
            // One lcore that may run on every CPU this thread may: the EAL would pin the thread, and all it starts.
            let cpus: Vec<String> = cpus.iter().map(usize::to_string).collect();
            words.push(format!("--lcores=0@({})", cpus.join(",")));
        }
        if self.is_without_huge_pages() {
            // Not with --in-memory, which DPDK refuses; this leaves no files either.
            words.push("--no-shconf".to_owned());
            if let Some(mib) = self.no_huge_mib {
                words.extend(["--no-huge".to_owned(), "-m".to_owned(), mib.to_string()]);
            }
        } else if !self.names_prefix() {
            words.push("--in-memory".to_owned());
        }
        if let Some(prefix) = &self.file_prefix {
            words.push(format!("--file-prefix={prefix}"));
        }
        if !self.names_prefix() {
            words.push("--no-telemetry".to_owned());
        }
        words.extend(self.nics().map(|nic| format!("--allow={nic}")));
        if self.nics().next().is_none() && !self.says(&["-a", "--allow", "-b", "--block"]) {
            words.push("--no-pci".to_owned());
            if !self.says(&["--iova-mode"]) {
                // No device needs physical addresses, and only root may learn them.
                words.push("--iova-mode=va".to_owned());
            }
        }
        if !self.verbose && !self.says(&["--log-level"]) {
            words.push("--log-level=warning".to_owned());
        }
        words.extend(self.raw.iter().cloned());
        words
    }
}

/// Splits a command line in DPDK's order: `[EAL arguments] -- [application arguments]`.
///
/// Without a `--` all of it is the application's. Further `--` belong to the application.
pub fn split_arguments(arguments: &[String]) -> (&[String], &[String]) {
    match arguments.iter().position(|word| word == "--") {
        Some(at) => (&arguments[..at], &arguments[at + 1..]),
        None => (&[], arguments),
    }
}

/// DPDK is up. It stays so to the end of the process: there is no second start, and frames may outlive all else.
#[derive(Clone, Debug)]
pub struct Eal {
    _private: (),
}

/// Holds starters apart; whether DPDK is up is told by `dpdk_sys`.
static STARTING: Mutex<()> = Mutex::new(());

impl Eal {
    /// Starts DPDK.
    ///
    /// Errors: it is up already, something it needs is missing, or it refuses its arguments.
    ///
    /// Cost: about a quarter of a second, in which its drivers are loaded. While it lasts, what the process prints
    /// is not shown (unless verbose).
    pub fn init(options: &EalOptions) -> Result<Eal, SetupError> {
        let _starting = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        if ffi::eal_is_up() {
            return Err(SetupError::EalTwice);
        }
        start(options)
    }

    /// DPDK, if it is up.
    pub fn running() -> Option<Eal> {
        ffi::eal_is_up().then_some(Eal { _private: () })
    }

    /// DPDK as it runs, or else started for `device`.
    pub(super) fn running_or_default(device: &Device) -> Result<Eal, SetupError> {
        let _starting = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        match Eal::running() {
            Some(eal) => Ok(eal),
            None => start(&EalOptions::for_devices([device])),
        }
    }
}

fn start(options: &EalOptions) -> Result<Eal, SetupError> {
    surroundings::check_modules("/sys/module")?;
    for device in &options.devices {
        surroundings::check_device(device)?;
    }
    if !options.is_without_huge_pages() {
        let needed = options.huge_mib_min.unwrap_or(HUGE_MIB_MIN);
        surroundings::check_huge_pages(u64::from(needed), options.names_prefix())?;
    }
    let words = options.arguments(&allowed_cpus());
    let mut pointers = Vec::with_capacity(words.len() + 2);
    for word in std::iter::once("corelane").chain(words.iter().map(String::as_str)) {
        let argument = word.to_owned();
        let word = CString::new(word).map_err(|_| SetupError::EalArgument { argument })?;
        // DPDK keeps pointers into its arguments: they live as long as the process.
        pointers.push(word.into_raw());
    }
    let count = i32::try_from(pointers.len()).unwrap_or(i32::MAX);
    pointers.push(std::ptr::null_mut());
    let pointers = pointers.leak();
    if !options.verbose {
        chatter::capture();
    }
    let status = {
        let _muffled = chatter::Muffled::new(&[libc::STDOUT_FILENO, libc::STDERR_FILENO]);
        // SAFETY: `pointers` holds `count` leaked C strings and a null pointer, itself leaked; `STARTING` is held.
        unsafe { ffi::eal_init(count, pointers.as_mut_ptr()) }
    };
    let said = chatter::take();
    if status < 0 {
        // SAFETY: reads this thread's rte_errno.
        let number = unsafe { ffi::corelane_errno() };
        return Err(SetupError::Eal { reason: chatter::cause(&said).unwrap_or_else(|| error_text(number)) });
    }
    pool::reserve_field()?;
    pool::offer_memory();
    Ok(Eal { _private: () })
}

/// The CPUs that this thread may run on; the first if the kernel does not say.
fn allowed_cpus() -> Vec<usize> {
    // SAFETY: all-zero bytes are an empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is as large as is said; 0 is the calling thread.
    let status = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) };
    if status != 0 {
        return vec![0];
    }
    let limit = usize::try_from(libc::CPU_SETSIZE).unwrap_or(0);
    // SAFETY: every index is below CPU_SETSIZE, the set's size in bits.
    (0..limit).filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &set) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn a_command_line_is_split_at_the_first_double_dash() {
        // Shows DPDK's order, and that plain command lines are the application's.
        assert_eq!(
            split_arguments(&words("-l 0 -- serve -- x")),
            (&words("-l 0")[..], &words("serve -- x")[..])
        );
        assert_eq!(split_arguments(&words("serve x")), (&[][..], &words("serve x")[..]));
        assert_eq!(split_arguments(&words("--")), (&[][..], &[][..]));
    }

    #[test]
    fn defaults_leave_nothing_behind_and_yield_to_raw_arguments() {
        // Shows which of our words are left out for each of DPDK's.
        let line = |options: &EalOptions| options.arguments(&[0, 1]).join(" ");
        let plain = "--lcores=0@(0,1) --in-memory --no-telemetry --no-pci --iova-mode=va --log-level=warning";
        assert_eq!(line(&EalOptions::default()), plain);
        let raw = |text: &str| line(&EalOptions { raw: words(text), ..EalOptions::default() });
        let lcores = raw("-l 1 --log-level=debug");
        assert_eq!(lcores, "--in-memory --no-telemetry --no-pci --iova-mode=va -l 1 --log-level=debug");
        assert!(!raw("--file-prefix=x").contains("--in-memory"));
        assert!(!raw("--file-prefix x").contains("--no-telemetry"));
        assert!(!raw("-a 03:00.0").contains("--no-pci"));
        assert!(!raw("--no-huge -m 64").contains("--in-memory"));
        let nic = EalOptions::for_devices(&["03:00.0".parse().expect("an address"), Device::Null]);
        assert!(line(&nic).contains("--allow=0000:03:00.0") && !line(&nic).contains("iova-mode"));
        let small = EalOptions { no_huge_mib: Some(64), ..EalOptions::default() };
        assert!(line(&small).contains("--no-shconf --no-huge -m 64 --no-telemetry"), "{}", line(&small));
    }
}
