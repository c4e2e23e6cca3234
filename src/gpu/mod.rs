//! The adapter, its kernels and its memory. This layer knows buffers and bytes; tensors come above it.
//!
//! * [`context`]: [`Gpu`], opened on a chosen adapter.
//! * [`adapter`]: which adapters exist, which one is taken.
//! * [`capabilities`]: what the adapter offers beyond the WebGPU baseline.
//! * [`compose`] and [`reflect`]: WGSL text in an adapter's [`Form`] to pipeline layout; [`kernel`] caches the result.
//! * [`platform`]: what adapters elsewhere may offer; [`translate`]: a kernel's text in their drivers' languages.
//! * [`recorder`]: dispatches and copies, in order, into few submissions; [`bindings`] caches bind groups.
//! * [`pool`]: buffers by size class; [`readback`]: bytes back to the host; [`capacity`]: what still fits.
//! * [`imagine`]: a device that only takes notes of what it would do; [`replay`]: doing it for real.
//! * [`profile`]: time per kernel; [`race`]: which of several calls is the fastest; [`tune`]: what was found out so.

pub mod adapter;
pub mod bindings;
pub mod capabilities;
pub mod capacity;
pub mod compose;
pub mod context;
pub mod fault;
pub mod imagine;
pub mod kernel;
pub mod platform;
pub mod pool;
pub mod profile;
pub mod race;
pub mod readback;
pub mod recorder;
pub mod reflect;
pub mod replay;
#[cfg(test)]
mod tests;
#[cfg(not(target_family = "wasm"))]
pub mod translate;
pub mod tune;
pub mod wait;

pub use bindings::{Bind, Param};
pub use capabilities::Capabilities;
pub use compose::Form;
pub use context::{Gpu, Options};
pub use kernel::{Constant, Kernel, Variant};
pub use pool::Storage;

/// Names the buffers of a dispatch: `binds![a: a.bind(), out: out.bind()]`.
#[macro_export]
macro_rules! binds {
    ($($name:ident : $bind:expr),* $(,)?) => { &[$((stringify!($name), $bind)),*] };
}

/// Names the parameters of a dispatch: `params![rows: rows, scale: 0.5f32]`.
#[macro_export]
macro_rules! params {
    ($($name:ident : $value:expr),* $(,)?) => { &[$((stringify!($name), $crate::gpu::Param::from($value))),*] };
}
