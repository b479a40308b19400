//! The common segment, or nothing.
