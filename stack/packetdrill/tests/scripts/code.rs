//! Assertions about TCP_INFO: the small part of Python that scripts use, over numbers alone.

use std::collections::BTreeMap;

/// Names that TCP_INFO gives, with their values.
pub type Names = BTreeMap<&'static str, i64>;

/// Check each `assert` of a text. Errors: the one that does not hold, or what is not understood.
pub fn run(text: &str, names: &Names) -> Result<(), String> {
    for statement in text.lines().flat_map(|line| line.split(';')) {
        let statement = statement.split('#').next().unwrap_or_default().trim();
        if statement.is_empty() || statement.starts_with("print") {
            continue;
        }
        let asserted = statement
            .strip_prefix("assert")
            .filter(|rest| rest.starts_with([' ', '(']))
            .ok_or_else(|| format!("neither assert nor print: {statement}"))?;
        let mut reader = Reader { rest: asserted, names };
        let holds = reader.or()?;
        // What follows a comma is Python's message.
        if !reader.rest.trim_start().is_empty() && !reader.rest.trim_start().starts_with(',') {
            return Err(format!("not understood: {}", reader.rest));
        }
        if holds == 0 {
            let told = names.iter().filter(|(name, _)| asserted.contains(*name));
            let told: Vec<String> = told.map(|(name, value)| format!("{name} = {value}")).collect();
            return Err(format!("{statement}: {}", told.join(", ")));
        }
    }
    Ok(())
}

struct Reader<'a> {
    rest: &'a str,
    names: &'a Names,
}

impl Reader<'_> {
    fn eat(&mut self, text: &str) -> bool {
        let rest = self.rest.trim_start();
        let Some(after) = rest.strip_prefix(text) else { return false };
        let is_word = text.ends_with(|c: char| c.is_ascii_alphabetic());
        if is_word && after.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_') {
            return false;
        }
        self.rest = after;
        true
    }

    fn or(&mut self) -> Result<i64, String> {
        let mut value = self.and()?;
        while self.eat("or") {
            let right = self.and()?;
            value = i64::from(value != 0 || right != 0);
        }
        Ok(value)
    }

    fn and(&mut self) -> Result<i64, String> {
        let mut value = self.not()?;
        while self.eat("and") {
            let right = self.not()?;
            value = i64::from(value != 0 && right != 0);
        }
        Ok(value)
    }

    fn not(&mut self) -> Result<i64, String> {
        if self.eat("not") { Ok(i64::from(self.not()? == 0)) } else { self.comparison() }
    }

    /// Comparisons may be chained: `1 < x < 3`.
    fn comparison(&mut self) -> Result<i64, String> {
        let first = self.sum()?;
        let (mut left, mut holds, mut compared) = (first, true, false);
        loop {
            let compare: fn(&i64, &i64) -> bool = if self.eat("==") {
                i64::eq
            } else if self.eat("!=") {
                i64::ne
            } else if self.eat("<=") {
                i64::le
            } else if self.eat(">=") {
                i64::ge
            } else if self.eat("<") {
                i64::lt
            } else if self.eat(">") {
                i64::gt
            } else {
                return Ok(if compared { i64::from(holds) } else { first });
            };
            let right = self.sum()?;
            holds &= compare(&left, &right);
            (left, compared) = (right, true);
        }
    }

    fn sum(&mut self) -> Result<i64, String> {
        let mut value = self.product()?;
        loop {
            if self.eat("+") {
                value += self.product()?;
            } else if self.eat("-") {
                value -= self.product()?;
            } else if self.eat("&") {
                value &= self.product()?;
            } else {
                return Ok(value);
            }
        }
    }

    fn product(&mut self) -> Result<i64, String> {
        let mut value = self.atom()?;
        loop {
            if self.eat("*") {
                value *= self.atom()?;
            } else if self.eat("//") || self.eat("/") {
                value = value.checked_div(self.atom()?).ok_or("a division by zero")?;
            } else {
                return Ok(value);
            }
        }
    }

    fn atom(&mut self) -> Result<i64, String> {
        if self.eat("(") {
            let value = self.or()?;
            return if self.eat(")") { Ok(value) } else { Err("`)` is missing".to_owned()) };
        }
        if self.eat("-") {
            return Ok(-self.atom()?);
        }
        let rest = self.rest.trim_start();
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        self.rest = after;
        let number = match word.strip_prefix("0x") {
            Some(digits) => i64::from_str_radix(digits, 16).ok(),
            None => word.parse().ok(),
        };
        number.or_else(|| self.names.get(word).copied()).ok_or_else(|| format!("no such name: `{word}`"))
    }
}

/// The names of TCP_INFO's fields and their values, from the structure's bytes as Linux lays them out.
pub fn names(info: &[u8]) -> Names {
    let mut names = Names::from([
        ("TCP_CA_Open", 0),
        ("TCP_CA_Disorder", 1),
        ("TCP_CA_CWR", 2),
        ("TCP_CA_Recovery", 3),
        ("TCP_CA_Loss", 4),
        ("TCP_ESTABLISHED", 1),
        ("TCP_SYN_SENT", 2),
        ("TCP_SYN_RECV", 3),
        ("TCP_FIN_WAIT1", 4),
        ("TCP_FIN_WAIT2", 5),
        ("TCP_TIME_WAIT", 6),
        ("TCP_CLOSE", 7),
        ("TCP_CLOSE_WAIT", 8),
        ("TCP_LAST_ACK", 9),
        ("TCP_LISTEN", 10),
        ("TCP_CLOSING", 11),
        ("TCP_INFINITE_SSTHRESH", 0x7fff_ffff),
    ]);
    let byte = |at: usize| i64::from(info.get(at).copied().unwrap_or(0));
    for (at, name) in BYTES.iter().enumerate() {
        names.insert(name, byte(at));
    }
    names.insert("tcpi_snd_wscale", byte(6) & 15);
    names.insert("tcpi_rcv_wscale", byte(6) >> 4);
    for (words, first) in
        [(&WORDS[..], 8), (&LATER_WORDS[..], 136), (&DELIVERED[..], 192), (&LAST_WORDS[..], 216)]
    {
        for (index, name) in words.iter().enumerate() {
            let at = first + 4 * index;
            let bytes = info.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).unwrap_or([0; 4]);
            names.insert(name, i64::from(u32::from_ne_bytes(bytes)));
        }
    }
    for (at, name) in LONGS {
        let bytes = info.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).unwrap_or([0; 8]);
        names.insert(name, i64::from_ne_bytes(bytes));
    }
    names
}

const BYTES: [&str; 6] =
    ["tcpi_state", "tcpi_ca_state", "tcpi_retransmits", "tcpi_probes", "tcpi_backoff", "tcpi_options"];
const WORDS: [&str; 24] = [
    "tcpi_rto",
    "tcpi_ato",
    "tcpi_snd_mss",
    "tcpi_rcv_mss",
    "tcpi_unacked",
    "tcpi_sacked",
    "tcpi_lost",
    "tcpi_retrans",
    "tcpi_fackets",
    "tcpi_last_data_sent",
    "tcpi_last_ack_sent",
    "tcpi_last_data_recv",
    "tcpi_last_ack_recv",
    "tcpi_pmtu",
    "tcpi_rcv_ssthresh",
    "tcpi_rtt",
    "tcpi_rttvar",
    "tcpi_snd_ssthresh",
    "tcpi_snd_cwnd",
    "tcpi_advmss",
    "tcpi_reordering",
    "tcpi_rcv_rtt",
    "tcpi_rcv_space",
    "tcpi_total_retrans",
];
const LONGS: [(usize, &str); 8] = [
    (104, "tcpi_pacing_rate"),
    (112, "tcpi_max_pacing_rate"),
    (120, "tcpi_bytes_acked"),
    (128, "tcpi_bytes_received"),
    (160, "tcpi_delivery_rate"),
    (168, "tcpi_busy_time"),
    (200, "tcpi_bytes_sent"),
    (208, "tcpi_bytes_retrans"),
];
const LATER_WORDS: [&str; 6] = [
    "tcpi_segs_out",
    "tcpi_segs_in",
    "tcpi_notsent_bytes",
    "tcpi_min_rtt",
    "tcpi_data_segs_in",
    "tcpi_data_segs_out",
];
const DELIVERED: [&str; 2] = ["tcpi_delivered", "tcpi_delivered_ce"];
const LAST_WORDS: [&str; 4] = ["tcpi_dsack_dups", "tcpi_reord_seen", "tcpi_rcv_ooopack", "tcpi_snd_wnd"];
