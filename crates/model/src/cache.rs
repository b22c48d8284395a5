use burn::tensor::{Device, Tensor};

use crate::ModelConfig;

/// Keys and values of the tokens seen so far, allocated once for all layers.
#[derive(Debug, Clone)]
pub struct KvCache {
    layers: Vec<LayerCache>,
    len: usize,
    capacity: usize,
    /// Tokens beyond which keys are rotated by other wavelengths.
    switch: Option<usize>,
    /// Tokens beyond which keys are rotated by wavelengths that depend on how many there are.
    growth: Option<usize>,
    /// Tokens that the sequence will have at least.
    expected: usize,
    /// The longest sequence that keys held were rotated for.
    longest: usize,
}

/// One layer's share: keys (after rotation) and values, `(b, capacity, kv, hd)` each.
#[derive(Debug, Clone)]
pub(crate) struct LayerCache {
    keys: Tensor<4>,
    values: Tensor<4>,
}

impl KvCache {
    /// Room for `capacity` tokens in each of `batch` sequences, in float32:
    /// `2 · layers · batch · kv · capacity · hd · 4` bytes.
    pub fn new(config: &ModelConfig, batch: usize, capacity: usize, device: &Device) -> Self {
        let shape = [batch, capacity, config.num_kv_heads, config.head_dim];
        let layer = |_| LayerCache { keys: Tensor::zeros(shape, device), values: Tensor::zeros(shape, device) };
        let layers = (0..config.num_layers).map(layer).collect();
        Self {
            layers,
            len: 0,
            capacity,
            switch: config.rotary_switch(),
            growth: config.rotary_growth(),
            expected: 0,
            longest: 0,
        }
    }

    /// Tokens held.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no token is held.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Tokens that fit.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Makes room for `capacity` tokens; those held stay.
    pub fn reserve(&mut self, capacity: usize) {
        let more = capacity.saturating_sub(self.capacity);
        if more == 0 {
            return;
        }
        for LayerCache { keys, values } in &mut self.layers {
            for held in [keys, values] {
                let [b, _, kv, hd] = held.dims();
                held.inplace(|held| {
                    let room = Tensor::zeros([b, more, kv, hd], &held.device());
                    Tensor::cat(vec![held, room], 1)
                });
            }
        }
        self.capacity = capacity;
    }

    /// Forgets all but the first `len` tokens.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Says that the sequence will have `tokens` tokens, before those are read that it does not hold. With LongRoPE, all
    /// keys of a sequence depend on whether it is longer than the model's original context, and with dynamic scaling, on
    /// how much longer: where that changes, what is held is of no use, and is forgotten. With other models this does nothing.
    ///
    /// Tokens that are added one by one without this call keep, with dynamic scaling, the rotation that they were read with,
    /// as in `transformers`.
    pub fn expect(&mut self, tokens: usize) {
        let grown = self.growth.is_some_and(|original| self.longest.max(tokens) > original);
        if grown || self.is_long(tokens) != self.is_long(self.expected.max(self.len)) {
            self.len = 0;
        }
        self.expected = tokens;
    }

    /// Tokens that the sequence will have at least, with `t` more of them.
    pub(crate) fn total(&self, t: usize) -> usize {
        let [held, total] = [self.len.max(self.expected), (self.len + t).max(self.expected)];
        let same = self.is_long(total) == self.is_long(held);
        assert!(self.len == 0 || same, "the sequence grows past the switch of LongRoPE; KvCache::expect says so first");
        total
    }

    fn is_long(&self, tokens: usize) -> bool {
        self.switch.is_some_and(|switch| tokens > switch)
    }

    pub(crate) fn layer(&mut self, layer: usize) -> (&mut LayerCache, usize) {
        (&mut self.layers[layer], self.len)
    }

    pub(crate) fn advance(&mut self, t: usize) {
        let total = (self.len + t).max(self.expected);
        self.longest = if self.len == 0 { total } else { self.longest.max(total) };
        self.len += t;
    }
}

impl LayerCache {
    /// Stores keys and values `(b, t, kv, hd)` at position `start`, and gives all up to there: `(b, start + t, kv, hd)`.
    pub(crate) fn append(&mut self, start: usize, keys: Tensor<4>, values: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        (store(&mut self.keys, start, keys), store(&mut self.values, start, values))
    }
}

fn store(held: &mut Tensor<4>, start: usize, new: Tensor<4>) -> Tensor<4> {
    let [b, t, kv, hd] = new.dims();
    // `inplace` hands the tensor over, so that its memory has one owner and is written, not copied.
    held.inplace(|held| held.slice_assign([0..b, start..start + t, 0..kv, 0..hd], new));
    held.clone().narrow(1, 0, start + t)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Family, ModelSection};

    #[test]
    fn what_is_held_stays_when_the_cache_grows() {
        let section = ModelSection { family: Family::Llama, hidden_size: 8, num_heads: 2, ..ModelSection::default() };
        let config = section.resolve(10).unwrap();
        let shape = |t| [1, t, config.num_kv_heads, config.head_dim];
        let numbers = |t: usize, first: usize| {
            let count = shape(t).iter().product::<usize>();
            let values: Vec<f32> = (first..first + count).map(|n| n as f32).collect();
            Tensor::<1>::from_floats(values.as_slice(), &Device::flex()).reshape(shape(t))
        };
        let [first, second] = [numbers(3, 1), numbers(2, 1000)];
        let mut cache = KvCache::new(&config, 1, 3, &Device::flex());
        for layer in 0..config.num_layers {
            cache.layer(layer).0.append(0, first.clone(), -first.clone());
        }
        cache.advance(3);
        cache.reserve(5);
        cache.reserve(4);
        assert_eq!((cache.len(), cache.capacity()), (3, 5));
        for layer in 0..config.num_layers {
            let (keys, values) = cache.layer(layer).0.append(3, second.clone(), -second.clone());
            let whole = Tensor::cat(vec![first.clone(), second.clone()], 1);
            assert_eq!(keys.into_data(), whole.clone().into_data());
            assert_eq!(values.into_data(), (-whole).into_data());
        }
    }
}
