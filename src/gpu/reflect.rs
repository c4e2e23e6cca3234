//! Reads what a kernel's text declares: bindings, parameters, workgroup size. None of it is repeated in Rust.

use wgpu::naga::{
    self, AddressSpace, ScalarKind, TypeInner,
    valid::{Capabilities, GlobalUse, ModuleInfo, ValidationFlags, Validator},
};

/// A storage buffer that the kernel declares in group 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The variable's name.
    pub name: String,
    /// The binding number.
    pub index: u32,
    /// Whether it is declared `read` rather than `read_write`.
    pub read_only: bool,
    /// Whether the kernel reads from it, as far as its text shows.
    pub reads: bool,
    /// Whether the kernel writes to it.
    pub writes: bool,
    /// The bytes of one of its numbers if it is an array of floats or of vectors of them.
    pub float: Option<u8>,
}

/// A scalar of the kernel's `Params`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// The member's name.
    pub name: String,
    /// Its byte offset.
    pub offset: u32,
    /// Its scalar kind; all are four bytes wide.
    pub kind: ScalarKind,
}

/// Everything the host needs to know about a kernel.
#[derive(Clone, Debug)]
pub struct Interface {
    /// Storage buffers, sorted by binding number.
    pub bindings: Vec<Binding>,
    /// Parameters in order of declaration; empty without `Params`.
    pub params: Vec<Field>,
    /// Size of `Params` in bytes.
    pub params_bytes: u32,
    /// Invocations per workgroup in x, y, z.
    pub workgroup: [u32; 3],
}

/// Parses and validates WGSL.
///
/// # Errors
/// The compiler's message, with line and column.
pub fn parse(text: &str) -> Result<(naga::Module, ModuleInfo), String> {
    let module = naga::front::wgsl::parse_str(text).map_err(|error| error.emit_to_string(text))?;
    let info = Validator::new(ValidationFlags::all(), Capabilities::all())
        .validate(&module)
        .map_err(|error| error.emit_to_string(text))?;
    Ok((module, info))
}

/// Reads the interface of a module whose entry point is `main`.
///
/// # Errors
/// Says what the module lacks or what the host cannot supply.
pub fn interface(module: &naga::Module, info: &ModuleInfo) -> Result<Interface, String> {
    let main = module.entry_points.iter().position(|entry| entry.name == "main").ok_or("no entry point 'main'")?;
    let (entry, used) = (&module.entry_points[main], info.get_entry_point(main));
    let (mut bindings, mut params, mut params_bytes) = (Vec::new(), Vec::new(), 0);
    for (handle, global) in module.global_variables.iter() {
        let name = global.name.clone().unwrap_or_default();
        match global.space {
            AddressSpace::Storage { access } => {
                let binding = global.binding.ok_or_else(|| format!("'{name}' has no @binding"))?;
                let read_only = !access.contains(naga::StorageAccess::STORE);
                let (reads, writes) = (used[handle].contains(GlobalUse::READ), used[handle].contains(GlobalUse::WRITE));
                let float = float(module, global.ty);
                bindings.push(Binding { name, index: binding.binding, read_only, reads, writes, float });
            }
            AddressSpace::Immediate | AddressSpace::Uniform => {
                let TypeInner::Struct { members, span } = &module.types[global.ty].inner else {
                    return Err(format!("'{name}' is not a struct"));
                };
                params_bytes = *span;
                for member in members {
                    let name = member.name.clone().unwrap_or_default();
                    let TypeInner::Scalar(scalar) = module.types[member.ty].inner else {
                        return Err(format!("parameter '{name}' is not a scalar"));
                    };
                    params.push(Field { name, offset: member.offset, kind: scalar.kind });
                }
            }
            _ => {}
        }
    }
    bindings.sort_by_key(|binding| binding.index);
    Ok(Interface { bindings, params, params_bytes, workgroup: entry.workgroup_size })
}

/// The bytes of a number in an array of floats or of vectors of them.
fn float(module: &naga::Module, kind: naga::Handle<naga::Type>) -> Option<u8> {
    let TypeInner::Array { base, .. } = module.types[kind].inner else { return None };
    match module.types[base].inner {
        TypeInner::Scalar(scalar) | TypeInner::Vector { scalar, .. } if scalar.kind == ScalarKind::Float => {
            Some(scalar.width)
        }
        _ => None,
    }
}
