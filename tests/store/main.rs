//! Ring one: the embedded store on temporary folders, by a clock that the tests set.

mod ask;
mod hours;
mod open;
mod sql;
mod support;
mod task;
mod write;
