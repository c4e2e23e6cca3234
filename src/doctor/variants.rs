//! Lists the variants by running the checks of all families on an imagined device. So no list has to be kept beside the
//! checks, and whatever can be chosen anywhere is also checked.

use std::collections::HashSet;

use super::{Doctor, FAMILIES};
use crate::{
    Result,
    gpu::{Capabilities, Gpu, Variant},
};

/// Every variant that an adapter with these capabilities could choose, for the head widths in the checks, sorted by
/// name. `gpu` need not have these capabilities; it only lends a device that does nothing.
///
/// # Errors
/// [`crate::Error::Shape`] when a check cannot run within these limits.
pub async fn variants(gpu: &Gpu, capabilities: Capabilities) -> Result<Vec<Variant>> {
    let imagined = gpu.imagine_as(capabilities);
    let mut doctor = Doctor::new(&imagined, false);
    let mut found = HashSet::new();
    for family in FAMILIES {
        doctor.check(family).await?;
        let works = imagined.ledger().map(|mut ledger| ledger.take(false).works).unwrap_or_default();
        found.extend(works.into_iter().map(|work| work.variant));
    }
    let mut found: Vec<_> = found.into_iter().collect();
    found.sort_by_cached_key(Variant::to_string);
    Ok(found)
}

/// The [`variants`] of several adapters together.
///
/// # Errors
/// As [`variants`].
pub async fn variants_of(gpu: &Gpu, adapters: Vec<Capabilities>) -> Result<Vec<Variant>> {
    let mut found = Vec::new();
    for capabilities in adapters {
        found.extend(variants(gpu, capabilities).await?);
    }
    found.sort_by_cached_key(Variant::to_string);
    found.dedup();
    Ok(found)
}
