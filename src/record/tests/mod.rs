//! Whole lives on a real journal.

mod adoption;
mod attempts;
mod endings;
mod ingest;
mod keep;
mod life;
mod manual;
mod states;
mod support;
mod walk;
