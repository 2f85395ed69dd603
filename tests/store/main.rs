//! Ring one: the embedded store on temporary folders, by a clock that the tests set.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod ask;
mod commands;
mod diff;
mod flow;
mod folded;
mod hours;
mod open;
mod paths;
mod sql;
mod support;
mod task;
mod write;
