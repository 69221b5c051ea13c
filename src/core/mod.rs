//! What casedrop decides. Pure: no I/O, no clock, no randomness that is not an argument; imports nothing of
//! the other modules but `types`.

pub mod absence;
pub mod adopt;
pub mod budget;
pub mod clock;
pub mod compare;
pub mod convert;
pub mod fair;
pub mod handover;
mod hold;
pub mod hook;
pub mod model;
pub mod naming;
pub mod pacer;
#[cfg(test)]
mod pacer_sim;
mod park;
pub mod plan;
pub mod preflight;
pub mod reference;
pub mod report;
pub mod retry;
mod root;
pub mod routing;
pub mod scope;
pub mod settle;
pub mod sidecar;
mod words;
