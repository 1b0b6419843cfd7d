//! AS_PATH: what policy and the decision process ask of it.

use core::fmt;

use super::AsPath;
use crate::net::Asn;

impl AsPath {
    /// The length that the decision process compares: a set counts 1, confederation segments 0.
    #[expect(
        clippy::len_without_is_empty,
        reason = "a length of 0 is not an empty path"
    )]
    pub fn len(&self) -> usize {
        todo!()
    }

    /// The first number of a leading AS_SEQUENCE: the neighbour that sent it.
    pub fn first_as(&self) -> Option<Asn> {
        todo!()
    }

    /// The neighbour AS that MED is compared within: the first number of the first AS_SEQUENCE
    /// after confederation segments; `None` for a path from inside or one that starts with a set.
    pub fn neighbour_as(&self) -> Option<Asn> {
        todo!()
    }

    /// The last number: the origin, if the path ends in an AS_SEQUENCE.
    pub fn origin_as(&self) -> Option<Asn> {
        todo!()
    }

    /// Whether `asn` is anywhere in it.
    pub fn contains(&self, asn: Asn) -> bool {
        let _ = asn;
        todo!()
    }

    /// How often `asn` is in it.
    pub fn count(&self, asn: Asn) -> usize {
        let _ = asn;
        todo!()
    }

    /// Puts `asn` in front; a full segment or a set starts a new AS_SEQUENCE.
    pub fn prepend(&mut self, asn: Asn) {
        let _ = asn;
        todo!()
    }
}

impl fmt::Display for AsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let _ = f;
        todo!()
    }
}
