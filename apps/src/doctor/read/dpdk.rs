//! DPDK's drivers: plug-ins in a folder that it loads at start. Which of them are needed is `checks`'.

use super::Root;

/// DPDK's drivers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plugins {
    /// The folder they are in.
    pub folder: Option<String>,
    /// Their names, without `librte_` and `.so`.
    pub names: Vec<String>,
}

/// Debian's folder for libraries on x86-64, and where DPDK's own build puts them.
const PLACES: [&str; 3] =
    ["/usr/lib/x86_64-linux-gnu/dpdk", "/usr/local/lib/x86_64-linux-gnu/dpdk", "/usr/local/lib/dpdk"];

impl Plugins {
    pub(super) fn read(root: &Root) -> Plugins {
        for place in PLACES {
            for below in root.names(place).iter().filter(|name| name.starts_with("pmds-")) {
                let folder = format!("{place}/{below}");
                let mut names: Vec<String> = root
                    .names(&folder)
                    .iter()
                    .filter_map(|file| Some(file.strip_prefix("librte_")?.split(".so").next()?.to_owned()))
                    .collect();
                names.dedup();
                if !names.is_empty() {
                    return Plugins { folder: Some(folder), names };
                }
            }
        }
        Plugins::default()
    }

    /// Whether there is this one, such as `net_ixgbe`.
    pub fn has(&self, name: &str) -> bool {
        self.names.iter().any(|there| there == name)
    }
}
