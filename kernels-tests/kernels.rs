//! Compares every kernel, in every variant that could be chosen on this adapter, with its oracle.

use wgpt::{
    Error,
    doctor::{Doctor, FAMILIES},
};

use crate::device::device;

fn family(name: &str) {
    let device = device();
    let mut doctor = Doctor::new(&device.gpu, false);
    pollster::block_on(doctor.check(name)).expect("the driver works");
    assert!(!doctor.rows().is_empty());
    let failed: Vec<_> = doctor.rows().iter().filter(|row| !row.pass).collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

/// A test for each family.
macro_rules! families {
    ($($name:ident),*) => {
        $(
            #[test]
            fn $name() {
                family(stringify!($name));
            }
        )*

        #[test]
        fn every_family_has_a_test() {
            assert_eq!(FAMILIES, [$(stringify!($name)),*]);
        }
    };
}

families!(matmul, attention, rows, flat, position, packed, paged, sample, losses);

#[test]
fn a_family_that_there_is_not_is_an_error() {
    let device = device();
    let mut doctor = Doctor::new(&device.gpu, false);
    let said = pollster::block_on(doctor.check("positions")).expect_err("there is no such family");
    assert!(matches!(said, Error::Usage(_)) && said.to_string().contains("no checks 'positions'"), "{said}");
    assert!(said.to_string().contains("matmul, attention, rows"), "{said}");
    assert!(doctor.rows().is_empty());
}
