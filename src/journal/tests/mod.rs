//! The journal on real files.
#![allow(clippy::disallowed_methods, reason = "real threads")]

mod group;
mod migrate;
mod open;
mod read;
mod reader;
mod stages;
pub(super) mod support;
mod write;
