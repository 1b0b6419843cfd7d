//! The reconciler against a fake kernel.
