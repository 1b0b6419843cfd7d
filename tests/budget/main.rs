//! Budgets: what the core may cost, by count and never by clock. One binary of its own, because counting
//! allocations needs an allocator of its own.
//!
//! `sizes` and `allocations` have recorded ceilings; `messages` says what may go over the wire for a
//! change; `bounds` what a peer can make us keep, as told in `src/architecture.md` ("What memory is bounded
//! by"). Instructions are counted by `tests/budget/run`, under callgrind. A figure that is above its
//! ceiling is looked into before the ceiling is raised; one that has become clearly smaller lowers it.

#![expect(clippy::unwrap_used, reason = "a test ends where its premise fails")]

mod allocations;
mod bounds;
mod hub;
mod messages;
mod phases;
mod program;
mod sizes;
mod table;
