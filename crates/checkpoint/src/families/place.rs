//! Where a checkpoint stores a parameter, among others or turned.

/// Where a checkpoint stores a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// Name of the tensor.
    pub tensor: String,
    /// Stored as `(in, out)`.
    pub transposed: bool,
    /// The parameter is this part of several that share the tensor, side by side along `out`.
    pub part: Option<Part>,
}

/// A parameter's rows in a tensor that several share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    /// Its first row.
    pub start: usize,
    /// Rows of all of them.
    pub total: usize,
}

impl Place {
    /// A tensor that is the parameter, under the same name.
    pub fn same(name: &str) -> Self {
        Self { tensor: name.to_owned(), transposed: false, part: None }
    }

    /// Whether the stored tensor is the parameter as it is.
    pub fn is_whole(&self) -> bool {
        !self.transposed && self.part.is_none()
    }

    /// The shape of the stored tensor, for a parameter of `shape`.
    pub fn stored_shape(&self, shape: &[usize]) -> Vec<usize> {
        let mut shape = shape.to_vec();
        shape[0] = self.part.map_or(shape[0], |part| part.total);
        if self.transposed {
            shape.reverse();
        }
        shape
    }

    /// Whether the tensor is complete with this parameter of `shape`; parts come in order.
    pub fn is_last(&self, shape: &[usize]) -> bool {
        self.part.is_none_or(|part| part.start + shape[0] == part.total)
    }

    /// The parameter of `shape` out of the values of the stored tensor.
    pub fn extract<T: Copy + Default>(&self, stored: &[T], shape: &[usize]) -> Vec<T> {
        let [rows, columns] = [shape[0], shape[1..].iter().product()]; // (out, in)
        let Part { start, total } = self.part.unwrap_or(Part { start: 0, total: rows });
        if !self.transposed {
            return stored[start * columns..(start + rows) * columns].to_vec();
        }
        let mut values = vec![T::default(); rows * columns];
        in_blocks(columns, rows, |column, row| {
            values[row * columns + column] = stored[column * total + start + row];
        });
        values
    }

    /// The values of the stored tensor out of its parts, which have `columns` columns.
    pub fn assemble(&self, parts: &[Vec<f32>], columns: usize) -> Vec<f32> {
        if !self.transposed {
            return parts.concat();
        }
        let total = parts.iter().map(Vec::len).sum::<usize>() / columns;
        let mut values = vec![0.0; total * columns];
        let mut start = 0;
        for part in parts {
            let rows = part.len() / columns;
            in_blocks(rows, columns, |row, column| {
                values[column * total + start + row] = part[row * columns + column];
            });
            start += rows;
        }
        values
    }
}

/// Visits all (i, j) below (`n`, `m`), a block of 16 `i` for each `j`: a transposition then uses the whole of every
/// cache line that it touches.
fn in_blocks(n: usize, m: usize, mut visit: impl FnMut(usize, usize)) {
    for start in (0..n).step_by(16) {
        for j in 0..m {
            for i in start..(start + 16).min(n) {
                visit(i, j);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_out_of_a_fused_tensor_as_they_went_in() {
        for (rows, columns) in [([1, 1, 1], 1), ([3, 3, 3], 5), ([16, 4, 4], 16), ([17, 1, 33], 33), ([40, 2, 7], 1)] {
            let total = rows.iter().sum();
            let parts: Vec<Vec<f32>> =
                (0..3).map(|part| (0..rows[part] * columns).map(|i| (part * 10_000 + i) as f32).collect()).collect();
            for transposed in [false, true] {
                let place = |index: usize| Place {
                    tensor: String::new(),
                    transposed,
                    part: Some(Part { start: rows[..index].iter().sum(), total }),
                };
                let stored = place(2).assemble(&parts, columns);
                let shape = if transposed { [columns, total] } else { [total, columns] };
                assert_eq!(place(0).stored_shape(&[rows[0], columns]), shape);
                // A stored row is one input to all queries, then to all keys, then to all values.
                let second = if transposed { rows[0] } else { rows[0] * columns };
                assert_eq!([stored[0], stored[second]], [parts[0][0], parts[1][0]]);
                for (index, part) in parts.iter().enumerate() {
                    assert_eq!(&place(index).extract(&stored, &[rows[index], columns]), part);
                    assert_eq!(place(index).is_last(&[rows[index], columns]), index == 2);
                }
            }
        }
    }
}
