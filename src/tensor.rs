//! A tensor: a pooled buffer, a shape and an element type. Row-major and dense.

use std::sync::Arc;

use half::f16;

use crate::{
    Error, Result, binds,
    gpu::{Bind, Constant, Gpu, Storage, pool::Purpose, readback::Readback},
    kernels, params,
};

kernels! {
    /// `out = value`
    FILL = "fill";
    /// `out (+)= factor * x`
    SCALE = "scale";
}

/// Element types in GPU memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    /// 32-bit float.
    F32,
    /// 16-bit float: weights and activations of mixed-precision training.
    F16,
    /// 32-bit unsigned integer: token ids and positions.
    U32,
}

impl DType {
    /// Bytes of one element.
    pub fn bytes(self) -> u64 {
        match self {
            Self::F32 | Self::U32 => 4,
            Self::F16 => 2,
        }
    }

    /// The WGSL type of a vector of four elements.
    pub fn vec4(self) -> Constant {
        Constant::Type(match self {
            Self::F32 => "vec4<f32>",
            Self::F16 => "vec4<f16>",
            Self::U32 => "vec4<u32>",
        })
    }

    /// The WGSL type of one element.
    pub fn scalar(self) -> Constant {
        Constant::Type(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::U32 => "u32",
        })
    }
}

/// A dense row-major tensor on a GPU. Clones share the buffer and the identity.
#[derive(Clone, Debug)]
pub struct Tensor {
    gpu: Gpu,
    storage: Arc<Storage>,
    offset: u64,
    shape: Vec<usize>,
    dtype: DType,
    id: u64,
}

impl Tensor {
    /// A tensor with arbitrary contents (NaN on a device that poisons).
    ///
    /// # Errors
    /// [`Error::TooLarge`] when the tensor is over the adapter's largest buffer, [`Error::OutOfMemory`].
    pub fn empty(gpu: &Gpu, shape: &[usize], dtype: DType) -> Result<Self> {
        Self::allocate(gpu, shape, dtype, Purpose::Compute)
    }

    /// [`Tensor::empty`] for a given purpose.
    ///
    /// # Errors
    /// As [`Tensor::empty`].
    pub(crate) fn allocate(gpu: &Gpu, shape: &[usize], dtype: DType, purpose: Purpose) -> Result<Self> {
        let elements: usize = shape.iter().product();
        let bytes = elements as u64 * dtype.bytes();
        let most = gpu.capabilities().buffer;
        if bytes > most || u32::try_from(elements).is_err() {
            return Err(Error::TooLarge { shape: shape.to_vec(), bytes, most });
        }
        let storage = gpu.allocate(bytes, purpose);
        gpu.check()?;
        let tensor = Self { gpu: gpu.clone(), storage, offset: 0, shape: shape.to_vec(), dtype, id: gpu.next_id() };
        if gpu.is_watching() {
            tensor.clear_whole();
        } else if gpu.poisons() && dtype != DType::U32 {
            tensor.fill(f32::NAN)?;
        }
        Ok(tensor)
    }

    /// An f32 tensor with arbitrary contents.
    ///
    /// # Errors
    /// As [`Tensor::empty`].
    pub fn empty_f32(gpu: &Gpu, shape: &[usize]) -> Result<Self> {
        Self::empty(gpu, shape, DType::F32)
    }

    /// An f32 tensor of zeros.
    ///
    /// # Errors
    /// As [`Tensor::empty`].
    pub fn zeros(gpu: &Gpu, shape: &[usize]) -> Result<Self> {
        let tensor = Self::empty(gpu, shape, DType::F32)?;
        tensor.clear();
        Ok(tensor)
    }

    /// An f32 tensor with these values.
    ///
    /// # Errors
    /// [`Error::Shape`] when the number of values does not match the shape.
    pub fn from_f32(gpu: &Gpu, shape: &[usize], values: &[f32]) -> Result<Self> {
        Self::from_f32_as(gpu, shape, values, DType::F32)
    }

    /// A tensor of `dtype`, F32 or F16, with these values rounded to it.
    ///
    /// # Errors
    /// [`Error::Shape`] when the number of values does not match the shape.
    pub fn from_f32_as(gpu: &Gpu, shape: &[usize], values: &[f32], dtype: DType) -> Result<Self> {
        let tensor = Self::empty(gpu, shape, dtype)?;
        match dtype {
            DType::F16 => tensor.write(&values.iter().map(|value| f16::from_f32(*value)).collect::<Vec<_>>())?,
            _ => tensor.write(values)?,
        }
        Ok(tensor)
    }

    /// A u32 tensor with these values.
    ///
    /// # Errors
    /// [`Error::Shape`] when the number of values does not match the shape.
    pub fn from_u32(gpu: &Gpu, shape: &[usize], values: &[u32]) -> Result<Self> {
        let tensor = Self::empty(gpu, shape, DType::U32)?;
        tensor.write(values)?;
        Ok(tensor)
    }

    /// Replaces the contents, in order with the recorded commands.
    ///
    /// # Errors
    /// [`Error::Shape`] when the number of values does not match the shape.
    pub fn write<T: bytemuck::NoUninit>(&self, values: &[T]) -> Result<()> {
        let bytes: &[u8] = bytemuck::cast_slice(values);
        if bytes.len() as u64 != self.bytes() {
            let reason = format!("{} values given for the shape {:?}", values.len(), self.shape);
            return Err(Error::shape("upload", reason));
        }
        if bytes.len() % 4 == 0 {
            self.gpu.upload(self.bind(), bytes);
            return Ok(());
        }
        let mut words = bytes.to_vec();
        words.resize(bytes.len().next_multiple_of(4), 0);
        self.gpu.upload(self.bind(), &words);
        Ok(())
    }

    /// Zeroes the contents, in order with the recorded commands.
    pub fn clear(&self) {
        if self.elements() > 0 {
            self.gpu.clear(self.bind());
        }
    }

    /// Zeroes the contents and what the last vector of four reaches into behind them.
    fn clear_whole(&self) {
        let bind = self.bind4();
        self.gpu.clear(Bind { size: bind.size.next_multiple_of(4), ..bind });
    }

    /// Sets every element to `value`.
    ///
    /// # Errors
    /// Returns the driver's errors.
    pub fn fill(&self, value: f32) -> Result<()> {
        let gpu = &self.gpu;
        for piece in self.flat_pieces()? {
            let count = piece.vectors();
            let variant = FILL.set("element", self.dtype.vec4());
            let params = params![count: count, value: value];
            gpu.run(&variant, binds![out: piece.bind4()], params, gpu.flat_grid(count))?;
        }
        Ok(())
    }

    /// `out = factor * self`, or `out += factor * self`.
    ///
    /// # Errors
    /// [`Error::Shape`] when the numbers of elements differ.
    pub fn scale_into(&self, out: &Self, factor: f32, accumulate: bool) -> Result<()> {
        let gpu = &self.gpu;
        if self.elements() != out.elements() {
            let (given, expected) = ([self.elements()], [out.elements()]);
            return Err(Error::shape("scale", format!("the source is {given:?}, expected {expected:?}")));
        }
        let variant = SCALE.set("x_element", self.dtype.vec4()).set("out_element", out.dtype.vec4());
        // Pieces are sized for the larger of the two types, so that both are cut alike.
        let (x, out) = (self.reshape(&[self.elements()])?, out.reshape(&[out.elements()])?);
        let widest = if x.dtype.bytes() > out.dtype.bytes() { &x } else { &out };
        for (first, held) in widest.row_pieces() {
            let (x, out) = (x.rows(first, held)?, out.rows(first, held)?);
            let count = out.vectors();
            let params = params![count: count, factor: factor, accumulate: accumulate];
            gpu.run(&variant, binds![x: x.bind4(), out: out.bind4()], params, gpu.flat_grid(count))?;
        }
        Ok(())
    }

    /// Starts a copy to the host.
    pub fn read(&self) -> Readback {
        self.gpu.read(self.bind())
    }

    /// The values on the host.
    ///
    /// # Errors
    /// Returns the driver's errors.
    pub async fn to_f32(&self) -> Result<Vec<f32>> {
        if self.dtype != DType::F16 {
            return self.read().numbers().await;
        }
        let halves: Vec<f16> = self.read().numbers().await?;
        Ok(halves.into_iter().take(self.elements()).map(f16::to_f32).collect())
    }

    /// The values on the host.
    ///
    /// # Errors
    /// Returns the driver's errors.
    pub async fn to_u32(&self) -> Result<Vec<u32>> {
        self.read().numbers().await
    }

    /// The same elements under another shape; keeps the identity.
    ///
    /// # Errors
    /// [`Error::Shape`] when the number of elements differs.
    pub fn reshape(&self, shape: &[usize]) -> Result<Self> {
        if shape.iter().product::<usize>() != self.elements() {
            return Err(Error::shape("reshape", format!("{:?} does not hold {shape:?}", self.shape)));
        }
        Ok(Self { shape: shape.to_vec(), ..self.clone() })
    }

    /// Rows `first..first + count` of the leading dimension, without a copy; a new identity.
    ///
    /// # Errors
    /// [`Error::Shape`] when the range is out of bounds or its start does not meet the adapter's binding alignment.
    pub fn rows(&self, first: usize, count: usize) -> Result<Self> {
        let row: usize = self.shape[1..].iter().product();
        let start = (first * row) as u64 * self.dtype.bytes();
        if first + count > self.shape[0] || (self.offset + start) % self.gpu.capabilities().alignment != 0 {
            let reason = format!("rows {first}..{} of {:?} cannot be bound", first + count, self.shape);
            return Err(Error::shape("rows", reason));
        }
        let mut shape = self.shape.clone();
        shape[0] = count;
        Ok(Self { offset: self.offset + start, shape, id: self.gpu.next_id(), ..self.clone() })
    }

    /// The elements from `first` on, under `shape`, without a copy; a new identity.
    ///
    /// # Errors
    /// As [`Tensor::rows`].
    pub fn part(&self, first: usize, shape: &[usize]) -> Result<Self> {
        let rows = self.reshape(&[self.elements()])?.rows(first, shape.iter().product())?;
        rows.reshape(shape)
    }

    /// Everything from the first element of this tensor to the last of `last`, flat; `None` unless both lie in
    /// one buffer in this order.
    pub(crate) fn through(&self, last: &Self) -> Option<Self> {
        let end = (last.offset + last.bytes()).checked_sub(self.offset)?;
        let here = Arc::ptr_eq(&self.storage, &last.storage) && self.dtype == last.dtype && last.offset >= self.offset;
        let shape = vec![(end / self.dtype.bytes()) as usize];
        here.then(|| Self { shape, id: self.gpu.next_id(), ..self.clone() })
    }

    /// A copy of the last row of the innermost dimension: `[1, width]`.
    ///
    /// # Errors
    /// As [`Tensor::empty`].
    pub fn last_row(&self) -> Result<Self> {
        let last = Self::empty(&self.gpu, &[1, self.width()], self.dtype)?;
        let (from, row) = (self.bind(), last.bytes());
        self.gpu.copy(Bind { offset: from.offset + self.bytes() - row, size: row, ..from }, last.bind());
        Ok(last)
    }

    /// Cuts the leading dimension so that every piece can be bound and starts at an aligned offset: (first, count).
    pub fn row_pieces(&self) -> Vec<(usize, usize)> {
        let (rows, row) = (self.shape[0], self.shape[1..].iter().product::<usize>().max(1));
        let row_bytes = row as u64 * self.dtype.bytes();
        // Any 128 rows end at a multiple of 256 bytes, the strictest alignment that WebGPU allows.
        let most = (self.gpu.capabilities().binding / row_bytes / 128 * 128).max(128) as usize;
        (0..rows).step_by(most.max(1)).map(|first| (first, most.min(rows - first))).collect()
    }

    /// The whole tensor, flat, in pieces that can be bound.
    ///
    /// # Errors
    /// Never fails on a tensor made by this type's constructors.
    pub fn flat_pieces(&self) -> Result<Vec<Self>> {
        let flat = self.reshape(&[self.elements()])?;
        if flat.bytes() <= self.gpu.capabilities().binding {
            return Ok(vec![flat]);
        }
        flat.row_pieces().into_iter().map(|(first, count)| flat.rows(first, count)).collect()
    }

    /// The buffer range to bind.
    pub fn bind(&self) -> Bind<'_> {
        Bind { storage: &self.storage, offset: self.offset, size: self.bytes().max(4).next_multiple_of(4) }
    }

    /// The buffer range to bind as whole vectors of four; the last one may reach into the buffer's padding.
    /// Every size class is a multiple of 256 bytes, and so is the end of every piece except a tensor's last.
    pub fn bind4(&self) -> Bind<'_> {
        Bind { size: self.bytes().max(4).next_multiple_of(4 * self.dtype.bytes()), ..self.bind() }
    }

    /// The number of vectors of four that [`Tensor::bind4`] binds.
    pub fn vectors(&self) -> usize {
        self.elements().div_ceil(4)
    }

    /// The device.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// The dimensions, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Size in bytes.
    pub fn bytes(&self) -> u64 {
        self.elements() as u64 * self.dtype.bytes()
    }

    /// The innermost dimension; 1 for a scalar.
    pub fn width(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// The number of rows: elements divided by the innermost dimension.
    pub fn height(&self) -> usize {
        self.elements() / self.width().max(1)
    }

    /// The identity by which a tape knows this tensor.
    pub fn id(&self) -> u64 {
        self.id
    }
}
