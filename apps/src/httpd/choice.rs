//! What of a file a request gets: all of it, a part, or the word that it has it. Sending that is `answer.rs`'s.

use std::time::SystemTime;

use super::connection::Wanted;
use crate::files::OpenedFile;
use crate::http::{EntityTag, FileFields, Span, Status, Verdict};

/// Which version of a file an answer is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Version {
    pub tag: EntityTag,
    /// Whole seconds.
    pub modified: SystemTime,
    /// Units: bytes.
    pub length: u64,
}

/// What a request gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Choice {
    /// The file.
    Whole,
    /// A part of it, not empty.
    Part(Span),
    /// The word that it did not change.
    Unchanged,
    /// A page with this status.
    Refused(Status),
}

impl Wanted {
    /// What this request gets of a version of a file.
    pub(super) fn choose(&self, version: Option<&Version>, now: SystemTime) -> Choice {
        let Some(version) = version.filter(|_| self.status == Status::Ok) else { return Choice::Whole };
        match self.conditions.judge(self.method, version.tag, version.modified) {
            Verdict::NotModified => return Choice::Unchanged,
            Verdict::Failed => return Choice::Refused(Status::PreconditionFailed),
            Verdict::Proceed => {}
        }
        let Some(range) = self.range.filter(|_| version.length > 0) else { return Choice::Whole };
        if !self.conditions.allow_range(version.tag, version.modified, now) {
            return Choice::Whole;
        }
        //= https://www.rfc-editor.org/rfc/rfc9110#section-14.2
        //# the ranges-specifier is unsatisfiable with respect to the selected
        //# representation, the server SHOULD send a 416 (Range Not Satisfiable)
        //# response.
        range.within(version.length).map_or(Choice::Refused(Status::RangeNotSatisfiable), Choice::Part)
    }
}

/// The fields of a file's answers, and its version.
pub(super) fn describe(file: &OpenedFile) -> (FileFields, Option<Version>) {
    if file.made {
        let length = u64::try_from(file.first.len()).unwrap_or(u64::MAX);
        return (FileFields::made(file.media_type, length), None);
    }
    let identity = &file.identity;
    let version =
        Version { tag: identity.tag(), modified: identity.modified_time(), length: identity.length };
    let fields = FileFields::new(file.media_type, version.length, version.modified, version.tag);
    (fields, Some(version))
}
