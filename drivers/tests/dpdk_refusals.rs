//! Starts that must fail: each in a process of its own, which prints one line and nothing of DPDK's.
#![cfg(feature = "dpdk")]

use std::process::Command;

use drivers::dpdk::{Eal, EalOptions};
use drivers::{Device, OpenOptions, open};

/// Names the case to the process that plays it.
const CASE: &str = "CORELANE_REFUSAL";

#[test]
fn play() {
    // Shows nothing by itself: it is what the other tests run, with the case in its environment.
    let Ok(case) = std::env::var(CASE) else { return };
    let no_huge = EalOptions { no_huge_mib: Some(64), ..EalOptions::default() };
    let raw = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let device = |text: &str| text.parse::<Device>().expect(text);
    let options = match case.as_str() {
        "argument" => EalOptions { raw: raw("--nonsense"), ..no_huge },
        "lcores" => EalOptions { raw: raw("-l 500"), ..no_huge },
        "huge" => EalOptions { huge_mib_min: Some(1 << 24), ..EalOptions::default() },
        "rights" => {
            // SAFETY: changes this process's user, for good.
            unsafe { libc::setuid(65_534) };
            EalOptions { devices: vec![device("tap:clt9")], ..no_huge }
        }
        "taken" => EalOptions { devices: vec![device("tap:lo")], ..no_huge },
        "memory" => EalOptions { no_huge_mib: Some(8), ..no_huge },
        other => panic!("no case {other}"),
    };
    let result = Eal::init(&options).and_then(|_| open(&Device::Ring, &OpenOptions::default()));
    let code = match result {
        Ok(_) => 0,
        Err(error) => {
            eprintln!("error: {error}");
            2
        }
    };
    std::process::exit(code);
}

fn refusal(case: &str) -> String {
    let program = std::env::current_exe().expect("this program");
    let child = Command::new(program).args(["--exact", "play", "--nocapture"]).env(CASE, case).output();
    let child = child.expect("a process");
    let (said, shown) = (String::from_utf8_lossy(&child.stderr), String::from_utf8_lossy(&child.stdout));
    assert_eq!(child.status.code(), Some(2), "{said}");
    assert!(!shown.contains("EAL") && !shown.contains("Usage"), "{shown}");
    assert_eq!(said.lines().count(), 1, "{said}");
    said.into_owned()
}

#[test]
fn an_argument_that_dpdk_does_not_know_is_named() {
    // Shows DPDK's reason in our line, without its usage text.
    let said = refusal("argument");
    assert!(said.contains("DPDK did not start") && said.contains("nonsense"), "{said}");
    let said = refusal("lcores");
    assert!(said.contains("DPDK did not start") && said.contains("lcore"), "{said}");
}

#[test]
fn too_few_huge_pages_are_told_with_the_command() {
    // Shows the cause and the remedy before DPDK has said a word.
    let said = refusal("huge");
    assert!(
        said.contains("16777216 MiB of huge pages") && said.contains("sysctl vm.nr_hugepages="),
        "{said}"
    );
}

#[test]
fn a_taken_name_is_told_before_dpdk_starts() {
    // Shows that devices are looked at first.
    let said = refusal("taken");
    assert!(said.contains("`lo` exists already") && said.contains("ip link del lo"), "{said}");
}

#[test]
fn a_missing_right_is_named() {
    // Shows the capability that a TAP needs.
    // SAFETY: asks for a number.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("left out: giving rights up, for there are none");
        return;
    }
    let said = refusal("rights");
    assert!(said.contains("no permission for `tap:clt9`") && said.contains("CAP_NET_ADMIN"), "{said}");
}

#[test]
fn too_little_memory_is_told_by_what_it_was_for() {
    // Shows the pool that does not fit into 8 MiB.
    let said = refusal("memory");
    assert!(said.contains("no memory for") && said.contains("frames"), "{said}");
}
