//! Charts and pages of runs: SVG charts, and self-contained HTML.

pub mod against_kl;
pub mod calibration;
pub mod curve;
pub mod page;
pub mod panels;
pub mod timeline;
