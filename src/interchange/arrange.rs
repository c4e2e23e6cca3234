//! Cuts, joins and reorders rows of tensors in any format: a row is moved as bytes.
#![expect(clippy::indexing_slicing, reason = "readers have checked that rows have the bytes of their shape")]

use std::borrow::Cow;

use super::layout::Order;
use crate::{
    Result,
    formats::{Format, Rows, quantise},
};

/// Converts `rows` from the file's order to wgpt's.
pub fn from_file(rows: Rows<'_>, order: Order) -> Rows<'_> {
    match order {
        Order::Same => rows,
        Order::Transposed => transpose(&rows),
        Order::Interleaved(heads) => {
            let (rows, whole) = by_row(rows);
            let dim = rows.rows / heads.max(1);
            // wgpt's row j * half + i of a head is row 2i + j in the file.
            let place = |row: usize| row / dim * dim + row % dim % (dim / 2) * 2 + row % dim / (dim / 2);
            restore(gather(&rows, place), whole)
        }
    }
}

/// Converts `rows` from wgpt's order to the file's.
pub fn to_file(rows: Rows<'_>, order: Order) -> Rows<'_> {
    match order {
        Order::Interleaved(heads) => {
            let (rows, whole) = by_row(rows);
            let dim = rows.rows / heads.max(1);
            let place = |row: usize| row / dim * dim + row % dim % 2 * (dim / 2) + row % dim / 2;
            restore(gather(&rows, place), whole)
        }
        order => from_file(rows, order),
    }
}

/// Rows `first..first + count` of the concatenated `pieces`; for `vector` pieces, elements. Pieces in different formats
/// are converted to f32.
pub fn select<'a>(pieces: &'a [Rows<'a>], vector: bool, first: usize, count: usize) -> Rows<'a> {
    let mut parts = Vec::new();
    let mut start = 0;
    for piece in pieces {
        let piece = Rows { bytes: Cow::Borrowed(&piece.bytes[..]), ..*piece };
        let piece = if vector { by_row(piece).0 } else { piece };
        let (from, to) = (first.max(start), (first + count).min(start + piece.rows));
        if from < to {
            parts.push(cut(piece.clone(), from - start, to - from));
        }
        start += piece.rows;
    }
    let joined = match parts.len() {
        1 => parts.remove(0),
        _ => join(&parts),
    };
    if vector { Rows { rows: 1, width: joined.rows, ..joined } } else { joined }
}

/// The bytes of `rows` in another format; unchanged if it is the same.
///
/// # Errors
/// Returns the errors of [`quantise`]: a format that wgpt only reads, or rows that are not whole blocks.
pub fn encode(rows: Rows<'_>, format: Format) -> Result<Cow<'_, [u8]>> {
    if rows.format == format { Ok(rows.bytes) } else { Ok(Cow::Owned(quantise(format, &rows.to_f32())?)) }
}

/// The rows converted to f32.
fn plain(rows: Rows<'_>) -> Rows<'_> {
    if rows.format == Format::F32 {
        return rows;
    }
    let bytes = bytemuck::cast_slice(&rows.to_f32()).to_vec();
    Rows { format: Format::F32, bytes: Cow::Owned(bytes), ..rows }
}

fn cut(rows: Rows<'_>, first: usize, count: usize) -> Rows<'_> {
    let stride = rows.format.row_bytes(rows.width);
    let range = first * stride..(first + count) * stride;
    let bytes = match rows.bytes {
        Cow::Borrowed(bytes) => Cow::Borrowed(&bytes[range]),
        Cow::Owned(bytes) => Cow::Owned(bytes[range].to_vec()),
    };
    Rows { rows: count, bytes, ..rows }
}

fn join(parts: &[Rows<'_>]) -> Rows<'static> {
    let first = parts.first().map_or((Format::F32, 0), |part| (part.format, part.width));
    let same = parts.iter().all(|part| part.format == first.0);
    let format = if same { first.0 } else { Format::F32 };
    let bytes = |part: &Rows<'_>| if same { part.bytes.to_vec() } else { plain(part.clone()).bytes.into_owned() };
    let bytes = parts.iter().flat_map(bytes).collect();
    Rows { format, rows: parts.iter().map(|part| part.rows).sum(), width: first.1, bytes }
}

/// Turns a vector of single elements into a column, so that its elements are rows. The flag says whether it was a
/// vector.
fn by_row(rows: Rows<'_>) -> (Rows<'_>, bool) {
    match rows.rows {
        1 => {
            // Blocks cannot be split.
            let rows = if rows.format.is_quantised() { plain(rows) } else { rows };
            (Rows { rows: rows.width, width: 1, ..rows }, true)
        }
        _ => (rows, false),
    }
}

fn restore(rows: Rows<'_>, vector: bool) -> Rows<'_> {
    if vector { Rows { rows: 1, width: rows.rows, ..rows } } else { rows }
}

fn gather(rows: &Rows<'_>, place: impl Fn(usize) -> usize) -> Rows<'static> {
    let stride = rows.format.row_bytes(rows.width);
    let mut bytes = Vec::with_capacity(rows.bytes.len());
    for row in 0..rows.rows {
        bytes.extend_from_slice(&rows.bytes[place(row) * stride..][..stride]);
    }
    Rows { bytes: Cow::Owned(bytes), ..*rows }
}

/// Transposes rows and columns. Quantised rows become f32, because their blocks run along the rows.
fn transpose(rows: &Rows<'_>) -> Rows<'static> {
    let rows = if rows.format.is_quantised() { plain(rows.clone()) } else { rows.clone() };
    let (size, bytes) = (rows.format.block_bytes(), &rows.bytes);
    let mut turned = Vec::with_capacity(bytes.len());
    for column in 0..rows.width {
        for row in 0..rows.rows {
            turned.extend_from_slice(&bytes[(row * rows.width + column) * size..][..size]);
        }
    }
    Rows { format: rows.format, rows: rows.width, width: rows.rows, bytes: Cow::Owned(turned) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: usize, values: &[f32]) -> Rows<'static> {
        let bytes = Cow::Owned(quantise(Format::F32, values).unwrap());
        Rows { format: Format::F32, rows, width: values.len() / rows, bytes }
    }

    #[test]
    fn orders_come_back() {
        let values: Vec<f32> = (0..24).map(|i| i as f32).collect();
        // Two heads of four rows: stored rows 0 1 2 3 are wgpt's 0 2 1 3.
        let stored = to_file(rows(8, &values), Order::Interleaved(2));
        assert_eq!(stored.to_f32()[..12], [0., 1., 2., 6., 7., 8., 3., 4., 5., 9., 10., 11.]);
        assert_eq!(from_file(stored, Order::Interleaved(2)).to_f32(), values);
        // A bias is permuted element by element.
        let bias = to_file(rows(1, &[0., 1., 2., 3., 4., 5.]), Order::Interleaved(1));
        assert_eq!((bias.rows, bias.to_f32()), (1, vec![0., 3., 1., 4., 2., 5.]));
        assert_eq!(from_file(bias, Order::Interleaved(1)).to_f32(), [0., 1., 2., 3., 4., 5.]);
        let turned = from_file(rows(2, &[0., 1., 2., 3., 4., 5.]), Order::Transposed);
        assert_eq!((turned.rows, turned.width, turned.to_f32()), (3, 2, vec![0., 3., 1., 4., 2., 5.]));
    }

    #[test]
    fn pieces_are_cut_and_joined() {
        let pieces = [rows(2, &[0., 1., 2., 3.]), rows(1, &[4., 5.]), rows(2, &[6., 7., 8., 9.])];
        let middle = select(&pieces, false, 1, 3);
        assert_eq!((middle.rows, middle.to_f32()), (3, vec![2., 3., 4., 5., 6., 7.]));
        assert!(matches!(select(&pieces, false, 3, 2).bytes, Cow::Borrowed(_)));
        let vectors = [rows(1, &[0., 1.]), Rows { format: Format::F16, ..rows(1, &[0.; 1]) }];
        let half =
            Rows { width: 2, bytes: Cow::Owned(quantise(Format::F16, &[2., 3.]).unwrap()), ..vectors[1].clone() };
        let mixed = [vectors[0].clone(), half];
        let joined = select(&mixed, true, 1, 2);
        assert_eq!((joined.format, joined.rows, joined.to_f32()), (Format::F32, 1, vec![1., 2.]));
    }
}
