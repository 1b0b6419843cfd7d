//! stub
pub(crate) fn refresh() {}
