//! What an operator can get wrong in a file or on the command line: one line for each mistake, and no device touched.
//! The program itself is run; its device is a pair of captures, whose second would be made if anything started.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use apps::configuration::read;
use apps::httpd::settings::{ALTERNATIVES, Options};
use clap::CommandFactory;

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/httpd.toml");

/// A folder with a site, that goes when the test ends.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let path = std::env::temp_dir().join(format!("corelane-mistakes-{}-{name}", std::process::id()));
        fs::create_dir_all(path.join("site")).expect("a writable temporary folder");
        Place(path)
    }

    /// Run `httpd` in the folder.
    fn httpd(&self, words: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_httpd"))
            .current_dir(&self.0)
            .args(words)
            .output()
            .expect("the program can be run")
    }

    /// Run `httpd` on a file with this text, and give the lines it said.
    fn with_file(&self, text: &str, words: &[&str]) -> (Option<i32>, Vec<String>) {
        fs::write(self.0.join("a.toml"), text).expect("writable");
        self.lines(&self.httpd(&[&["--config", "a.toml"], words].concat()))
    }

    fn lines(&self, output: &Output) -> (Option<i32>, Vec<String>) {
        assert!(!self.0.join("out.pcap").exists(), "the device was touched");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!text.contains("panicked"), "{text}");
        (output.status.code(), text.lines().map(str::to_owned).collect())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What every file needs, in two lines.
const NEEDED: &str = "device = \"pcap:in.pcap,out.pcap\"\naddress = [\"10.77.0.2/24\"]\n";

/// The third line of a file, and words that its one complaint must have.
const FILES: [(&str, &str); 86] = [
    // No TOML.
    ("vlan =", "not TOML"),
    ("vlan", "not TOML"),
    ("= 7", "not TOML"),
    ("vlan = 7 8", "not TOML"),
    ("vlan = 07", "not TOML"),
    ("vlan = seven", "not TOML"),
    ("root = \"site", "not TOML"),
    ("root = 'site\"", "not TOML"),
    ("root = \"\\q\"", "not TOML"),
    ("listen = [\"10.77.0.2:80\"", "not TOML"),
    ("[vlan", "not TOML"),
    ("vlan = 7, mtu = 8", "not TOML"),
    ("poll = True", "not TOML"),
    ("device = \"null\"", "not TOML"),
    // No key.
    ("vlam = 7", "did you mean `vlan`"),
    ("stop_within = \"5s\"", "did you mean `stop-within`"),
    ("Root = \"site\"", "did you mean `root`"),
    ("colour = \"red\"", "no such key"),
    ("\"\" = 1", "no such key"),
    ("[server]", "no such key"),
    ("server.root = \"site\"", "no such key"),
    ("config = \"b.toml\"", "only be typed"),
    ("check = true", "only be typed"),
    ("help = true", "only be typed"),
    ("version = true", "only be typed"),
    // No value of that kind.
    ("poll = 1", "true or false"),
    ("listing = \"yes\"", "true or false"),
    ("quiet = [true]", "true or false"),
    ("vlan = true", "boolean cannot be ID"),
    ("vlan = 1.5", "float cannot be ID"),
    ("vlan = [0]", "not in 1..=4094"),
    ("vlan = { id = 7 }", "table cannot be ID"),
    ("root = 1979-05-27", "datetime cannot be DIR"),
    ("vlan = 0x7", "decimal"),
    ("listen = []", "empty"),
    ("listen = [80]", "80"),
    ("listen = [[\"10.77.0.2:80\"]]", "array cannot be ADDR:PORT"),
    ("root = \"a\\nb\"", "control character"),
    ("root = \"a\\u0000b\"", "control character"),
    // No value within its bounds.
    ("vlan = 0", "0"),
    ("vlan = 4095", "4095"),
    ("vlan = -1", "-1"),
    ("vlan = 99999999999999999999", "vlan"),
    ("port = 0", "0"),
    ("port = 65536", "65536"),
    ("port = \"http\"", "http"),
    ("mtu = 70000", "70000"),
    ("mtu = 575", "at least 576"),
    ("tls-cert = \"cert.pem\"", "add --tls-listen"),
    ("tls-key = \"key.pem\"", "add --tls-listen"),
    ("gateway = \"router\"", "router"),
    ("gateway = \"10.77.0.1/24\"", "10.77.0.1/24"),
    ("stop-within = \"soon\"", "soon"),
    ("stop-within = \"\"", "stop-within"),
    ("faults = \"loss=101\"", "loss"),
    ("faults = \"colour=red\"", "colour"),
    ("no-huge = \"much\"", "much"),
    ("no-huge = 0", "0 MB"),
    ("core = -1", "-1"),
    ("core = 5000", "no core 5000"),
    ("sockets = 0", "cannot be 0"),
    ("sockets = 16777217", "16777216"),
    ("receive-frames = 0", "cannot be 0"),
    ("descriptors = 0", "cannot be 0"),
    ("descriptors = 32769", "32768"),
    ("header-bytes = 255", "255"),
    ("header-bytes = 65537", "65537"),
    ("most-requests = 0", "0"),
    ("most-connections = 0", "cannot be 0"),
    ("header-within = 0", "needs some time"),
    ("idle-within = \"0ms\"", "needs some time"),
    ("send-within = \"90000s\"", "more than a day"),
    ("listen = [\"10.77.0.2\"]", "10.77.0.2"),
    ("listen = [\"10.77.0.2:0\"]", "no port"),
    ("listen = [\"[fd00::1]:80\"]", "not among --address"),
    ("metrics = \"metrics\"", "begin with /"),
    ("metrics = \"/a b\"", "begin with /"),
    // Not together.
    ("gateway = \"10.78.0.1\"", "in no subnet"),
    ("gateway = \"10.77.0.2\"", "address of our own"),
    ("listen = [\"10.77.0.3:80\"]", "not among --address"),
    ("listen = [\"10.77.0.2:80\", \"10.77.0.2:80\"]", "twice"),
    ("metrics-listen = \"10.77.0.2:9100\"", "no metrics"),
    // No file.
    ("root = \"missing\"", "missing"),
    ("root = \"a.toml\"", "a.toml"),
    ("access-log = \"missing/access.log\"", "no folder `missing`"),
    ("json-report = \"site\"", "no name for a file"),
];

/// Command lines that are wrong, and words of their one complaint. `@` stands for what is needed.
const LINES: [(&str, &str); 31] = [
    ("", "--device"),
    ("--device null", "--address"),
    ("--address 10.77.0.2/24", "--device"),
    ("@ --frobnicate", "--frobnicate"),
    ("@ --vlam 7", "--vlan"),
    ("@ stray", "stray"),
    ("@ --port", "--port"),
    ("@ --port 80 --port 81", "--port"),
    ("@ --poll=yes", "--poll"),
    ("@ --device null", "whose is 10.77.0.2/24?"),
    ("@ --device pcap:in.pcap,out.pcap", "named twice"),
    ("--device nothing --address 10.77.0.2/24", "no device"),
    ("--device null --address 10.77.0.2", "prefix length"),
    ("--device null --address 10.77.0.2/33", "prefix length"),
    ("--device null --address ff02::1/64", "unicast"),
    ("--device null --address 0.0.0.0/24", "unicast"),
    ("--device null --address 224.0.0.1/24", "unicast"),
    ("--device null --address 127.0.0.1/8", "unicast"),
    ("--device null --address 10.77.0.0/24", "subnet"),
    ("--device null --address 10.77.0.255/24", "broadcast"),
    ("@ --address 10.77.0.2/24", "twice"),
    ("@ --port 80 --listen 10.77.0.2:81", "beside --listen"),
    ("@ --listen 10.77.0.9:80", "not among --address"),
    ("@ --metrics --metrics-listen 10.77.0.2:80", "where the site is"),
    ("@ --metrics --listen 10.77.0.2:81 --metrics-listen 10.77.0.2:81", "twice"),
    ("@ --metrics=/a?b", "begin with /"),
    ("@ --sockets 10 --most-connections 11", "from 1 to 10"),
    ("@ --access-log x --json-report x", "the report's too"),
    ("@ --config", "--config"),
    ("@ --config missing.toml", "missing.toml"),
    ("@ --config site", "site"),
];

#[test]
fn each_mistake_in_a_file_is_one_line() {
    // Shows for each that it is told in one line with file, line, key and cause, that the status is not zero, and that
    // no device was opened; that the file without it is good; and that --check says the same.
    let place = Place::new("file");
    let good = place.with_file(NEEDED, &["--root", "site", "--check"]);
    assert_eq!(good, (Some(0), vec![]));
    for (line, words) in FILES {
        for more in [&[][..], &["--check"]] {
            let (status, lines) = place.with_file(&format!("{NEEDED}{line}\n"), more);
            assert!(status == Some(1) || status == Some(2), "{line}: {status:?}: {lines:?}");
            assert_eq!(lines.len(), 1, "{line}: {lines:?}");
            assert!(lines[0].starts_with("httpd: a.toml:3: "), "{line}: {lines:?}");
            assert!(lines[0].contains(words), "{line}: {lines:?}");
            assert!(lines[0].contains([';', '?']), "{line} has no remedy: {lines:?}");
            let key = line.split([' ', '.']).next().unwrap_or(line);
            assert!(
                words.contains("TOML") || key.starts_with(['[', '"']) || lines[0].contains(key),
                "{lines:?}"
            );
        }
    }
}

#[test]
fn each_mistake_on_the_command_line_is_one_line() {
    // Shows the same for what is typed.
    let place = Place::new("line");
    for (line, words) in LINES {
        let line = line.replace('@', "--device pcap:in.pcap,out.pcap --address 10.77.0.2/24");
        let arguments: Vec<&str> = line.split_whitespace().collect();
        let (status, lines) = place.lines(&place.httpd(&arguments));
        assert!(status == Some(1) || status == Some(2), "{line}: {status:?}: {lines:?}");
        assert_eq!(lines.len(), 1, "{line}: {lines:?}");
        assert!(lines[0].starts_with("httpd: ") && lines[0].contains(words), "{line}: {lines:?}");
        assert!(lines[0].contains([';', '?']), "{line} has no remedy: {lines:?}");
    }
}

#[test]
fn all_mistakes_of_a_file_are_told_at_once() {
    // Shows several in one file, in the order of their lines: of values, of syntax, and of what does not fit together.
    let place = Place::new("many");
    let numbers = |text: &str| -> Vec<String> {
        let (_, lines) = place.with_file(text, &[]);
        lines.iter().map(|line| line.split(':').nth(2).unwrap_or(line).to_owned()).collect()
    };
    assert_eq!(numbers(&format!("vlan = 0\n{NEEDED}poll = 1\n\ncolour = 2\n")), ["1", "4", "6"]);
    assert_eq!(numbers("a = \nb = 1\nc = = 2\n"), ["1", "3"]);
    let gateway = "gateway = \"10.78.0.1\"\nmtu = 100\nroot = \"missing\"\n";
    assert_eq!(numbers(&format!("{NEEDED}{gateway}")), ["3", "4", "5"]);
}

#[test]
fn what_is_typed_overrides_the_file() {
    // Shows a value, a list, a switch given twice, an option and the one it excludes, and an empty value.
    let place = Place::new("both");
    let file = format!("{NEEDED}port = 81\nverbose = true\nmtu = 1400\nlisting = true\nroot = \"missing\"\n");
    fs::write(place.0.join("a.toml"), file).expect("writable");
    let path = place.0.join("a.toml").display().to_string();
    let typed = "-qv --mtu=1300 --address 10.9.0.2/16 --listen 10.9.0.2:80 --root";
    let mut words: Vec<String> = typed.split(' ').map(str::to_owned).collect();
    words.extend([place.0.join("site").display().to_string(), "--config".to_owned(), path]);
    let (options, origins) = read::<Options>(&words, &ALTERNATIVES).expect("good options");
    options.check(&origins).expect("they fit together");
    assert_eq!((options.lane.mtu[0].value.0, options.port, options.listing), (1300, None, true));
    assert_eq!(options.lane.address.len(), 1);
    assert_eq!(options.doors().site, ["10.9.0.2:80".parse().expect("an address")]);
    assert!(options.quiet && options.lane.verbose);
}

#[test]
fn the_example_names_every_option_with_its_default() {
    // Shows that it is good as it stands, that each option is in it once, and that what is commented out is good too.
    let text = fs::read_to_string(EXAMPLE).expect("the example is there");
    let words = vec!["--config".to_owned(), EXAMPLE.to_owned()];
    let (options, origins) = read::<Options>(&words, &ALTERNATIVES).expect("good options");
    options.check(&origins).expect("they fit together");
    let keys: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split_once(" = "))
        .map(|(key, _)| key.trim_start_matches('#'))
        .filter(|key| !key.contains(' '))
        .collect();
    let typed_only = ["check", "config", "help", "version"];
    let command = Options::command();
    for arg in command.get_arguments() {
        let Some(name) = arg.get_long().filter(|name| !typed_only.contains(name)) else { continue };
        assert_eq!(keys.iter().filter(|key| **key == name).count(), 1, "{name}");
        let line = text.lines().find(|line| line.trim_start_matches('#').starts_with(&format!("{name} = ")));
        let value = line.and_then(|line| line.split_once(" = ")).map(|(_, value)| value.trim_matches('"'));
        for default in arg.get_default_values() {
            assert_eq!(value, default.to_str(), "{name}");
        }
    }
    assert!(
        keys.iter().all(|key| command.get_arguments().any(|arg| arg.get_long() == Some(key))),
        "{keys:?}"
    );
    let place = Place::new("example");
    let whole: String = text
        .lines()
        .map(|line| match line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')) {
            Some(key)
                if !["port", "tls"].iter().any(|left| key.starts_with(left)) && !key.contains("\"/") =>
            {
                format!("{key}\n")
            }
            _ => format!("{line}\n"),
        })
        .collect();
    let whole = whole.replace("metrics = false", "metrics = true").replace("pcap:", "tap:");
    assert_eq!(place.with_file(&whole, &["--check"]), (Some(0), vec![]));
}
