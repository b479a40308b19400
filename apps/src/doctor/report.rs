//! What was found, and how it is shown: aligned text for a person, JSON for a program.

use std::fmt::Write;

use serde_json::{Value, json};

use super::read::{Ethernet, Machine};

/// How good a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It runs, but slower or less safely than it could.
    Warning,
    /// What was asked about cannot run so.
    Wrong,
}

impl Verdict {
    /// The word shown for it.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Warning => "warning",
            Verdict::Wrong => "wrong",
        }
    }

    /// As a terminal colours it: SGR parameters of ECMA-48.
    fn colour(self) -> &'static str {
        match self {
            Verdict::Ok => "32",
            Verdict::Warning => "33",
            Verdict::Wrong => "1;31",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is about, such as `huge pages`.
    pub area: &'static str,
    /// How good it is.
    pub verdict: Verdict,
    /// What there is, and what is wrong with it.
    pub text: String,
    /// The command that mends it, one line; every finding that is not good has one.
    pub mend: Option<String>,
}

impl Finding {
    /// All is well.
    pub fn ok(area: &'static str, text: impl Into<String>) -> Finding {
        Finding { area, verdict: Verdict::Ok, text: text.into(), mend: None }
    }

    /// It runs, but not as well as it could.
    pub fn warning(area: &'static str, text: impl Into<String>, mend: impl Into<String>) -> Finding {
        Finding { area, verdict: Verdict::Warning, text: text.into(), mend: Some(mend.into()) }
    }

    /// It cannot run.
    pub fn wrong(area: &'static str, text: impl Into<String>, mend: impl Into<String>) -> Finding {
        Finding { area, verdict: Verdict::Wrong, text: text.into(), mend: Some(mend.into()) }
    }

    /// Wrong if it is needed for what was asked about, else a warning.
    pub fn lacking(
        needed: bool,
        area: &'static str,
        text: impl Into<String>,
        mend: impl Into<String>,
    ) -> Finding {
        let finding = Finding::warning(area, text, mend);
        Finding { verdict: if needed { Verdict::Wrong } else { Verdict::Warning }, ..finding }
    }
}

/// All that was found.
#[derive(Clone, Debug)]
pub struct Report {
    /// The device asked about, if one was.
    pub device: Option<String>,
    /// What the findings were made from.
    pub machine: Machine,
    /// In the order they are shown.
    pub findings: Vec<Finding>,
}

impl Report {
    /// The worst verdict; `Ok` if there is none.
    pub fn verdict(&self) -> Verdict {
        self.findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Ok)
    }

    /// For a person, lines ended by line feeds; `colours` only for a terminal.
    pub fn text(&self, colours: bool) -> String {
        let width = self.findings.iter().map(|finding| finding.area.len()).max().unwrap_or(0);
        let mut text = String::new();
        let mut before = "";
        for Finding { area, verdict, text: what, mend } in &self.findings {
            let shown = if *area == before { "" } else { area };
            let word = format!("{:7}", verdict.word());
            let word = if colours { format!("\x1b[{}m{word}\x1b[0m", verdict.colour()) } else { word };
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{shown:width$}  {word}  {what}");
            if let Some(mend) = mend {
                let _ = writeln!(text, "{:width$}  {:7}  mend: {mend}", "", "");
            }
            before = area;
        }
        let count = |verdict| self.findings.iter().filter(|finding| finding.verdict == verdict).count();
        let (wrong, warnings) = (count(Verdict::Wrong), count(Verdict::Warning));
        let plural = if warnings == 1 { "" } else { "s" };
        let _ = writeln!(text, "\n{wrong} wrong, {warnings} warning{plural}, {} ok", count(Verdict::Ok));
        text
    }

    /// For a program. A key may be added; none is taken away or changes its meaning.
    pub fn json(&self) -> Value {
        let findings: Vec<Value> = self
            .findings
            .iter()
            .map(|Finding { area, verdict, text, mend }| {
                json!({"area": area, "verdict": verdict.word(), "text": text, "mend": mend})
            })
            .collect();
        let devices: Vec<Value> = self.machine.devices.iter().map(device).collect();
        json!({
            "device": self.device,
            "verdict": self.verdict().word(),
            "findings": findings,
            "ethernet": devices,
        })
    }
}

fn device(device: &Ethernet) -> Value {
    json!({
        "address": device.address,
        "vendor": format!("{:04x}", device.vendor),
        "device": format!("{:04x}", device.device),
        "name": device.known.map(|known| known.name),
        "dpdk_driver": device.known.map(|known| known.driver),
        "driver": device.driver,
        "node": device.node,
        "iommu_group": device.group,
        "interfaces": device.interfaces,
        "ssh": device.ssh,
    })
}
