//! The journal on real files.

mod group;
mod open;
mod read;
mod reader;
mod stages;
pub(super) mod support;
mod write;
