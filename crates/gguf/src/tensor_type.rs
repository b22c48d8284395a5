use std::fmt;

/// How the values of a tensor are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TensorType {
    /// float32.
    F32,
    /// float16.
    F16,
    /// bfloat16.
    Bf16,
    /// Blocks of 32: a scale, 8 bits per value.
    Q8_0,
    /// Blocks of 32: a scale, 4 bits per value around 8.
    Q4_0,
    /// Blocks of 32: a scale and a minimum, 4 bits per value.
    Q4_1,
    /// Blocks of 32: a scale, 5 bits per value around 16.
    Q5_0,
    /// Blocks of 32: a scale and a minimum, 5 bits per value.
    Q5_1,
    /// Blocks of 256: 16 scales and minima of 4 bits, 2 bits per value.
    Q2K,
    /// Blocks of 256: 16 scales of 6 bits, 3 bits per value around 4.
    Q3K,
    /// Blocks of 256: 8 scales and minima of 6 bits, 4 bits per value.
    Q4K,
    /// Blocks of 256: 8 scales and minima of 6 bits, 5 bits per value.
    Q5K,
    /// Blocks of 256: 16 scales of 8 bits, 6 bits per value around 32.
    Q6K,
    /// Blocks of 32: a scale, 4 bits that choose one of 16 uneven levels.
    Iq4Nl,
    /// Blocks of 256: 8 scales of 6 bits, 4 bits that choose one of 16 uneven levels.
    Iq4Xs,
    /// Blocks of 32: a power of two, a float of 4 bits per value (OCP Microscaling).
    Mxfp4,
    /// Blocks of 256: a scale, −1, 0 or 1, five values a byte.
    Tq1_0,
    /// Blocks of 256: a scale, −1, 0 or 1, four values a byte.
    Tq2_0,
}

/// Name, number in a file (`ggml_type`), values in a block and bytes of a block.
const TYPES: [(TensorType, &str, u32, usize, usize); 18] = [
    (TensorType::F32, "F32", 0, 1, 4),
    (TensorType::F16, "F16", 1, 1, 2),
    (TensorType::Bf16, "BF16", 30, 1, 2),
    (TensorType::Q8_0, "Q8_0", 8, 32, 34),
    (TensorType::Q4_0, "Q4_0", 2, 32, 18),
    (TensorType::Q4_1, "Q4_1", 3, 32, 20),
    (TensorType::Q5_0, "Q5_0", 6, 32, 22),
    (TensorType::Q5_1, "Q5_1", 7, 32, 24),
    (TensorType::Q2K, "Q2_K", 10, 256, 84),
    (TensorType::Q3K, "Q3_K", 11, 256, 110),
    (TensorType::Q4K, "Q4_K", 12, 256, 144),
    (TensorType::Q5K, "Q5_K", 13, 256, 176),
    (TensorType::Q6K, "Q6_K", 14, 256, 210),
    (TensorType::Iq4Nl, "IQ4_NL", 20, 32, 18),
    (TensorType::Iq4Xs, "IQ4_XS", 23, 256, 136),
    (TensorType::Mxfp4, "MXFP4", 39, 32, 17),
    (TensorType::Tq1_0, "TQ1_0", 34, 256, 54),
    (TensorType::Tq2_0, "TQ2_0", 35, 256, 66),
];

/// Types of ggml that are not read, for error messages.
const OTHERS: [(u32, &str); 24] = [
    (9, "Q8_1"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (31, "Q4_0_4_4"),
    (32, "Q4_0_4_8"),
    (33, "Q4_0_8_8"),
    (36, "IQ4_NL_4_4"),
    (37, "IQ4_NL_4_8"),
    (38, "IQ4_NL_8_8"),
    (40, "NVFP4"),
    (41, "Q1_0"),
    (4, "Q4_2"),
    (5, "Q4_3"),
];

impl TensorType {
    /// All types that are read.
    pub const ALL: [Self; TYPES.len()] = {
        let mut all = [Self::F32; TYPES.len()];
        let mut i = 0;
        while i < TYPES.len() {
            all[i] = TYPES[i].0;
            i += 1;
        }
        all
    };

    /// The type of a number in a file, or the name of one that is not read.
    pub(crate) fn from_id(id: u32) -> Result<Self, String> {
        let known = TYPES.iter().find(|(_, _, number, ..)| *number == id).map(|(kind, ..)| *kind);
        let other = || OTHERS.iter().find(|(number, _)| *number == id);
        known.ok_or_else(|| other().map_or_else(|| format!("type {id}"), |(_, name)| (*name).to_owned()))
    }

    fn row(self) -> &'static (Self, &'static str, u32, usize, usize) {
        // The variants are numbered in the order of the table; a test holds them to it.
        &TYPES[self as usize]
    }

    /// Names of all types that are read, for a sentence.
    pub(crate) fn names() -> String {
        let names = Self::ALL.map(|kind| kind.to_string());
        let (last, others) = names.split_last().unwrap_or((&names[0], &[]));
        format!("{} and {last}", others.join(", "))
    }

    /// Its number in a file.
    pub(crate) fn id(self) -> u32 {
        self.row().2
    }

    /// Values that are stored together.
    pub fn block_len(self) -> usize {
        self.row().3
    }

    /// Bytes that a block takes.
    pub fn block_bytes(self) -> usize {
        self.row().4
    }

    /// Bytes that `len` values take, if they fill blocks and can be counted.
    pub fn bytes(self, len: u64) -> Option<u64> {
        let block = self.block_len() as u64;
        if !len.is_multiple_of(block) {
            return None;
        }
        (len / block).checked_mul(self.block_bytes() as u64)
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.row().1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_the_order_of_the_variants() {
        for (i, (kind, name, id, ..)) in TYPES.iter().enumerate() {
            assert_eq!(*kind as usize, i, "{name}");
            assert_eq!(TensorType::from_id(*id), Ok(*kind));
        }
        assert_eq!(TensorType::from_id(21), Err("IQ3_S".to_owned()));
        assert_eq!(TensorType::from_id(999), Err("type 999".to_owned()));
        assert_eq!((TensorType::Q4K.bytes(512), TensorType::Q4K.bytes(100)), (Some(288), None));
    }
}
