//! Text to [`Script`]. A fault is told with its line.

use crate::language::*;

/// Parse a script. Errors: `line: what was expected`.
pub fn parse(text: &str) -> Result<Script, String> {
    let mut cursor = Cursor { text, at: 0 };
    let script = script(&mut cursor);
    script.map_err(|fault| format!("{}: {fault}", cursor.line()))
}

struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

type Parsed<T> = Result<T, String>;

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn line(&self) -> usize {
        self.text[..self.at].matches('\n').count() + 1
    }

    /// Pass over spaces and comments.
    fn blank(&mut self) {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start();
            self.at += rest.len() - trimmed.len();
            let comment = if trimmed.starts_with("//") || trimmed.starts_with('#') {
                trimmed.find('\n').unwrap_or(trimmed.len())
            } else if trimmed.starts_with("/*") {
                trimmed.find("*/").map_or(trimmed.len(), |end| end + 2)
            } else {
                return;
            };
            self.at += comment;
        }
    }

    fn peek(&mut self) -> Option<char> {
        self.blank();
        self.rest().chars().next()
    }

    /// Take `text` if it comes next.
    fn eat(&mut self, text: &str) -> bool {
        self.blank();
        let comes = self.rest().starts_with(text);
        if comes {
            self.at += text.len();
        }
        comes
    }

    fn expect(&mut self, text: &str) -> Parsed<()> {
        if self.eat(text) { Ok(()) } else { Err(format!("`{text}` expected before `{}`", self.excerpt())) }
    }

    fn excerpt(&self) -> &'a str {
        self.rest().lines().next().unwrap_or_default()
    }

    /// Take the longest run of such characters.
    fn run(&mut self, is: impl Fn(char) -> bool) -> &'a str {
        self.blank();
        let rest = self.rest();
        let end = rest.find(|c| !is(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn word(&mut self) -> &'a str {
        self.run(|c| c.is_ascii_alphanumeric() || c == '_')
    }

    /// Take `word` if it comes next as a whole one.
    fn eat_word(&mut self, word: &str) -> bool {
        let begin = self.at;
        let eaten = self.word() == word;
        if !eaten {
            self.at = begin;
        }
        eaten
    }

    /// A number, decimal or hexadecimal, perhaps negative.
    fn number(&mut self) -> Parsed<i64> {
        let negative = self.eat("-");
        let begin = self.at;
        let word = self.word();
        let parsed = match word.strip_prefix("0x") {
            Some(digits) => i64::from_str_radix(digits, 16),
            None => word.parse(),
        };
        let number = parsed.map_err(|_| {
            self.at = begin;
            format!("a number expected before `{}`", self.excerpt())
        })?;
        Ok(if negative { -number } else { number })
    }

    fn number_as<T: TryFrom<i64>>(&mut self) -> Parsed<T> {
        let number = self.number()?;
        T::try_from(number).map_err(|_| format!("{number} is out of range"))
    }

    /// Everything up to `end`, which is taken too.
    fn until(&mut self, end: &str) -> Parsed<&'a str> {
        let rest = self.rest();
        let at = rest.find(end).ok_or_else(|| format!("`{end}` is missing"))?;
        self.at += at + end.len();
        Ok(&rest[..at])
    }
}

fn script(cursor: &mut Cursor) -> Parsed<Script> {
    let mut script = Script::default();
    while cursor.eat("--") {
        let name = cursor.word().to_owned();
        cursor.expect("=")?;
        let value = cursor.run(|c| !c.is_whitespace()).trim_matches('"').to_owned();
        script.options.insert(name, value);
    }
    while cursor.peek().is_some() {
        script.events.push(event(cursor)?);
    }
    Ok(script)
}

fn event(cursor: &mut Cursor) -> Parsed<Event> {
    let line = cursor.line();
    // A setting or an assertion may stand without a time: at once.
    let time = match cursor.peek() {
        Some('`' | '%') => Time { relative: true, at: Moment::At(0) },
        _ => time(cursor)?,
    };
    let action = if cursor.eat("<") {
        Action::Inbound(packet(cursor)?)
    } else if cursor.eat(">") {
        Action::Outbound(packet(cursor)?)
    } else if cursor.eat("`") {
        Action::Shell(cursor.until("`")?.to_owned())
    } else if cursor.eat("%{") {
        Action::Code(cursor.until("}%")?.to_owned())
    } else {
        Action::Call(call(cursor)?)
    };
    if matches!(time.at, Moment::Blocks(..)) && !matches!(action, Action::Call(_)) {
        return Err("only a call can block".to_owned());
    }
    Ok(Event { line, time, action })
}

fn time(cursor: &mut Cursor) -> Parsed<Time> {
    if cursor.eat("*") {
        return Ok(Time { relative: true, at: Moment::Any });
    }
    let relative = cursor.eat("+");
    let first = seconds(cursor)?;
    let at = if cursor.eat("~") {
        cursor.eat("+");
        Moment::Between(first, seconds(cursor)?)
    } else if cursor.eat("...") {
        cursor.eat("+");
        Moment::Blocks(first, seconds(cursor)?)
    } else {
        Moment::At(first)
    };
    match at {
        Moment::Between(first, last) | Moment::Blocks(first, last) if last < first => {
            Err("a time that ends before it begins".to_owned())
        }
        at => Ok(Time { relative, at }),
    }
}

/// Seconds as microseconds.
fn seconds(cursor: &mut Cursor) -> Parsed<i64> {
    let whole = cursor.run(|c| c.is_ascii_digit());
    let mut fraction = "";
    let rest = cursor.rest();
    if rest.starts_with('.') && !rest.starts_with("..") {
        cursor.at += 1;
        let digits = cursor.rest();
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        fraction = &digits[..end];
        cursor.at += end;
    }
    if whole.is_empty() && fraction.is_empty() {
        return Err(format!("a time expected before `{}`", cursor.excerpt()));
    }
    let micros = format!("{fraction:0<6}");
    let number = |digits: &str| if digits.is_empty() { Ok(0) } else { digits.parse::<i64>() };
    match (number(whole), number(&micros[..6])) {
        (Ok(whole), Ok(micros)) => Ok(whole * 1_000_000 + micros),
        _ => Err("a time out of range".to_owned()),
    }
}

fn packet(cursor: &mut Cursor) -> Parsed<Packet> {
    let mut ip = Ip::default();
    if cursor.eat("[") {
        ip = ip_words(cursor)?;
    }
    let body = if cursor.eat_word("icmp") {
        icmp(cursor)?
    } else if cursor.eat_word("udp") {
        cursor.expect("(")?;
        let len = cursor.number_as()?;
        cursor.expect(")")?;
        Body::Udp(len)
    } else {
        Body::Tcp(tcp(cursor)?)
    };
    Ok(Packet { ip, body })
}

fn ip_words(cursor: &mut Cursor) -> Parsed<Ip> {
    let mut ip = Ip::default();
    while !cursor.eat("]") {
        cursor.eat(",");
        match cursor.word() {
            "noecn" => ip.ecn = Some(0),
            "ect1" => ip.ecn = Some(1),
            "ect0" => ip.ecn = Some(2),
            "ce" => ip.ecn = Some(3),
            "tos" => ip.tos = Some(cursor.number_as()?),
            "ttl" => ip.ttl = Some(cursor.number_as()?),
            "port" => ip.port = Some(cursor.number_as()?),
            other => return Err(format!("`{other}` says nothing of an IP header")),
        }
    }
    Ok(ip)
}

fn icmp(cursor: &mut Cursor) -> Parsed<Body> {
    let kind = cursor.word();
    let code = cursor.word();
    let (kind, code) = match (kind, code) {
        ("unreachable", "net_unreachable") => (3, 0),
        ("unreachable", "host_unreachable") => (3, 1),
        ("unreachable", "protocol_unreachable") => (3, 2),
        ("unreachable", "port_unreachable") => (3, 3),
        ("unreachable", "frag_needed") => (3, 4),
        ("unreachable", "source_route_failed") => (3, 5),
        ("unreachable", "net_unknown") => (3, 6),
        ("unreachable", "host_unknown") => (3, 7),
        ("unreachable", "net_prohibited") => (3, 9),
        ("unreachable", "host_prohibited") => (3, 10),
        ("unreachable", "packet_filtered") => (3, 13),
        ("source_quench", "quench") => (4, 0),
        ("time_exceeded", "exceeded_in_transit") => (11, 0),
        ("parameter_problem", "pointer") => (12, 0),
        // ICMPv6, whose numbers differ.
        ("dest_unreachable", "no_route") => (1, 0),
        ("dest_unreachable", "admin_prohibited") => (1, 1),
        ("dest_unreachable", "address_unreachable") => (1, 3),
        ("dest_unreachable", "port_unreachable") => (1, 4),
        ("packet_too_big", "too_big") => (2, 0),
        _ => return Err(format!("no such ICMP message: {kind} {code}")),
    };
    let mtu = if cursor.eat_word("mtu") { cursor.number_as()? } else { 0 };
    let mut quoted = None;
    if cursor.eat("[") {
        quoted = Some(sequence(cursor)?);
        cursor.expect("]")?;
    }
    Ok(Body::Icmp { kind, code, mtu, quoted })
}

/// `first:behind(length)`.
fn sequence(cursor: &mut Cursor) -> Parsed<(u32, u16)> {
    let first: u32 = cursor.number_as()?;
    cursor.expect(":")?;
    let behind: u32 = cursor.number_as()?;
    cursor.expect("(")?;
    let len: u16 = cursor.number_as()?;
    cursor.expect(")")?;
    if behind != first.wrapping_add(u32::from(len)) {
        return Err(format!("{first} and {len} bytes do not end at {behind}"));
    }
    Ok((first, len))
}

fn tcp(cursor: &mut Cursor) -> Parsed<Tcp> {
    let mut tcp = Tcp { options: Some(Vec::new()), ..Tcp::default() };
    for letter in cursor.run(|c| !c.is_whitespace()).chars() {
        let known = flag::LETTERS.iter().find(|(name, _)| *name == letter);
        match known {
            Some((_, bit)) => tcp.flags |= bit,
            None if letter == '-' => {}
            None => return Err(format!("no flag {letter}")),
        }
    }
    (tcp.seq, tcp.len) = sequence(cursor)?;
    if cursor.eat_word("ack") {
        tcp.ack = Some(cursor.number_as()?);
    }
    if cursor.eat_word("win") {
        tcp.window = Some(cursor.number_as()?);
    }
    if cursor.eat_word("urg") {
        tcp.urgent = Some(cursor.number_as()?);
    }
    if cursor.eat("<") {
        tcp.options = tcp_options(cursor)?;
    }
    Ok(tcp)
}

fn tcp_options(cursor: &mut Cursor) -> Parsed<Option<Vec<TcpOption>>> {
    if cursor.eat("...") {
        cursor.expect(">")?;
        return Ok(None);
    }
    let mut options = Vec::new();
    while !cursor.eat(">") {
        if !options.is_empty() {
            cursor.expect(",")?;
        }
        options.push(match cursor.word() {
            "eol" => TcpOption::End,
            "nop" => TcpOption::Nop,
            "mss" => TcpOption::Mss(cursor.number_as()?),
            "wscale" => TcpOption::WindowScale(cursor.number_as()?),
            "sackOK" => TcpOption::SackOk,
            "sack" => {
                let mut blocks = Vec::new();
                while cursor.peek().is_some_and(|c| c.is_ascii_digit()) {
                    let left = cursor.number_as()?;
                    cursor.expect(":")?;
                    blocks.push((left, cursor.number_as()?));
                }
                TcpOption::Sack(blocks)
            }
            "TS" => {
                if !cursor.eat_word("val") {
                    return Err("`val` expected".to_owned());
                }
                let value = cursor.number_as()?;
                if !cursor.eat_word("ecr") {
                    return Err("`ecr` expected".to_owned());
                }
                TcpOption::Timestamps(value, cursor.number_as()?)
            }
            "unknown" => {
                let kind = cursor.number_as()?;
                let mut bytes = Vec::new();
                while cursor.peek().is_some_and(|c| c.is_ascii_digit()) {
                    bytes.push(cursor.number_as()?);
                }
                TcpOption::Other(kind, bytes)
            }
            other => return Err(format!("no option `{other}`")),
        });
    }
    Ok(Some(options))
}

fn call(cursor: &mut Cursor) -> Parsed<Call> {
    let name = cursor.word().to_owned();
    if name.is_empty() {
        return Err(format!("an action expected before `{}`", cursor.excerpt()));
    }
    cursor.expect("(")?;
    let arguments = values(cursor, ")")?;
    cursor.expect("=")?;
    let returns = value(cursor)?;
    let error = (cursor.peek() == Some('E')).then(|| cursor.word().to_owned());
    // A remark in parentheses, as strace prints it.
    if cursor.eat("(") {
        cursor.until(")")?;
    }
    Ok(Call { name, arguments, returns, error })
}

/// Values up to the closing sign.
fn values(cursor: &mut Cursor, close: &str) -> Parsed<Vec<Value>> {
    let mut values = Vec::new();
    while !cursor.eat(close) {
        if !values.is_empty() {
            cursor.expect(",")?;
        }
        values.push(value(cursor)?);
    }
    Ok(values)
}

fn value(cursor: &mut Cursor) -> Parsed<Value> {
    if cursor.eat("...") || cursor.eat("?") {
        return Ok(Value::Any);
    }
    match cursor.peek() {
        Some('[') => {
            cursor.expect("[")?;
            Ok(Value::List(values(cursor, "]")?))
        }
        Some('{') => {
            cursor.expect("{")?;
            structure(cursor)
        }
        Some('"') => {
            cursor.expect("\"")?;
            Ok(Value::Text(cursor.until("\"")?.to_owned()))
        }
        Some(c) if c.is_ascii_digit() || c == '-' => cursor.number().map(Value::Number),
        _ => names(cursor),
    }
}

fn names(cursor: &mut Cursor) -> Parsed<Value> {
    let mut names = vec![cursor.word().to_owned()];
    if names[0].is_empty() {
        return Err(format!("a value expected before `{}`", cursor.excerpt()));
    }
    if cursor.eat("(") {
        return Ok(Value::Function(names.remove(0), values(cursor, ")")?));
    }
    while cursor.eat("|") {
        names.push(cursor.word().to_owned());
    }
    Ok(Value::Names(names))
}

fn structure(cursor: &mut Cursor) -> Parsed<Value> {
    let mut fields = Vec::new();
    while !cursor.eat("}") {
        if !fields.is_empty() {
            cursor.expect(",")?;
        }
        let begin = cursor.at;
        let name = cursor.word().to_owned();
        // `msg_iov(2)=`: the count says nothing that the list does not.
        if !name.is_empty() && cursor.eat("(") {
            cursor.until(")")?;
        }
        if !name.is_empty() && cursor.eat("=") {
            fields.push((name, value(cursor)?));
        } else {
            cursor.at = begin;
            fields.push((String::new(), value(cursor)?));
        }
    }
    Ok(Value::Struct(fields))
}
