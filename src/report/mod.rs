//! Pictures and pages of runs: SVG charts, and HTML that fetches nothing.

pub mod calibration;
pub mod curve;
pub mod page;
pub mod panels;
pub mod timeline;
