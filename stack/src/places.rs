//! Where tables lie in memory: for who traces which cache lines a segment touches.

use core::ops::Range;

/// A table and its addresses, which hold until it grows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// What is kept there.
    pub name: &'static str,
    /// From its first byte to behind its last.
    pub at: Range<usize>,
}

impl Place {
    /// The memory of a table's elements.
    pub(crate) fn of<T>(name: &'static str, elements: &[T]) -> Place {
        let start = elements.as_ptr().addr();
        Place { name, at: start..start + size_of_val(elements) }
    }
}
