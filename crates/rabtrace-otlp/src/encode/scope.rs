//! Spans grouped by the instrumentation scope that made them, and `ScopeSpans` of OTLP.
//!
//! Scopes stand in the order of their first span, spans in the order of the batch: as in the SDK's
//! own exporter. Nothing is allocated once the two lists have grown.

use std::hash::{DefaultHasher, Hash, Hasher};

use opentelemetry::{Array, InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::trace::SpanData;

use super::backward::Backward;
use super::span::span;
use super::value::key_value;

/// The spans of one scope: the first one names it, the last one begins the way back.
#[derive(Clone, Copy, Debug)]
struct Group {
    first: usize,
    last: usize,
}

/// Which span belongs to which scope.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    groups: Vec<Group>,
    /// For each span the one before it in the same scope; a scope's first span names itself.
    before: Vec<usize>,
}

impl Groups {
    /// Groups `batch`, in place of what was grouped before.
    pub(crate) fn group(&mut self, batch: &[SpanData]) {
        self.groups.clear();
        self.before.clear();
        let mut current = 0;
        for (index, data) in batch.iter().enumerate() {
            let scope = &data.instrumentation_scope;
            let is_of = |group: &Group| {
                batch
                    .get(group.first)
                    .is_some_and(|first| same(&first.instrumentation_scope, scope))
            };
            // Spans of one scope mostly follow each other.
            if !self.groups.get(current).is_some_and(is_of) {
                current = self
                    .groups
                    .iter()
                    .position(is_of)
                    .unwrap_or(self.groups.len());
            }
            match self.groups.get_mut(current) {
                Some(group) => {
                    self.before.push(group.last);
                    group.last = index;
                }
                None => {
                    self.before.push(index);
                    self.groups.push(Group {
                        first: index,
                        last: index,
                    });
                }
            }
        }
    }

    /// The groups of `batch`, which was grouped before, each as one element of the repeated `field`.
    pub(crate) fn write<'a>(
        &self,
        mut out: Backward<'a>,
        field: u32,
        batch: &[SpanData],
    ) -> Backward<'a> {
        for group in self.groups.iter().rev() {
            let Some(first) = batch.get(group.first) else {
                continue;
            };
            let whole = out.free();
            out = out.text(
                3,
                first.instrumentation_scope.schema_url().unwrap_or_default(),
            );
            let mut index = group.last;
            while let (Some(data), Some(before)) = (batch.get(index), self.before.get(index)) {
                out = span(out, 2, data);
                if index == group.first {
                    break;
                }
                index = *before;
            }
            out = scope(out, &first.instrumentation_scope);
            out = out.close(field, whole);
        }
        out
    }
}

/// `InstrumentationScope` of OTLP.
fn scope<'a>(mut out: Backward<'a>, scope: &InstrumentationScope) -> Backward<'a> {
    let whole = out.free();
    // The attributes come from first to last only, and are few.
    for index in (0..scope.attributes().count()).rev() {
        if let Some(attribute) = scope.attributes().nth(index) {
            out = key_value(out, 3, attribute.key.as_str(), &attribute.value);
        }
    }
    out = out.text(2, scope.version().unwrap_or_default());
    out = out.text(1, scope.name());
    out.close(1, whole)
}

/// Whether two spans share a scope: equal, and equal in the bits of their numbers.
///
/// Scopes that come from one tracer share their texts, so that mostly no text is compared.
#[inline(always)]
fn same(left: &InstrumentationScope, right: &InstrumentationScope) -> bool {
    same_text(left.name(), right.name())
        && same_option(left.version(), right.version())
        && same_option(left.schema_url(), right.schema_url())
        && same_attributes(left, right)
}

#[inline(always)]
fn same_text(left: &str, right: &str) -> bool {
    left.len() == right.len() && (std::ptr::eq(left, right) || left == right)
}

#[inline(always)]
fn same_option(left: Option<&str>, right: Option<&str>) -> bool {
    match (left, right) {
        (Some(left), Some(right)) => same_text(left, right),
        (None, None) => true,
        _ => false,
    }
}

#[inline(always)]
fn same_attributes(left: &InstrumentationScope, right: &InstrumentationScope) -> bool {
    let mut pairs = left.attributes().zip(right.attributes());
    if left.attributes().count() != right.attributes().count() {
        return false;
    }
    if pairs.all(|(left, right)| left == right && !has_zero(left)) {
        return true;
    }
    // In another order they are the same scope still. Zeros of both signs are equal but hash apart,
    // as they do in the SDK's exporter.
    left == right && hash(left) == hash(right)
}

fn has_zero(attribute: &KeyValue) -> bool {
    match &attribute.value {
        Value::F64(number) => *number == 0.0,
        Value::Array(Array::F64(numbers)) => numbers.contains(&0.0),
        _ => false,
    }
}

fn hash(scope: &InstrumentationScope) -> u64 {
    let mut hasher = DefaultHasher::new();
    scope.hash(&mut hasher);
    hasher.finish()
}
