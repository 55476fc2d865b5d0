//! Keys and values of earlier tokens: `key_cache` and `value_cache`, [layers, 1, heads, context, size] each.
//!
//! As states (iOS18) a call writes its rows in place. As inputs, before, shapes must not be dynamic: rows are placed by
//! a product with a matrix of zeros and ones, which is exact, and the updated caches are the outputs `key_cache_out`
//! and `value_cache_out`. Rows of padding that would lie behind the end are not written, whichever way.
//!
//! Layers that see a window alone may keep only that: `window_key_cache` and `window_value_cache` are rings, whose slot
//! `p mod slots` holds position `p`. A call writes first and attends then, rows of padding included, so a ring has
//! `window + tokens - 1` slots for the longest call.

use super::{Attention, Positions, layer::layer_of};
use crate::{
    arch::{ArchError, Feature, Flow, Form, Interface},
    contract::{CacheForm, LinearForm, features},
    mil::{Builder, DataType, Value, Var},
};

const NAMES: [&str; 2] = [features::KEY_CACHE, features::VALUE_CACHE];
const RING_NAMES: [&str; 2] = [features::WINDOW_KEY_CACHE, features::WINDOW_VALUE_CACHE];
/// Names in the flow of what all layers share.
const FIRST: &str = "cache.first";
const STALE: &str = "cache.stale";
const ROWS: &str = "cache.rows";
const PLACES: &str = "cache.places";
const WRITTEN: &str = "cache.written";
const RING_ROWS: &str = "ring.rows";
const RING_WRITTEN: &str = "ring.written";
/// The position of a slot that nothing was written to: behind every token.
const NOWHERE: i32 = i32::MAX / 2;

/// The shape of a decoder's cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyValueCache {
    /// Layers of the decoder.
    pub layers: u64,
    /// Heads of keys and values.
    pub heads: u64,
    /// Channels of a head.
    pub size: u64,
    /// The slots of a ring; none where every position of the context has its own.
    pub ring: Option<u64>,
}

/// One layer's part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerCache {
    /// Of which cache.
    pub cache: KeyValueCache,
    /// Which layer.
    pub layer: u64,
}

fn int(n: u64) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

/// 0, 1, ... as a constant.
fn range(builder: &mut Builder, name: &str, count: u64) -> Var {
    let values: Vec<i32> = (0..int(count)).collect();
    builder.constant(name, Value::ints(&values))
}

impl KeyValueCache {
    /// The shape of either cache.
    pub fn shape(&self, context: u64) -> [u64; 5] {
        [self.layers, 1, self.heads, self.slots(context), self.size]
    }

    fn slots(&self, context: u64) -> u64 {
        self.ring.map_or(context, |ring| ring.min(context))
    }

    fn names(&self) -> [&'static str; 2] {
        if self.ring.is_some() { RING_NAMES } else { NAMES }
    }

    /// Adds the caches to a function.
    pub fn declare(&self, interface: &mut Interface, form: &Form, context: u64) {
        for (name, what) in self.names().iter().zip(["keys", "values"]) {
            let what = if self.ring.is_some() { format!("{what} of layers with a window") } else { what.to_owned() };
            let feature = |name: &str, description: &str| Feature::float(name, description, &self.shape(context));
            match form.cache {
                CacheForm::None => {}
                CacheForm::State => interface.states.push(feature(name, &format!("{what} of the tokens so far"))),
                CacheForm::Inputs => {
                    interface.inputs.push(feature(name, &format!("{what} of the tokens so far, zeros at first")));
                    let description = format!("`{name}` with this call's {what}, for the next call");
                    interface.outputs.push(feature(&features::updated(name), &description));
                }
            }
        }
    }

    /// Makes what the layers need to update their parts; `first` is the position of the first of `count` tokens, an
    /// int32 `[1]`.
    ///
    /// # Errors
    /// When more tokens come than the context has slots, or `first` is no int32.
    pub fn enter(
        &self,
        builder: &mut Builder,
        flow: &mut Flow,
        first: Var,
        count: u64,
        form: &Form,
    ) -> Result<(), ArchError> {
        let context = form.text()?.context;
        if count > context {
            let why = format!("a cache of context = {context} cannot take so many tokens at once");
            return Err(ArchError::Form { axis: "sequence", found: count.to_string(), why });
        }
        match form.cache {
            CacheForm::None => Ok(()),
            _ if self.ring.is_some() => Ok(()),
            CacheForm::State => Self::enter_states(builder, flow, first, count, context),
            CacheForm::Inputs => Self::enter_inputs(builder, flow, first, count, context),
        }
    }

    /// Makes what layers need to update their parts of a ring; gives the position of every slot, as int32 `[slots]`,
    /// after the call wrote its rows.
    ///
    /// # Errors
    /// When `first` is no int32.
    pub fn enter_ring(
        &self,
        builder: &mut Builder,
        flow: &mut Flow,
        first: Var,
        count: u64,
        form: &Form,
    ) -> Result<Var, ArchError> {
        let slots = int(self.slots(form.text()?.context));
        let all = range(builder, "ring_slots", slots as u64);
        // How many slots behind that of the first row.
        let start = builder.op1("mod", "ring_start", &[("x", first.into()), ("y", slots.into())])?;
        let ahead = builder.sub("ring_apart", all, start)?;
        let ahead = builder.add("ring_ahead", ahead, slots)?;
        let ahead = builder.op1("mod", "ring_rows", &[("x", ahead.into()), ("y", slots.into())])?;
        let written = builder.op1("less", "ring_written", &[("x", ahead.into()), ("y", int(count).into())])?;
        flow.put(RING_ROWS, builder.minimum("ring_rows_or_last", ahead, int(count) - 1)?);
        flow.put(RING_WRITTEN, builder.reshape("ring_written_slots", written, &[1, 1, slots, 1])?);
        let new = builder.add("ring_new_positions", first, ahead)?;
        let old = builder.sub("ring_old_positions", new, slots)?;
        let never = builder.op1("less", "ring_empty", &[("x", old.into()), ("y", 0.into())])?;
        let nowhere = builder.constant("ring_nowhere", Value::ints(&vec![NOWHERE; slots as usize]));
        let old = builder.select("ring_kept_positions", never, nowhere, old)?;
        Ok(builder.select("ring_positions", written, new, old)?)
    }

    /// Where padding would lie behind the end, the rows begin earlier, and those before the first token keep what is
    /// there.
    fn enter_states(
        builder: &mut Builder,
        flow: &mut Flow,
        first: Var,
        count: u64,
        context: u64,
    ) -> Result<(), ArchError> {
        let begin = builder.minimum("cache_first", first, int(context - count))?;
        flow.put(FIRST, begin);
        if count > 1 {
            let steps = range(builder, "cache_steps", count);
            let slots = builder.add("cache_slots", begin, steps)?;
            let rows = builder.sub("cache_rows_shifted", slots, first)?;
            let stale = builder.op1("less", "cache_stale_rows", &[("x", rows.into()), ("y", 0.into())])?;
            flow.put(STALE, builder.reshape("cache_stale", stale, &[1, 1, 1, int(count), 1])?);
            flow.put(ROWS, builder.maximum("cache_rows", rows, 0)?);
        }
        Ok(())
    }

    fn enter_inputs(
        builder: &mut Builder,
        flow: &mut Flow,
        first: Var,
        count: u64,
        context: u64,
    ) -> Result<(), ArchError> {
        let tokens = Positions::From { first, count }.indices(builder)?;
        let slots = range(builder, "cache_slots", context);
        let slots = builder.expand_dims("cache_slots_column", slots, &[1])?;
        let hit = builder.op1("equal", "cache_hit", &[("x", slots.into()), ("y", tokens.into())])?;
        let hit = builder.expand_dims("cache_places", hit, &[0, 1])?;
        if count == 1 {
            flow.put(WRITTEN, hit);
            return Ok(());
        }
        let places = builder.cast("cache_places_float", hit, DataType::Float32)?;
        flow.put(PLACES, places);
        let written = builder.reduce_max("cache_written_float", places, &[3], true)?;
        flow.put(WRITTEN, builder.cast("cache_written", written, DataType::Bool)?);
        Ok(())
    }

    /// Puts the updated caches of all layers together, where they are outputs.
    ///
    /// # Errors
    /// When a layer did not update its part.
    pub fn leave(&self, builder: &mut Builder, flow: &mut Flow, form: &Form) -> Result<(), ArchError> {
        if form.cache == CacheForm::Inputs && self.layers > 0 {
            for name in self.names() {
                let parts: Vec<Var> = (0..self.layers).map(|layer| flow.get(&format!("{name}.{layer}"))).collect();
                flow.put(&features::updated(name), builder.stack(&format!("{name}_all"), &parts, 0)?);
            }
        }
        Ok(())
    }
}

impl LayerCache {
    /// The layer's keys and values after those of the call were put in; `key` and `value` are heads in the form's
    /// layout.
    ///
    /// # Errors
    /// When they do not fit.
    pub fn update(
        &self,
        builder: &mut Builder,
        flow: &mut Flow,
        key: Var,
        value: Var,
        form: &Form,
    ) -> Result<Attention, ArchError> {
        let mut updated = [key, value];
        for (name, var) in self.cache.names().iter().zip(&mut updated) {
            let dtype = builder.ty(*var).dtype;
            if form.linear == LinearForm::Conv {
                *var = builder.transpose(&format!("{name}_rows"), *var, &[0, 1, 3, 2])?;
            }
            *var = match form.cache {
                _ if self.cache.ring.is_some() => self.update_ring(builder, flow, name, *var, form)?,
                CacheForm::State => self.update_state(builder, flow, name, *var, form)?,
                _ => self.update_input(builder, flow, name, *var)?,
            };
            *var = builder.cast(&format!("{name}_inside"), *var, dtype)?;
        }
        Ok(Attention { key: updated[0], value: updated[1], channels_first: false })
    }

    fn update_state(
        &self,
        builder: &mut Builder,
        flow: &Flow,
        name: &str,
        rows: Var,
        form: &Form,
    ) -> Result<Var, ArchError> {
        let part = |part: &str| format!("{name}_{part}");
        let (state, first) = (flow.get(name), flow.get(FIRST));
        let (count, context) = (builder.shape(rows)[2], form.text()?.context);
        let before = builder.read_state(&part("before"), state)?;
        let rows = builder.cast(&part("half"), rows, DataType::Float16)?;
        let mut rows = builder.expand_dims(&part("new"), rows, &[0])?;
        let layer = builder.constant(&part("layer_place"), Value::ints(&[int(self.layer), 0, 0]));
        let zero = builder.constant(&part("zero"), Value::ints(&[0]));
        let begin = builder.concat(&part("begin"), &[layer, first, zero], 0)?;
        if count > 1 {
            let size = Value::ints(&[1, 1, int(self.cache.heads), int(count), int(self.cache.size)]);
            let old = builder.op1(
                "slice_by_size",
                &part("old"),
                &[("x", before.into()), ("begin", begin.into()), ("size", size.into())],
            )?;
            rows = builder.gather(&part("shifted"), rows, flow.get(ROWS), 3)?;
            rows = builder.select(&part("kept"), flow.get(STALE), old, rows)?;
        }
        let size = Value::ints(&[1, 1, int(self.cache.heads), int(count), int(self.cache.size)]);
        let end = builder.add(&part("end"), begin, size)?;
        let updated = builder.slice_update(&part("updated"), before, rows, begin, end)?;
        builder.write_state(&part("write"), state, updated)?;
        let after = builder.read_state(&part("after"), state)?;
        debug_assert_eq!(builder.shape(after), self.cache.shape(context));
        layer_of(builder, name, after, self.layer)
    }

    fn update_ring(
        &self,
        builder: &mut Builder,
        flow: &mut Flow,
        name: &str,
        rows: Var,
        form: &Form,
    ) -> Result<Var, ArchError> {
        let part = |part: &str| format!("{name}_{part}");
        let is_state = form.cache == CacheForm::State;
        let all = if is_state { builder.read_state(&part("before"), flow.get(name))? } else { flow.get(name) };
        let rows = builder.cast(&part("rows_stored"), rows, builder.ty(all).dtype)?;
        let before = layer_of(builder, name, all, self.layer)?;
        let placed = builder.gather(&part("placed"), rows, flow.get(RING_ROWS), 2)?;
        let after = builder.select(&part("after"), flow.get(RING_WRITTEN), placed, before)?;
        if !is_state {
            flow.put(&format!("{name}.{}", self.layer), after);
            return Ok(after);
        }
        let whole = builder.expand_dims(&part("whole"), after, &[0])?;
        let shape = builder.shape(whole);
        let begin = Value::ints(&[int(self.layer), 0, 0, 0, 0]);
        let end: Vec<i32> = std::iter::once(int(self.layer) + 1).chain(shape[1..].iter().map(|&n| int(n))).collect();
        let updated = builder.slice_update(&part("updated"), all, whole, begin, Value::ints(&end))?;
        builder.write_state(&part("write"), flow.get(name), updated)?;
        Ok(after)
    }

    fn update_input(&self, builder: &mut Builder, flow: &mut Flow, name: &str, rows: Var) -> Result<Var, ArchError> {
        let all = flow.get(name);
        let before = layer_of(builder, name, all, self.layer)?;
        let placed = if flow.has(PLACES) {
            let places = builder.cast(&format!("{name}_places"), flow.get(PLACES), builder.ty(rows).dtype)?;
            builder.matmul(&format!("{name}_placed"), places, rows, false)?
        } else {
            rows
        };
        let after = builder.select(&format!("{name}_after"), flow.get(WRITTEN), placed, before)?;
        flow.put(&format!("{name}.{}", self.layer), after);
        Ok(after)
    }
}
