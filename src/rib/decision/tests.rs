//! Laws of the decision process.
