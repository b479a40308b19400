//! The page that lists a folder which has no index. Which folder may be listed is decided in `root.rs`.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use percent_encoding::{AsciiSet, CONTROLS, percent_encode};

use crate::http::date_text;

/// Most entries of a page. What is beyond is left out, and the page says so.
const ENTRIES_MAX: usize = 4096;

/// What must not stand in a path segment of an address as it is. Everything beyond ASCII is escaped anyway.
const SEGMENT: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'&')
    .add(b'\'')
    .add(b'+')
    .add(b'/')
    .add(b':')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

const STYLE: &str = "body{font:16px/1.6 system-ui,sans-serif;max-width:52rem;margin:6vh auto;padding:0 1rem;\
    color:#1d2b3a;background:#fff}h1{font-size:1.3rem;overflow-wrap:anywhere}table{width:100%;\
    border-collapse:collapse}td{padding:.25rem .5rem;border-top:1px solid #e3e8ee}td+td{white-space:nowrap;\
    text-align:right;color:#5b6b7c;font-variant-numeric:tabular-nums}a{color:#0b5cad;text-decoration:none;\
    overflow-wrap:anywhere}a:hover{text-decoration:underline}@media(prefers-color-scheme:dark){\
    body{color:#dbe4ee;background:#12181f}td{border-color:#2a3541}a{color:#7ab8f5}}";

/// One line of the page.
struct Entry {
    folder: bool,
    name: Vec<u8>,
    bytes: u64,
    modified: SystemTime,
}

/// The page for the folder at `place`, which is `relative` to `root`.
///
/// Left out: names that begin with a dot, that no address can name, and what is neither a file nor a folder inside
/// the root. Sorted: folders first, then by name.
pub(super) fn listing(place: &Path, root: &Path, relative: &[u8]) -> io::Result<String> {
    let mut entries = Vec::new();
    let mut more = false;
    for entry in fs::read_dir(place)? {
        if entries.len() == ENTRIES_MAX {
            more = true;
            break;
        }
        // What went away meanwhile is not listed.
        entries.extend(entry.ok().and_then(|entry| line(&entry, root)));
    }
    entries.sort_unstable_by(|a, b| b.folder.cmp(&a.folder).then_with(|| a.name.cmp(&b.name)));
    Ok(page(relative, &entries, more))
}

fn line(entry: &fs::DirEntry, root: &Path) -> Option<Entry> {
    let name = entry.file_name().as_bytes().to_vec();
    let nameable = |byte: &u8| !byte.is_ascii_control() && *byte != b'\\';
    if name.starts_with(b".") || !name.iter().all(nameable) {
        return None;
    }
    let path = entry.path();
    if entry.file_type().ok()?.is_symlink() && !path.canonicalize().ok()?.starts_with(root) {
        return None;
    }
    let metadata = fs::metadata(path).ok().filter(|metadata| metadata.is_dir() || metadata.is_file())?;
    let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    Some(Entry { folder: metadata.is_dir(), name, bytes: metadata.len(), modified })
}

fn page(relative: &[u8], entries: &[Entry], more: bool) -> String {
    let slash = if relative.is_empty() { "" } else { "/" };
    let title = escape(&format!("/{}{slash}", String::from_utf8_lossy(relative)));
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title><style>{STYLE}</style>\
         <h1>{title}</h1><table>\n"
    );
    if !relative.is_empty() {
        page.push_str("<tr><td><a href=\"../\">../</a><td><td>\n");
    }
    for Entry { folder, name, bytes, modified } in entries {
        let slash = if *folder { "/" } else { "" };
        let (href, text) = (percent_encode(name, SEGMENT), escape(&String::from_utf8_lossy(name)));
        let size = if *folder { "–".to_owned() } else { size(*bytes) };
        // Writing to a string does not fail.
        let _ = writeln!(
            page,
            "<tr><td><a href=\"./{href}{slash}\">{text}{slash}</a><td>{size}<td>{}",
            day(*modified)
        );
    }
    page.push_str("</table>\n");
    if more {
        let _ = writeln!(page, "<p>There is more here than the {ENTRIES_MAX} entries shown.");
    }
    page
}

/// Text that a page can hold without becoming markup.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            letter => escaped.push(letter),
        }
    }
    escaped
}

/// A length as people read it, rounded down.
fn size(bytes: u64) -> String {
    let mut lower = bytes;
    for unit in ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"] {
        if lower < 1024 {
            break;
        }
        if lower >> 10 < 1024 {
            let tenths = lower * 10 / 1024;
            return format!("{}.{} {unit}", tenths / 10, tenths % 10);
        }
        lower >>= 10;
    }
    format!("{bytes} B")
}

/// A date as `06 Nov 1994 08:49`, in UTC. A file's date is whatever somebody has set it to.
fn day(time: SystemTime) -> String {
    const LATEST: Duration = Duration::from_secs(253_402_300_799);
    let known = time.duration_since(SystemTime::UNIX_EPOCH).is_ok_and(|age| age <= LATEST);
    let text = date_text(if known { time } else { SystemTime::UNIX_EPOCH });
    String::from_utf8_lossy(&text[5..22]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_readable() {
        // Shows both sides of the first steps, and the largest there is.
        let sizes = [0, 1023, 1024, 1536, (1 << 20) - 1, 1 << 20, 5 << 30, u64::MAX].map(size);
        let expected =
            ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1023.9 KiB", "1.0 MiB", "5.0 GiB", "15.9 EiB"];
        assert_eq!(sizes, expected);
    }

    #[test]
    fn names_cannot_become_markup_or_other_addresses() {
        // Shows a hostile name in the page: as text it is escaped, as a link it stays one segment.
        let name = b"<img src=x onerror='alert(\"1\")'>&javascript:\xff%2e".to_vec();
        let entry = Entry { folder: false, name, bytes: 7, modified: SystemTime::UNIX_EPOCH };
        let page = page(b"a<b", &[entry], true);
        assert!(page.contains("<h1>/a&lt;b/</h1>"), "{page}");
        assert!(page.contains(
            "&lt;img src=x onerror=&#39;alert(&quot;1&quot;)&#39;&gt;&amp;javascript:\u{fffd}%2e</a>"
        ));
        let link = "href=\"./%3Cimg%20src=x%20onerror=%27alert(%221%22)%27%3E%26javascript%3A%FF%252e\"";
        assert!(page.contains(link), "{page}");
        assert!(page.contains("<td>7 B<td>01 Jan 1970 00:00") && page.contains("more here than"));
        assert!(!page.contains("<img"));
    }
}
