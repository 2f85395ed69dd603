//! Ring one: the spool, on temporary folders and on a simulated disk whose power can be cut.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod bounds;
mod damage;
mod full;
mod kill;
mod order;
mod power;
mod support;
mod virtual_disk;
