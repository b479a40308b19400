//! From a request's target to the path of a file below the root. Whether it exists is the file thread's to say.

use percent_encoding::percent_decode;

use super::Status;

/// Where below the root a target points.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FilePath {
    /// Relative to the root, no slash at either end, no empty, `.` or `..` segment; empty for the root itself.
    pub relative: Vec<u8>,
    /// The target ends with a slash: a folder is meant.
    pub folder: bool,
}

/// The path of a target in origin form or absolute form.
///
/// Errors: the target names nothing that could be a file; the status says how to answer.
pub fn file_path(target: &str) -> Result<FilePath, Status> {
    let path = path_part(target).ok_or(Status::BadRequest)?;
    if !escapes_are_whole(path.as_bytes()) {
        return Err(Status::BadRequest);
    }
    // Decoded exactly once, and judged only afterwards: what hides in an escape is seen.
    let decoded: Vec<u8> = percent_decode(path.as_bytes()).collect();
    if decoded.iter().any(|&byte| byte < b' ' || byte == 0x7f || byte == b'\\') {
        return Err(Status::BadRequest);
    }
    let inner = decoded.strip_prefix(b"/").ok_or(Status::BadRequest)?;
    let folder = inner.is_empty() || inner.ends_with(b"/");
    let inner = inner.strip_suffix(b"/").unwrap_or(inner);
    let strange = |segment: &[u8]| matches!(segment, b"" | b"." | b"..");
    if decoded.len() > 1 && inner.split(|&byte| byte == b'/').any(strange) {
        return Err(Status::BadRequest);
    }
    Ok(FilePath { relative: inner.to_vec(), folder })
}

/// The path of a target, without its query.
fn path_part(target: &str) -> Option<&str> {
    let path = if target.starts_with('/') { target } else { after_authority(target)? };
    if path.contains('#') {
        return None;
    }
    Some(path.split_once('?').map_or(path, |(path, _)| path))
}

//= https://www.rfc-editor.org/rfc/rfc9112#section-3.2.2
//# A server MUST accept the absolute-form in requests even though most
//# HTTP/1.1 clients will only send the absolute-form to a proxy.
fn after_authority(target: &str) -> Option<&str> {
    let (scheme, rest) = target.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("http") || rest.is_empty() || rest.starts_with(['/', '?']) {
        return None;
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let path = &rest[end..];
    Some(if path.starts_with('/') { path } else { "/" })
}

fn escapes_are_whole(path: &[u8]) -> bool {
    let mut rest = path;
    while let Some(at) = rest.iter().position(|&byte| byte == b'%') {
        match rest.get(at + 1..at + 3) {
            Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => rest = &rest[at + 3..],
            _ => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(target: &str) -> Result<(String, bool), Status> {
        let path = file_path(target)?;
        Ok((String::from_utf8(path.relative).expect("the tests' paths are text"), path.folder))
    }

    #[test]
    fn targets_name_files_below_the_root() {
        // Shows both forms, the query, escapes, and what is a folder.
        let ok = |relative: &str, folder| Ok((relative.to_owned(), folder));
        assert_eq!(path("/"), ok("", true));
        assert_eq!(path("/a/b.html"), ok("a/b.html", false));
        assert_eq!(path("/a/?x=/../y"), ok("a", true));
        assert_eq!(path("/with%20space%2Bplus"), ok("with space+plus", false));
        assert_eq!(path("http://host:80/a"), ok("a", false));
        assert_eq!(path("HTTP://host"), ok("", true));
        assert_eq!(path("http://host?q"), ok("", true));
        assert_eq!(path("/..a/...b/c.."), ok("..a/...b/c..", false));
    }

    #[test]
    fn an_escape_is_decoded_once() {
        // Shows that an escaped escape stays one: `%2525` is the three characters `%25`.
        assert_eq!(path("/%2525").map(|path| path.0), Ok("%25".to_owned()));
        assert_eq!(path("/%252e%252e/x").map(|path| path.0), Ok("%2e%2e/x".to_owned()));
    }

    #[test]
    fn paths_that_would_leave_the_root_are_refused() {
        // Shows each known way of writing one: plain, escaped, mixed, backslashes, NUL, controls, empty segments.
        let hostile = [
            "/..",
            "/../etc/passwd",
            "/a/../../b",
            "/a/..",
            "/a/../",
            "/%2e%2e/x",
            "/.%2E/x",
            "/..%2fx",
            "/a%2f..%2f..%2fb",
            "/./a",
            "/a/./b",
            "/.",
            "/..\\x",
            "/a%5c..%5cb",
            "/a%00.html",
            "/a%0d%0ab",
            "/a%7f",
            "//",
            "//host/x",
            "/a//b",
            "/%2f",
            "/%2fetc",
            "/a/%2f",
        ];
        for target in hostile {
            assert_eq!(path(target), Err(Status::BadRequest), "{target}");
        }
    }

    #[test]
    fn malformed_targets_are_refused() {
        // Shows bad escapes and forms that are not for GET.
        for target in ["", "a", "*", "host:80", "/%", "/%4", "/%zz", "/%4g", "/a#b", "http:///x", "ftp://h/x"]
        {
            assert_eq!(path(target), Err(Status::BadRequest), "{target}");
        }
    }
}
