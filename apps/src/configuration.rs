//! Configuration files: a TOML file whose keys are a program's long options. It is read whole, and every mistake in it
//! is told with its line, before anything starts. What the options mean together is for their program to check.
//!
//! A file becomes words of the command line in front of those that were typed. So each value goes through the same
//! parser wherever it comes from, and a new option is a key of the file without further work. That is also why the
//! file is read as a table with places and not into a struct: a struct would stop at the first mistake.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, Command, Parser};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Options that make no sense in a file.
const NOT_IN_FILES: [&str; 4] = ["check", "config", "help", "version"];

/// Mistakes of an operator: each one line with cause and remedy.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Mistakes(pub Vec<String>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl Error for Mistakes {}

/// Where the options came from that a file gave.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Origins {
    file: PathBuf,
    /// Line by key. Lines are counted from one.
    lines: BTreeMap<String, usize>,
}

impl Origins {
    /// How to name an option to an operator: where it stands in the file, or as it is typed.
    pub fn name(&self, key: &str) -> String {
        match self.lines.get(key) {
            Some(line) => format!("{}:{line}: `{key}`", self.file.display()),
            None => format!("--{key}"),
        }
    }
}

/// Why there are no options.
#[derive(Debug)]
pub enum Refusal {
    /// Help or the version was asked for.
    Text(clap::Error),
    /// Something is wrong.
    Mistakes(Mistakes),
}

/// The options of `words`, with those of the file that `--config` names, which typed ones override.
///
/// `alternatives`: pairs of options of which a typed one overrides the other in the file too.
///
/// Errors: see [`Refusal`]; all mistakes of the file at once, or the first of the command line.
pub fn read<O: Parser>(words: &[String], alternatives: &[(&str, &str)]) -> Result<(O, Origins), Refusal> {
    let command = O::command();
    let name = command.get_name().to_owned();
    let mut origins = Origins::default();
    let mut all = vec![name.clone()];
    if command.get_arguments().any(|arg| arg.get_id() == "config")
        && let Some(file) = typed_value(words, "config")
    {
        let typed = |key: &str| is_typed(&command, words, key);
        let overridden = |key: &str| {
            let other = |(a, b): &(&str, &str)| (key == *a && typed(b)) || (key == *b && typed(a));
            typed(key) || alternatives.iter().any(other)
        };
        let (more, from) = from_file(&command, Path::new(&file), overridden).map_err(Refusal::Mistakes)?;
        all.extend(more);
        origins = from;
    }
    all.extend_from_slice(words);
    match O::try_parse_from(all) {
        Ok(options) => Ok((options, origins)),
        Err(error) if !error.use_stderr() => Err(Refusal::Text(error)),
        Err(error) => {
            let missing = error.kind() == ErrorKind::MissingRequiredArgument && !origins.lines.is_empty();
            let remedy =
                if missing { format!(", or add it to `{}`", origins.file.display()) } else { String::new() };
            Err(Refusal::Mistakes(Mistakes(vec![format!("{}; see {name} --help{remedy}", one_line(&error))])))
        }
    }
}

/// The value of `--key VALUE` or `--key=VALUE`.
fn typed_value(words: &[String], key: &str) -> Option<String> {
    let option = format!("--{key}");
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.strip_prefix(&option) {
            Some("") => return words.next().cloned(),
            Some(rest) if rest.starts_with('=') => return Some(rest[1..].to_owned()),
            _ => {}
        }
    }
    None
}

fn is_typed(command: &Command, words: &[String], key: &str) -> bool {
    let option = format!("--{key}");
    let short = option_of(command, key).and_then(Arg::get_short);
    words.iter().any(|word| {
        let long = word.strip_prefix(&option).is_some_and(|rest| rest.is_empty() || rest.starts_with('='));
        let letters = word.strip_prefix('-').filter(|rest| !rest.starts_with('-'));
        long || short.is_some_and(|short| letters.is_some_and(|letters| letters.contains(short)))
    })
}

fn option_of<'a>(command: &'a Command, key: &str) -> Option<&'a Arg> {
    command.get_arguments().find(|arg| arg.get_long() == Some(key) && !NOT_IN_FILES.contains(&key))
}

/// The words a file stands for, without those that are overridden.
fn from_file(
    command: &Command,
    path: &Path,
    overridden: impl Fn(&str) -> bool,
) -> Result<(Vec<String>, Origins), Mistakes> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| {
        Mistakes(vec![format!(
            "cannot read `{shown}` ({error}); name a text file that can be read with --config"
        )])
    })?;
    let (table, errors) = DeTable::parse_recoverable(&text);
    if !errors.is_empty() {
        return Err(syntax(&shown.to_string(), &text, &errors));
    }
    let mut mistakes = Vec::new();
    let mut words = Vec::new();
    let mut origins = Origins { file: path.to_owned(), lines: BTreeMap::new() };
    let mut entries: Vec<_> = table.get_ref().iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    for (key, value) in entries {
        let (line, name) = (line_of(&text, key.span().start), key.get_ref());
        let said = match option_of(command, name) {
            None => Err(unknown(command, name)),
            Some(arg) => words_of(arg, name, value),
        };
        match said {
            Err(mistake) => mistakes.push(format!("{shown}:{line}: `{}`: {mistake}", printable(name))),
            Ok(_) if overridden(name) => {}
            Ok(said) => {
                words.extend(said);
                origins.lines.insert(name.clone().into_owned(), line);
            }
        }
    }
    if mistakes.is_empty() { Ok((words, origins)) } else { Err(Mistakes(mistakes)) }
}

/// What the parser had to say: one line for each line that is wrong, since one mistake may lead to others.
fn syntax(file: &str, text: &str, errors: &[toml::de::Error]) -> Mistakes {
    let mut lines = BTreeMap::new();
    for error in errors {
        let line = line_of(text, error.span().map_or(0, |span| span.start));
        lines.entry(line).or_insert_with(|| error.message().split_whitespace().collect::<Vec<_>>().join(" "));
    }
    let tell = |(line, message)| {
        format!("{file}:{line}: this is not TOML: {message}; write lines such as `device = \"tap:lane0\"`")
    };
    Mistakes(lines.into_iter().map(tell).collect())
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|&byte| byte == b'\n').count()
}

/// A key as it can be shown in a line.
fn printable(key: &str) -> String {
    key.chars().map(|letter| if letter.is_control() { '?' } else { letter }).take(64).collect()
}

fn unknown(command: &Command, key: &str) -> String {
    if NOT_IN_FILES.contains(&key) {
        return format!("this can only be typed; take it out and say --{key}");
    }
    let known =
        command.get_arguments().filter_map(Arg::get_long).filter(|known| !NOT_IN_FILES.contains(known));
    let near = known.map(|known| (distance(known, &key.replace('_', "-")), known)).min();
    match near {
        Some((steps, known)) if steps <= 2 => format!("there is no such key; did you mean `{known}`?"),
        _ => {
            format!("there is no such key; the keys are the options that {} --help lists", command.get_name())
        }
    }
}

/// How many letters make one word the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = core::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let changed = corner + usize::from(x != *y);
            corner = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(corner + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}

/// The words for one key, or what is wrong with its value.
fn words_of(arg: &Arg, key: &str, value: &Spanned<DeValue<'_>>) -> Result<Vec<String>, String> {
    let optional = arg.get_num_args().is_some_and(|count| count.min_values() == 0);
    match (arg.get_action(), value.get_ref()) {
        (ArgAction::SetTrue, DeValue::Boolean(on)) => {
            Ok(if *on { vec![format!("--{key}")] } else { Vec::new() })
        }
        (ArgAction::SetTrue, _) => Err("this is switched on or off; write true or false".to_owned()),
        (_, DeValue::Boolean(on)) if optional => Ok(if *on { vec![format!("--{key}")] } else { Vec::new() }),
        (ArgAction::Append, DeValue::Array(values)) if values.is_empty() => {
            Err("the list is empty; name at least one, or take the key out".to_owned())
        }
        (ArgAction::Append, DeValue::Array(values)) => {
            values.iter().map(|value| word_of(arg, key, value.get_ref())).collect()
        }
        (_, value) => word_of(arg, key, value).map(|word| vec![word]),
    }
}

fn word_of(arg: &Arg, key: &str, value: &DeValue<'_>) -> Result<String, String> {
    let text = match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) if number.radix() == 10 => number.as_str().to_owned(),
        DeValue::Integer(_) => {
            return Err("numbers are decimal here; write it with the digits 0 to 9".to_owned());
        }
        other => {
            let wanted =
                arg.get_value_names().and_then(|names| names.first()).map_or("VALUE", |name| name.as_str());
            let kind = other.type_str();
            return Err(format!("a {kind} cannot be {wanted}; write it as a string or a whole number"));
        }
    };
    if text.contains(|letter: char| letter.is_control()) {
        return Err("a control character cannot be part of it; take it out".to_owned());
    }
    let word = format!("--{key}={text}");
    let alone = arg.clone().required(false);
    let trial = Command::new("file").no_binary_name(true).disable_help_flag(true).disable_version_flag(true);
    match trial.arg(alone).try_get_matches_from([&word]) {
        Ok(_) => Ok(word),
        Err(error) => Err(format!("{}; correct or remove it", one_line(&error))),
    }
}

/// The cause of an error of the command line, without its layout.
fn one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let (cause, rest) = text.split_once("\n\n").unwrap_or((&text, ""));
    let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let tip = rest.lines().find_map(|line| line.trim().strip_prefix("tip: ").map(plain));
    let cause = plain(cause.strip_prefix("error: ").unwrap_or(cause));
    match tip {
        Some(tip) => format!("{cause}; {tip}"),
        None => cause,
    }
}
