use burn::tensor::{Device, FloatDType, Tensor};

use crate::ModelConfig;

/// Tokens behind those of its window that a layer holds at most before it forgets them: it moves the window once for so
/// many tokens, and a text may be shortened by as many.
const SLACK: usize = 512;

/// Keys and values of the tokens of one sequence seen so far, in all layers. A layer with a window holds little more than
/// the window.
#[derive(Debug, Clone)]
pub struct KvCache {
    layers: Vec<LayerCache>,
    len: usize,
    /// Tokens beyond which keys are rotated by other wavelengths.
    switch: Option<usize>,
    /// Tokens beyond which keys are rotated by wavelengths that depend on how many there are.
    growth: Option<usize>,
    /// Tokens that the sequence will have at least.
    expected: usize,
    /// The longest sequence that keys held were rotated for.
    longest: usize,
}

/// One layer's share: keys (after rotation) and values, `(1, room, kv, hd)` each.
#[derive(Debug, Clone)]
pub(crate) struct LayerCache {
    keys: Tensor<4>,
    values: Tensor<4>,
    /// Position of the first token held.
    first: usize,
    /// Tokens that a query looks at.
    window: Option<usize>,
}

impl KvCache {
    /// Room for `capacity` tokens, in float32: `2 · layers · kv · capacity · hd · 4` bytes, less for layers with a window.
    /// Where more are added, it grows.
    pub fn new(config: &ModelConfig, capacity: usize, device: &Device) -> Self {
        let layer = |layer| {
            let window = config.window(layer);
            let room = window.map_or(capacity, |window| capacity.min(window + SLACK));
            let shape = [1, room, config.num_kv_heads, config.head_dim];
            LayerCache { keys: Tensor::zeros(shape, device), values: Tensor::zeros(shape, device), first: 0, window }
        };
        Self {
            layers: (0..config.num_layers).map(layer).collect(),
            len: 0,
            switch: config.rotary_switch(),
            growth: config.rotary_growth(),
            expected: 0,
            longest: 0,
        }
    }

    /// The same cache holding keys and values in `dtype`: with float16, in half the memory.
    #[must_use]
    pub fn in_type(mut self, dtype: FloatDType) -> Self {
        for LayerCache { keys, values, .. } in &mut self.layers {
            for held in [keys, values] {
                held.inplace(|held| held.cast(dtype));
            }
        }
        self
    }

    /// Tokens held.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no token is held.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that keys and values take.
    pub fn size(&self) -> usize {
        let layer = |layer: &LayerCache| 2 * layer.keys.dims().iter().product::<usize>() * layer.keys.dtype().size();
        self.layers.iter().map(layer).sum()
    }

    /// Forgets all but the first `len` tokens: all of them, where a layer with a window no longer holds those that the next
    /// token would look at.
    pub fn truncate(&mut self, len: usize) {
        if len >= self.len {
            return;
        }
        let looked_at = |layer: &LayerCache| layer.window.map_or(0, |window| (len + 1).saturating_sub(window));
        if self.layers.iter().all(|layer| layer.first <= looked_at(layer)) {
            self.len = len;
        } else {
            self.clear();
        }
    }

    fn clear(&mut self) {
        self.len = 0;
        self.layers.iter_mut().for_each(|layer| layer.first = 0);
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
            self.clear();
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

    /// Stores the keys and values `(1, t, kv, hd)` of the next `t` tokens in `layer`, and gives all that it holds,
    /// `(1, s, kv, hd)`, and the place of the first of the new ones among them. [`Self::advance`] follows, once for all
    /// layers.
    pub(crate) fn append(&mut self, layer: usize, keys: Tensor<4>, values: Tensor<4>) -> (Tensor<4>, Tensor<4>, usize) {
        let len = self.len;
        let layer = &mut self.layers[layer];
        layer.make_room(len, keys.dims()[1]);
        let start = len - layer.first;
        (store(&mut layer.keys, start, keys), store(&mut layer.values, start, values), start)
    }

    pub(crate) fn advance(&mut self, t: usize) {
        let total = (self.len + t).max(self.expected);
        self.longest = if self.len == 0 { total } else { self.longest.max(total) };
        self.len += t;
    }
}

impl LayerCache {
    /// Makes room for `t` tokens behind the `len` of the sequence: forgets what is behind the window, and where that is not
    /// enough, grows by half at least.
    fn make_room(&mut self, len: usize, t: usize) {
        let [_, room, kv, hd] = self.keys.dims();
        let held = len - self.first;
        if held + t <= room {
            return;
        }
        let kept = self.window.map_or(held, |window| held.min(window - 1));
        let needed = kept + t;
        let room = if needed <= room { room } else { needed.max(room * 3 / 2) };
        for tensor in [&mut self.keys, &mut self.values] {
            tensor.inplace(|tensor| {
                let empty = |room| Tensor::zeros([1, room, kv, hd], (&tensor.device(), tensor.dtype()));
                if kept == 0 {
                    return empty(room);
                }
                let behind = empty(room - kept); // room for one token at least
                Tensor::cat(vec![tensor.narrow(1, held - kept, kept), behind], 1)
            });
        }
        self.first = len - kept;
    }
}

fn store(held: &mut Tensor<4>, start: usize, new: Tensor<4>) -> Tensor<4> {
    let [b, t, kv, hd] = new.dims();
    let new = if new.dtype() == held.dtype() { new } else { new.cast(held.dtype()) };
    // `inplace` hands the tensor over, so that its memory has one owner and is written, not copied.
    held.inplace(|held| held.slice_assign([0..b, start..start + t, 0..kv, 0..hd], new));
    held.clone().narrow(1, 0, start + t)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Family, ModelSection};

    fn config(window: Option<usize>) -> ModelConfig {
        let section = ModelSection { family: Family::Llama, hidden_size: 8, num_heads: 2, ..ModelSection::default() };
        let mut config = section.resolve(10).unwrap();
        config.sliding_window = window;
        config.windowed_layers = window.map_or(Vec::new(), |_| vec![0]);
        config
    }

    /// Keys of `t` tokens, the first of which is number `first`.
    fn keys(config: &ModelConfig, first: usize, t: usize) -> Tensor<4> {
        let shape = [1, t, config.num_kv_heads, config.head_dim];
        let width = config.num_kv_heads * config.head_dim;
        let values: Vec<f32> = (first * width..(first + t) * width).map(|n| n as f32).collect();
        Tensor::<1>::from_floats(values.as_slice(), &Device::flex()).reshape(shape)
    }

    /// Adds `t` tokens to all layers; gives what layer 0 holds.
    fn add(cache: &mut KvCache, config: &ModelConfig, t: usize) -> (Tensor<4>, usize) {
        let new = keys(config, cache.len(), t);
        let mut first = None;
        for layer in 0..config.num_layers {
            let (keys, values, start) = cache.append(layer, new.clone(), -new.clone());
            assert_eq!(values.into_data(), (-keys.clone()).into_data());
            first.get_or_insert((keys, start));
        }
        cache.advance(t);
        first.unwrap()
    }

    #[test]
    fn what_is_held_stays_when_the_cache_grows() {
        let config = config(None);
        let mut cache = KvCache::new(&config, 3, &Device::flex());
        for t in [3, 2, 1, 7, 1] {
            let (held, start) = add(&mut cache, &config, t);
            assert_eq!(start, cache.len() - t);
            assert_eq!(held.into_data(), keys(&config, 0, cache.len()).into_data());
        }
    }

    #[test]
    fn a_layer_with_a_window_holds_little_more() {
        let config = config(Some(5));
        let mut cache = KvCache::new(&config, 4000, &Device::flex());
        let full = cache.layers[1].keys.dims()[1];
        for t in [3, 1, 600, 1, 700, 1].into_iter().chain([1; 1200]) {
            let (held, start) = add(&mut cache, &config, t);
            let [_, s, ..] = held.dims();
            assert!(start >= (cache.len() - t).min(4) && s <= 5 + SLACK.max(700) * 3 / 2, "{s} keys from {start}");
            assert_eq!(held.into_data(), keys(&config, cache.len() - s, s).into_data());
        }
        assert_eq!(cache.layers[1].keys.dims()[1], full, "a layer without a window grew");
        // It can be shortened as far as its window reaches, and is empty otherwise.
        let [len, first] = [cache.len(), cache.layers[0].first];
        cache.truncate(len - 1);
        cache.truncate(first + 4);
        assert_eq!(cache.len(), first + 4);
        let (held, _) = add(&mut cache, &config, 1);
        assert_eq!(held.into_data(), keys(&config, first, 5).into_data());
        cache.truncate(first + 3);
        assert_eq!(cache.len(), 0);
        assert_eq!(add(&mut cache, &config, 2).0.into_data(), keys(&config, 0, 2).into_data());
    }
}
