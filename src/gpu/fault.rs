//! Collects what the driver reports asynchronously: validation errors, lost devices, exhausted memory.

use std::sync::{Arc, Mutex};

use crate::{Error, Result};

/// The first thing that went wrong on a device. Sticky: a device that faulted stays faulted.
#[derive(Clone, Default)]
pub struct Fault(Arc<Mutex<Option<Kind>>>);

enum Kind {
    Lost(String),
    OutOfMemory(String),
    Invalid(String),
}

impl Fault {
    /// Watches a device: from now on its errors are kept here instead of ending the process.
    pub fn watch(device: &wgpu::Device) -> Self {
        let fault = Self::default();
        let errors = fault.clone();
        device.on_uncaptured_error(Arc::new(move |error| {
            errors.set(match error {
                wgpu::Error::OutOfMemory { source } => Kind::OutOfMemory(source.to_string()),
                wgpu::Error::Validation { description, .. } => Kind::Invalid(description),
                wgpu::Error::Internal { description, .. } => Kind::Invalid(description),
            });
        }));
        let lost = fault.clone();
        device.set_device_lost_callback(move |reason, message| lost.set(Kind::Lost(format!("{reason:?}: {message}"))));
        fault
    }

    fn set(&self, kind: Kind) {
        let mut slot = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        // A lost device explains every other report, so it replaces what was kept.
        if slot.is_none() || matches!(kind, Kind::Lost(_)) {
            *slot = Some(kind);
        }
    }

    /// Fails if anything was reported; `kernel` is the last one recorded.
    ///
    /// # Errors
    /// The report as [`Error::DeviceLost`], [`Error::OutOfMemory`] or [`Error::Kernel`].
    pub fn check(&self, kernel: &str) -> Result<()> {
        let slot = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match slot.as_ref() {
            None => Ok(()),
            Some(Kind::Lost(reason)) => {
                Err(Error::DeviceLost { reason: reason.clone(), kernel: kernel.to_string(), saved: None })
            }
            Some(Kind::OutOfMemory(reason)) => Err(Error::OutOfMemory(reason.clone())),
            Some(Kind::Invalid(reason)) => {
                Err(Error::Kernel { kernel: kernel.to_string(), reason: reason.trim().to_string() })
            }
        }
    }
}
