//! Compares every kernel, in every variant that could be chosen on this adapter, with its oracle.

use wgpt::doctor::Doctor;

use crate::device::device;

fn family(name: &str) {
    let device = device();
    let mut doctor = Doctor::new(&device.gpu, false);
    pollster::block_on(doctor.check(name)).expect("the driver works");
    assert!(!doctor.rows().is_empty());
    let failed: Vec<_> = doctor.rows().iter().filter(|row| !row.pass).collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn matmul() {
    family("matmul");
}

#[test]
fn attention() {
    family("attention");
}

#[test]
fn rows() {
    family("rows");
}

#[test]
fn flat() {
    family("flat");
}

#[test]
fn position() {
    family("position");
}

#[test]
fn packed() {
    family("packed");
}

#[test]
fn paged() {
    family("paged");
}

#[test]
fn sample() {
    family("sample");
}

#[test]
fn losses() {
    family("losses");
}
