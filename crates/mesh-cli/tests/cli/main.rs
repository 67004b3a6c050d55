//! The `mesh` binary as people and scripts use it: leaders in processes of their own, with free ports and temporary
//! folders.

mod commands;
mod common;
mod faults;
mod metadata;
mod serve;
mod topology;
mod usage;
