//! The adapter, its kernels and its memory. This layer knows buffers and bytes; tensors are built on top of it.
//!
//! * [`context`]: [`Gpu`], opened on a chosen adapter.
//! * [`adapter`]: which adapters exist and which one is used.
//! * [`capabilities`]: what the adapter offers beyond the WebGPU baseline.
//! * [`compose`] and [`reflect`]: WGSL text in an adapter's [`Form`] and what it declares; [`kernel`]: pipelines made of it.
//! * [`platform`]: what other platforms' adapters may offer; [`translate`]: a kernel's text in their drivers' languages.
//! * [`recorder`]: dispatches and copies, in order, in few submissions, none of which takes long (`pace`);
//!   [`bindings`]: cached bind groups.
//! * [`pool`]: buffers by size class; [`readback`]: bytes back to the host; [`capacity`]: how much still fits.
//! * [`imagine`]: a device that only notes what it would do; [`replay`]: doing it for real.
//! * [`profile`]: time per kernel; [`race`]: the fastest of several calls; [`tune`]: the fastest variants found so far;
//!   [`shipped`]: those that are known without timing.
//! * [`watch`]: the first dispatch that writes a number that is not finite.

pub mod adapter;
pub mod bindings;
pub mod capabilities;
pub mod capacity;
pub mod compose;
pub mod context;
pub mod fault;
pub mod imagine;
pub mod kernel;
mod pace;
pub mod platform;
pub mod pool;
pub mod profile;
pub mod race;
pub mod readback;
pub mod recorder;
pub mod reflect;
pub mod replay;
pub mod shipped;
#[cfg(test)]
mod tests;
#[cfg(not(target_family = "wasm"))]
pub mod translate;
pub mod tune;
pub mod wait;
pub mod watch;

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
