/// A model config that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A size that must be positive is zero.
    #[error("model.{0} is 0, but it must be at least 1")]
    Zero(&'static str),
    /// One size must divide another.
    #[error(
        "model.{whole_name} is {whole}, which {part_name} = {part} does not divide\nhint: choose a multiple of {part}"
    )]
    Indivisible {
        /// Key of the size that is divided.
        whole_name: &'static str,
        /// Its value.
        whole: usize,
        /// Key of the divisor.
        part_name: &'static str,
        /// Its value.
        part: usize,
    },
    /// A probability outside `[0, 1)`.
    #[error("model.{0} is {1}, but a dropout probability lies in [0, 1)")]
    Probability(&'static str, String),
    /// A number that must be positive and finite.
    #[error("model.{0} is {1}, but it must be a positive number")]
    NotPositive(&'static str, String),
    /// Rotary positions turn pairs of entries.
    #[error(
        "model.head_dim is {0}, but rotary positions need an even head width\nhint: change hidden_size, num_heads or head_dim"
    )]
    OddHead(usize),
    /// A key that the rest of the section makes meaningless.
    #[error("model.{0} is set, but it has no effect with {1}\nhint: remove one of the two")]
    NoEffect(&'static str, &'static str),
    /// A list of layers that is not one.
    #[error("model.{name} is {value}, but it must hold numbers of layers below {num_layers}, ascending{besides}")]
    Layers {
        /// The key.
        name: &'static str,
        /// Its value.
        value: String,
        /// Layers of the model.
        num_layers: usize,
        /// What else is wrong.
        besides: &'static str,
    },
    /// A width that does not fit in a head.
    #[error("model.{name} is {value}, but it must be an even number up to head_dim = {head_dim}")]
    RotaryWidth {
        /// The key.
        name: &'static str,
        /// Its value.
        value: usize,
        /// Width of a head.
        head_dim: usize,
    },
    /// A list of factors of another length than there are wavelengths.
    #[error("model.{name} has {found} factors, but there are {expected} rotary wavelengths\nhint: give one for each")]
    Factors {
        /// The key.
        name: &'static str,
        /// How many there are.
        found: usize,
        /// How many there must be.
        expected: usize,
    },
    /// A size beyond what any machine holds.
    #[error("model.{0} is {1}, which is more than this program can address\nhint: check the config for a typo")]
    TooLarge(&'static str, usize),

    /// The weights would be beyond any machine.
    #[error("the model would have {0} parameters, more than the maximum of {1}\nhint: check the sizes for a typo")]
    TooManyParameters(String, String),
}
